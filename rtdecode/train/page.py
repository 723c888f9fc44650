"""The progress page of a training: curves, example frames with truth and findings, calibration; PNG and HTML."""

from __future__ import annotations

import math
from datetime import timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from rtdecode.analysis.honesty import quantities
from rtdecode.train.config import TrainingConfig
from rtdecode.train.look import ACCEPT, Look
from rtdecode.view.chart import GREY, INK, Chart, around

PAGE = "progress.png"
SIZE = (1500, 1090)
TRAINED, HELD, TRUTH, FOUND, IDEAL = "#9db8d9", "#1f4e9c", "#27b35e", "#f0379a", "#bbbbbb"
LEGEND = {
    "loss": "of training steps",
    "validation": "averaged weights, held-out clips",
    "mixture": "mixture",
    "cross_entropy": "cross-entropy",
}
EXAMPLES, EXAMPLE_PX = 4, 300
HTML = """<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="20"><title>{name}</title>
<body style="margin:0;background:#fff"><img src="{page}?{iteration}" alt="progress" style="max-width:100%">
"""


def draw_page(config: TrainingConfig, out: Path, iteration: int, seconds: float, look: Look) -> None:
    """Write `progress.png` from curve.csv and what the network finds now, and a page that shows it and reloads."""
    curve = np.atleast_1d(np.genfromtxt(out / "curve.csv", delimiter=",", names=True))
    image = Image.new("RGB", SIZE, "white")
    _headline(image, config, iteration, seconds, look)
    _curves(image, curve, config.iterations)
    _examples(image, config, look)
    _reliability(image, look)
    _z_scores(image, look)
    image.quantize(128).save(out / (PAGE + ".new"), "PNG", optimize=True)
    (out / (PAGE + ".new")).replace(out / PAGE)
    text = HTML.format(name=config.name, page=PAGE, iteration=iteration)
    (out / "progress.html").write_text(text, encoding="utf-8")


def time_left(iteration: int, iterations: int, seconds: float) -> str:
    """h:mm:ss to the end, from the speed so far."""
    rest = seconds * (iterations - iteration) / max(iteration, 1)
    return str(timedelta(seconds=round(rest)))


def _headline(image: Image.Image, config: TrainingConfig, iteration: int, seconds: float, look: Look) -> None:
    chart, score = Chart(ImageDraw.Draw(image), (0, 0, *SIZE), (0, 1), (0, 1)), look.score
    chart.words((30, 16), config.name, 26, INK, "lt")
    done = f"iteration {iteration:,} of {config.iterations:,}, {timedelta(seconds=round(seconds))} trained"
    left = f", {time_left(iteration, config.iterations, seconds)} left" if iteration < config.iterations else ", done"
    chart.words((SIZE[0] - 30, 20), done + left, 18, INK, "rt")
    rmse = f"RMSE lateral {_shown(score.rmse_lateral_nm, 1)} nm"
    rmse += f", axial {_shown(score.rmse_axial_nm, 1)} nm" if look.judged.dims == 3 else ""
    rates = f"Jaccard {_shown(score.jaccard, 3)}, precision {_shown(score.precision, 3)}"
    rates += f", recall {_shown(score.recall, 3)} where p is at least {ACCEPT:g}"
    words = f"averaged weights, {score.n_frames} held-out frames, {score.n_emitters} emitters: {rates}; {rmse}"
    chart.words((30, 50), words, 16, GREY, "lt")


def _shown(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"


def _curves(image: Image.Image, curve: NDArray[np.void], iterations: int) -> None:
    pen, x = ImageDraw.Draw(image), curve["iteration"]
    losses, terms = ("loss", "validation"), ("mixture", "cross_entropy")
    colours = {"loss": TRAINED, "validation": HELD, "mixture": HELD, "cross_entropy": "#b3622e", "learning_rate": INK}
    for names, box, title in (
        (losses, (80, 110, 640, 340), "loss"),
        (terms, (720, 110, 1080, 340), "terms for each emitter"),
        (("learning_rate",), (1170, 110, 1470, 340), "learning rate"),
    ):
        values = np.concatenate([curve[name] for name in names]).tolist()
        low, high = around(values)
        chart = Chart(pen, box, (0, iterations), (low if min(values) < 0 else max(low, 0.0), high))
        chart.axes(title, "iteration")
        for name in names:
            chart.line(x.tolist(), curve[name].tolist(), colours[name])
        if len(names) > 1:
            chart.legend([(LEGEND[name], colours[name]) for name in names])


def _examples(image: Image.Image, config: TrainingConfig, look: Look) -> None:
    """Frames of one quantile of density each, dense to the right; the same ones on every page."""
    counts = np.bincount(look.emitters["frame_index"], minlength=len(look.photons))
    ranked = np.argsort(counts, kind="stable")
    chosen = ranked[(np.linspace(0.25, 1, EXAMPLES) * (len(ranked) - 1)).astype(int)]
    for number, frame in enumerate(chosen.tolist()):
        left = 80 + number * (EXAMPLE_PX + 58)
        _example(image, config, look, frame, (left, 420))
    pen, left = ImageDraw.Draw(image), 80
    for words, colour in (("held-out frames, sparse to dense", INK), ("truth", TRUTH), ("found", FOUND)):
        pen.text((left, 410), words, fill=colour, font=ImageFont.load_default(16), anchor="ls")
        left += round(ImageFont.load_default(16).getlength(words)) + 24


def _example(image: Image.Image, config: TrainingConfig, look: Look, frame: int, corner: tuple[int, int]) -> None:
    photons = look.photons[frame]
    low, high = np.quantile(photons, 0.02), max(np.quantile(photons, 0.998), np.quantile(photons, 0.02) + 1)
    grey = (np.clip((photons - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    scale = EXAMPLE_PX / max(photons.shape)
    size = (round(photons.shape[1] * scale), round(photons.shape[0] * scale))
    image.paste(Image.fromarray(grey).resize(size, Image.Resampling.NEAREST), corner)
    pen = ImageDraw.Draw(image)
    truth = look.emitters[(look.emitters["frame_index"] == frame) & (look.emitters["photons"] >= config.min_photons)]
    found = look.found[(look.found.frame_index == frame) & (look.found.probability >= ACCEPT)]
    px_x_nm, px_y_nm = config.camera.px_nm
    for x_nm, y_nm in zip(truth["x_nm"], truth["y_nm"], strict=True):
        x, y = corner[0] + (x_nm / px_x_nm + 0.5) * scale, corner[1] + (y_nm / px_y_nm + 0.5) * scale
        pen.ellipse([x - 6, y - 6, x + 6, y + 6], outline=TRUTH, width=2)
    for x_nm, y_nm in zip(found.x_nm, found.y_nm, strict=True):
        x, y = corner[0] + (x_nm / px_x_nm + 0.5) * scale, corner[1] + (y_nm / px_y_nm + 0.5) * scale
        pen.line([(x - 5, y), (x + 5, y)], fill=FOUND, width=2)
        pen.line([(x, y - 5), (x, y + 5)], fill=FOUND, width=2)
    words = f"{len(truth)} true, {len(found)} found; {low:.0f} (black) to {high:.0f} photons"
    Chart(pen, (0, 0, 1, 1), (0, 1), (0, 1)).words((corner[0], corner[1] + size[1] + 6), words, 14, GREY, "lt")


def _reliability(image: Image.Image, look: Look) -> None:
    chart = Chart(ImageDraw.Draw(image), (80, 815, 380, 1025), (0, 1), (0, 1))
    chart.axes("is p honest? share that is true", "probability said")
    chart.line([0, 1], [0, 1], IDEAL)
    bins = look.reliability()
    chart.line(bins[:, 0].tolist(), bins[:, 1].tolist(), HELD)
    for said, true, count in bins.tolist():
        spread = math.sqrt(max(true * (1 - true), 0.25 / count) / count)
        chart.upright(said, max(true - spread, 0), min(true + spread, 1), HELD)
        chart.dot(said, true, 4, HELD)


def _z_scores(image: Image.Image, look: Look) -> None:
    """Histograms of error / sigma against the standard normal; beneath, variance and share within one sigma."""
    z_scores, edges = look.z_scores(), np.linspace(-4, 4, 25)
    middles = (edges[:-1] + edges[1:]) / 2
    normal = np.exp(-(middles**2) / 2) / math.sqrt(2 * math.pi)
    for number, name in enumerate(("x", "y", "z", "photons")):
        left = 470 + number * 257
        chart = Chart(ImageDraw.Draw(image), (left, 815, left + 220, 1025), (-4, 4), (0, 0.6))
        values = z_scores[np.isfinite(z_scores[:, number]), number]
        words = "no pairs yet" if name in quantities(look.judged) else "2D: z is not asked for"
        if len(values):
            inside = np.mean(np.abs(values) < 1)
            words = f"variance {np.var(values):.2f}, within 1 sigma {inside:.0%} (68%)"
        chart.axes(f"{name}: error / sigma", words)
        chart.line(middles.tolist(), normal.tolist(), IDEAL, 3)
        share = np.histogram(values, edges)[0] / max(len(values), 1) / (edges[1] - edges[0])
        steps = np.repeat(share, 2).tolist()
        chart.line(np.repeat(edges, 2)[1:-1].tolist(), steps, HELD)
