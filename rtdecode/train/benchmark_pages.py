"""The benchmark's figures as pictures: density, honesty, isolated emitters, conditions, scenes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rtdecode.analysis.evaluate import judge
from rtdecode.analysis.honesty import EXPECTED_INSIDE, QUANTITIES
from rtdecode.fit.bundle import ModelBundle
from rtdecode.physics.judge_scenes import Movie, structure_movie
from rtdecode.physics.structures import Field
from rtdecode.train.benchmark import Bench, Contestant, benches_of
from rtdecode.train.benchmark_config import BenchmarkConfig
from rtdecode.train.benchmark_tables import TYPICAL_UM2, is_2d
from rtdecode.train.score import rules_for

Figures = dict[str, Any]
Contestants = dict[str, Figures]
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")  # Okabe and Ito: for all eyes
SCENE_UM2 = (0.2, 1.0, 4.0)
_LABELS = {"x": "x", "y": "y", "z": "z", "photons": "photons"}


def draw_pages(
    folder: Path, config: BenchmarkConfig, bundles: Sequence[ModelBundle], figures: Contestants
) -> list[Path]:
    """Write the pages as PNG into `folder`; needs matplotlib."""
    from matplotlib.figure import Figure

    makers: dict[str, Callable[[Any], None]] = {
        "1-density.png": lambda page: _density_page(page, figures),
        "2-honesty.png": lambda page: _honesty_page(page, figures),
        "3-isolated.png": lambda page: _isolated_page(page, figures),
        "4-conditions.png": lambda page: _conditions_page(page, figures),
        "5-scenes.png": lambda page: _scenes_page(page, config, benches_of(config, bundles)[0]),
    }
    written = []
    for name, make in makers.items():
        page = Figure(figsize=(15, 9.5), dpi=100, layout="constrained")
        make(page)
        page.savefig(folder / name)
        written.append(folder / name)
    return written


def _density_page(page: Any, figures: Contestants) -> None:
    page.suptitle("By density: every emitter of 100 photons or more counts, partial exposures too", fontsize=14)
    axes = page.subplots(2, 3)
    panels: tuple[tuple[str, str], ...] = (("jaccard", "Jaccard"), ("precision", "precision"), ("recall", "recall"),
              ("rmse_lateral_nm", "RMSE lateral, nm"), ("rmse_axial_nm", "RMSE axial, nm"),
              ("efficiency_3d", "efficiency 3D"))  # fmt: skip
    if is_2d(figures):
        panels = (*panels[:4], ("efficiency_lateral", "efficiency lateral"))
        axes.flat[5].set_visible(False)
    for ax, (key, label) in zip(axes.flat, panels, strict=False):
        for colour, name, one in _each(figures):
            at, values = _curve(one["density_per_um2"], key)
            ax.plot(at, values, "o-", color=colour, label=name)
        _dress(ax, "emitters per µm² and frame", label, log=True)
        if key.startswith("rmse"):
            ax.set_ylim(bottom=0)
        elif not key.startswith("efficiency"):
            ax.set_ylim(0, 1.02)
        _plain_ticks(ax, figures, "density_per_um2")
    axes.flat[0].legend()


def _honesty_page(page: Any, figures: Contestants) -> None:
    page.suptitle("Honesty: does what is stated hold?", fontsize=14)
    axes = page.subplots(2, 3).flat
    _by_quantity(axes[0], figures, "variance", "variance of the z-scores", 1.0, log_y=True)
    _by_quantity(axes[1], figures, "within_1_sigma", "within 1 σ", EXPECTED_INSIDE["within_1_sigma"])
    _by_quantity(axes[2], figures, "within_2_sigma", "within 2 σ", EXPECTED_INSIDE["within_2_sigma"])
    ax = axes[3]
    ax.plot([0, 1], [0, 1], color="0.6", lw=1)
    for colour, name, one in _each(figures):
        curve = one["reliability"]
        ax.plot([c["stated"] for c in curve], [c["true"] for c in curve], "o-", color=colour, label=name)
    _dress(ax, "stated probability", "share that is true")
    ax.legend(title="detection, up to 1 per µm²", loc="lower right")
    for ax, axis in zip((axes[4], axes[5]), "xy", strict=True):
        ax.axhline(1, color="0.6", lw=1)
        for colour, name, one in _each(figures):
            for style, (density, at) in zip(("-", "--", ":"), one["grid"].items(), strict=False):
                density_in_bin = at[axis]["histogram"]
                edges = np.linspace(-0.5, 0.5, len(density_in_bin) + 1)
                words = f"{name}, {density} per µm²: V {at[axis]['kuiper_v']:.3f}, p {at[axis]['p']:.1g}"
                ax.stairs(density_in_bin, edges, color=colour, ls=style, baseline=None, label=words)
        _dress(ax, f"{axis} within the pixel, px", "density (uniform: 1)")
        ax.set_ylim(0, max(2.0, ax.get_ylim()[1] * 1.3))
        ax.legend(fontsize=8)


def _by_quantity(ax: Any, figures: Contestants, key: str, label: str, honest: float, log_y: bool = False) -> None:
    """One line for each quantity: its marker says which, its colour whose."""
    ax.axhline(honest, color="0.6", lw=1)
    for colour, name, one in _each(figures):
        for marker, quantity in zip("os^D", QUANTITIES, strict=True):
            if quantity not in next(iter(one["density_per_um2"].values()))["sigma"]:
                continue  # z in 2D
            at, values = _curve(one["density_per_um2"], "sigma", quantity, key)
            ax.plot(at, values, f"{marker}-", color=colour, ms=5, lw=1, label=f"{name}: {_LABELS[quantity]}")
    _dress(ax, "emitters per µm² and frame", label, log=True)
    _plain_ticks(ax, figures, "density_per_um2")
    if log_y:
        ax.set_yscale("log")
        ax.legend(fontsize=8)


def _isolated_page(page: Any, figures: Contestants) -> None:
    """One row of errors, one of bias against z (not in 2D), one of the rest."""
    page.suptitle("Isolated emitters, one frame: errors over the Cramér-Rao bound, and bias", fontsize=14)
    known = [name for name in QUANTITIES if name != "z" or not is_2d(figures)]
    axes = page.subplots(3 if "z" in known else 2, 4)
    for ax in axes[0, len(known) :]:
        ax.set_visible(False)
    for ax, quantity in zip(axes[0], known, strict=False):
        ax.axhline(1, color="0.6", lw=1)
        for colour, name, one in _each(figures):
            of = one["isolated"]["by_photons"]
            ax.plot(*_curve(of, "rmse_over_bound", quantity), "o-", color=colour, label=name)
        _dress(ax, "photons", f"RMSE / bound, {_LABELS[quantity]}", log=True)
        ax.set_ylim(0, max(2.0, min(4.0, ax.get_ylim()[1])))
        _plain_ticks(ax, figures, "isolated", "by_photons")
    axes[0, 0].legend()
    if "z" in known:
        for ax, quantity in zip(axes[1], known, strict=True):
            _bias_panel(ax, figures, "z_nm", quantity, "z, nm")
    _bias_panel(axes[-1, 0], figures, "x_in_pixel", "x", "x within the pixel, px")
    _bias_panel(axes[-1, 1], figures, "y_in_pixel", "y", "y within the pixel, px")
    for ax, key in zip(axes[-1, 2:], ("recall", "split"), strict=True):
        for colour, name, one in _each(figures):
            of = one["isolated"]["by_photons"]
            ax.plot(*_curve(of, key), "o-", color=colour, label=name)
        _dress(ax, "photons", "found" if key == "recall" else "split in two or more", log=True)
        ax.set_ylim(0, 1.02 if key == "recall" else max(0.05, ax.get_ylim()[1]))
        _plain_ticks(ax, figures, "isolated", "by_photons")


def _bias_panel(ax: Any, figures: Contestants, where: str, quantity: str, label: str) -> None:
    """Mean error with its standard error; photons in percent."""
    unit = 100.0 if quantity == "photons" else 1.0
    ax.axhline(0, color="0.6", lw=1)
    limit = 2.0
    ax.axhspan(-limit, limit, color="0.92", zorder=0)
    for colour, name, one in _each(figures):
        bins = one["isolated"]["bias"].get(where, {}).get(quantity, {"bins": []})["bins"]
        middle = [(b["from"] + b["to"]) / 2 for b in bins]
        mean, error = ([unit * b[key] for b in bins] for key in ("mean", "se"))
        ax.errorbar(middle, mean, error, fmt="o-", color=colour, capsize=2, ms=4, lw=1, label=name)
    _dress(ax, label, f"bias of {_LABELS[quantity]}, " + ("%" if quantity == "photons" else "nm"))


def _conditions_page(page: Any, figures: Contestants) -> None:
    """Rows: by z (not in 2D), by photons, by brightness and background; the last column is axial (not in 2D)."""
    flat = is_2d(figures)
    page.suptitle(("By" if flat else "By z, by") + " photons, by brightness and background", fontsize=14)
    keys = [("recall", "recall"), ("rmse_lateral_nm", "RMSE lateral, nm"), ("rmse_axial_nm", "RMSE axial, nm")]
    rows = [("by_z_nm", "z, nm"), ("by_photons", "photons in the frame")]
    keys, rows = (keys[:2], rows[1:]) if flat else (keys, rows)
    axes = page.subplots(len(rows) + 1, len(keys))
    for row, (by, label) in enumerate(rows):
        for ax, (key, words) in zip(axes[row], keys, strict=True):
            for colour, name, one in _each(figures):
                for style, density in zip(("-", "--"), _typical(one), strict=False):
                    _plot_bins(ax, one["density_per_um2"][density][by], key, color=colour, ls=style,
                               label=f"{name}, {density} per µm²")  # fmt: skip
            _dress(ax, label, words, log=by == "by_photons")
            ax.set_ylim(bottom=0)
    axes[0, 0].legend(fontsize=8)
    for ax, (key, words) in zip(axes[-1], [("jaccard", "Jaccard"), *keys[1:]], strict=True):
        for colour, name, one in _each(figures):
            cells = one["signal_background"]
            levels = sorted({c["background_level"] for c in cells})
            for style, level in zip(("-", "--", ":", "-."), levels, strict=False):
                same = [c for c in cells if c["background_level"] == level]
                x, y = [c["photons_mean"] for c in same], [_number(c[key]) for c in same]
                ax.plot(x, y, "o", ls=style, color=colour, ms=4, label=f"{name}, background {level:g}")
        _dress(ax, "mean photons", words, log=True)
        ax.set_ylim(bottom=0)
    axes[-1, 0].legend(fontsize=8)


def _plot_bins(ax: Any, bins: list[Figures], key: str, **style: Any) -> None:
    """Points in the middle of each bin; an open one stands at its beginning."""
    x = [b["from"] if b["to"] is None else (b["from"] + b["to"]) / 2 for b in bins]
    ax.plot(x, [_number(b[key]) for b in bins], "o", ms=4, **style)


def _scenes_page(page: Any, config: BenchmarkConfig, bench: Bench) -> None:
    """What was looked at: frames with truth and what each finds; the structure and the background."""
    page.suptitle(
        "The scenes: truth (circles, larger is more photons) and what was found (crosses, red: false)", fontsize=14
    )
    wanted = sorted(d.per_um2 for d in config.densities)
    chosen = [_nearest(wanted, s) for s in SCENE_UM2]
    axes = page.subplots(2, 3)
    movies = [structure_movie(bench.psf, bench.camera, config.scene, d, 24, config.seed, 7) for d in chosen]
    for ax, density, movie in zip(axes[0], chosen, movies, strict=True):
        _frame_panel(ax, bench, movie, bench.contestants[0], 12)
        ax.set_title(f"{density:g} per µm²: {bench.contestants[0].name}", fontsize=11)
    dense = structure_movie(bench.psf, bench.camera, config.scene, 10.0, 100, config.seed, 7)
    ax, px = axes[1, 0], bench.camera.px_nm
    truth = dense.emitters
    colour = {"c": truth["z_nm"], "cmap": "turbo"} if bench.psf.tells_z else {"c": "white"}
    shown = ax.scatter(truth["x_nm"] / px[0], truth["y_nm"] / px[1], s=0.4, **colour)
    if bench.psf.tells_z:
        page.colorbar(shown, ax=ax, label="z, nm")
    _square(ax, dense)
    ax.set_title("the structure", fontsize=11)
    shown = axes[1, 1].imshow(movies[0].background, cmap="viridis")
    page.colorbar(shown, ax=axes[1, 1], label="photons per pixel")
    axes[1, 1].set_title("the background", fontsize=11)
    photons = dense.emitters["photons"]
    axes[1, 2].hist(photons, np.geomspace(50, 50_000, 60), color="0.5")
    _dress(axes[1, 2], "photons in a frame", "emitters", log=True)


def _frame_panel(ax: Any, bench: Bench, movie: Movie, contestant: Contestant, index: int) -> None:
    """One frame; false positives are red crosses, misses are circles without one."""
    px = bench.camera.px_nm
    height, width = movie.background.shape
    field = Field.of_shape(height, width, px)
    found = contestant.accepted(contestant.fit(movie.frames_adu))
    judged = judge(movie.emitters, found, frames=np.array([index]), rules=rules_for(bench.psf, field))
    ax.imshow(movie.frames_adu[index], cmap="gray", vmax=np.percentile(movie.frames_adu[index], 99.7))
    truth, seen = judged.emitters, judged.localizations
    size = 30 + 40 * np.clip(truth["photons"] / 5000, 0, 2)
    ax.scatter(truth["x_nm"] / px[0], truth["y_nm"] / px[1], size, facecolors="none", edgecolors="#e6c200", lw=1)
    true = np.isin(np.arange(len(seen)), judged.pairs[:, 1])
    for rows, colour in ((true, "#00c8ff"), (~true, "#ff3030")):
        ax.scatter(seen.x_nm[rows] / px[0], seen.y_nm[rows] / px[1], 24, marker="x", color=colour, lw=1)
    _square(ax, movie)


def _nearest(known: list[float], wanted: float) -> float:
    return known[int(np.argmin(np.abs(np.array(known) - wanted)))]


def _square(ax: Any, movie: Movie) -> None:
    height, width = movie.background.shape
    ax.set_xlim(-0.5, width - 0.5)
    ax.set_ylim(height - 0.5, -0.5)
    ax.set_aspect("equal")
    ax.set_facecolor("black")


def _each(figures: Contestants) -> Iterable[tuple[str, str, Figures]]:
    """(colour, name, figures)."""
    return [(COLOURS[i % len(COLOURS)], name, one) for i, (name, one) in enumerate(figures.items())]


def _curve(figures: Figures, *path: str) -> tuple[list[float], list[float]]:
    """Where each of the figures was measured, rising, and the number that `path` names in it."""
    pairs = []
    for at, one in figures.items():
        value: Any = one
        for key in path:
            value = value.get(key)  # z is not there in 2D
        pairs.append((float(at), _number(value)))
    pairs.sort()
    return [at for at, _ in pairs], [value for _, value in pairs]


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def _typical(one: Figures) -> list[str]:
    known = list(one["density_per_um2"])
    return [d for d in known if float(d) in TYPICAL_UM2] or known[:1]


def _dress(ax: Any, x: str, y: str, log: bool = False) -> None:
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    ax.grid(alpha=0.25)
    ax.spines[["top", "right"]].set_visible(False)
    if log:
        ax.set_xscale("log")


def _plain_ticks(ax: Any, figures: Contestants, *path: str) -> None:
    """The measured places themselves, as plain numbers."""
    at: Any = next(iter(figures.values()))
    for key in path:
        at = at[key]
    places = sorted(float(p) for p in at)
    ax.set_xticks(places, [f"{p:g}" for p in places])
    ax.minorticks_off()
