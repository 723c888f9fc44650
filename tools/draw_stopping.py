"""The figure of docs/stopping.md: what the coverage policy said during one simulated run, and what was true.

    python tools/draw_stopping.py docs/stopping.png

Scene: filaments, spread of rates 0.7, 30 % background localizations, seed 0 (`stopping_scenes.py`).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from benchmark_stopping import TARGET, Scene, _chunks, film  # type: ignore[import-not-found]
from PIL import Image, ImageDraw, ImageFont

from plugins.density_stop import DensityStop
from rtdecode.analysis.blinks import BlinkCounter
from rtdecode.analysis.richness import chao1_upper, good_turing
from rtdecode.core.contracts import Progress

FRAMES, LOWEST = 30_000, 0.4
SCENE = Scene(spread=0.7, background=0.3)
SIZE, LEFT, RIGHT, TOP, BOTTOM = (1280, 720), 110, 70, 30, 90
INK, TRUE, SAID, BAND, OTHER, AIM = "#222222", "#222222", "#0a6fb5", "#cfe4f3", "#c1711f", "#8a8a8a"
Points = list[tuple[float, float]]


@dataclass
class Curves:
    """(frame, coverage) of each curve."""

    true: Points
    said: Points
    lower: Points
    upper: Points
    good_turing: Points
    chao1_upper: Points
    stop: int | None = None


def follow() -> tuple[Curves, float]:
    """Everything that was said during the run, and the first frame at which the truth was there."""
    movie, policy, blinks = film(SCENE, FRAMES, 0), DensityStop(first_look=1000), BlinkCounter(SCENE.cell_nm)
    curves, seen = Curves([], [], [], [], [], []), 0
    for end, found in _chunks(movie.localizations):
        if end > FRAMES:
            break
        actions = policy.update(found, Progress(end, 0, 0, end - 1, (SCENE.field_cells * SCENE.cell_nm) ** 2 / 1e6))
        state = policy.state()
        curves.stop = int(state["frames"]) if actions else curves.stop
        if state["frames"] != seen and "coverage" in state:
            seen = state["frames"]
            for points, key in ((curves.said, "coverage"), (curves.lower, "lower"), (curves.upper, "upper")):
                points.append((seen, float(state[key])))
        blinks.add(found)
        blinks.close_before(end)
        often = np.bincount(blinks.counts.ravel())
        curves.true.append((end, movie.coverage(end)))
        curves.good_turing.append((end, good_turing(often)))
        curves.chao1_upper.append((end, chao1_upper(often)))
    return curves, movie.oracle(TARGET)


class Plot:
    """Frames to the right, coverage upwards."""

    def __init__(self) -> None:
        self.image = Image.new("RGB", SIZE, "white")
        self.pen, self.font = ImageDraw.Draw(self.image), ImageFont.load_default(22)

    def at(self, frame: float, share: float) -> tuple[float, float]:
        width, height = SIZE[0] - LEFT - RIGHT, SIZE[1] - TOP - BOTTOM
        return LEFT + width * frame / FRAMES, TOP + height * (1 - (max(share, LOWEST) - LOWEST) / (1 - LOWEST))

    def line(self, points: Points, colour: str, width: int = 3) -> None:
        self.pen.line([self.at(*point) for point in points], fill=colour, width=width, joint="curve")

    def dashed(self, start: tuple[float, float], end: tuple[float, float], colour: str) -> None:
        (x0, y0), (x1, y1) = self.at(*start), self.at(*end)
        for k in range(0, 100, 2):
            self.pen.line(
                [(x0 + (x1 - x0) * s / 100, y0 + (y1 - y0) * s / 100) for s in (k, k + 1)], fill=colour, width=2
            )

    def words(self, frame: float, share: float, text: str, colour: str = INK, anchor: str = "lm") -> None:
        self.pen.text(self.at(frame, share), text, fill=colour, font=self.font, anchor=anchor)

    def axes(self) -> None:
        self.line([(0, 1), (0, LOWEST), (FRAMES, LOWEST)], INK, 2)
        for share in (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0):
            x, y = self.at(0, share)
            self.pen.text((x - 12, y), f"{share:.0%}", fill=INK, font=self.font, anchor="rm")
        for frame in range(0, FRAMES + 1, 5000):
            x, y = self.at(frame, LOWEST)
            self.pen.text((x, y + 12), f"{frame:,}", fill=INK, font=self.font, anchor="mt")
        self.pen.text((SIZE[0] / 2, SIZE[1] - 28), "frames", fill=INK, font=self.font, anchor="mm")


def draw(curves: Curves, oracle: float) -> Image.Image:
    """The whole picture."""
    plot = Plot()
    band = [plot.at(*point) for point in [*curves.lower, *reversed(curves.upper)]]
    plot.pen.polygon(band, fill=BAND)
    plot.axes()
    plot.dashed((0, TARGET), (FRAMES, TARGET), AIM)
    plot.line(curves.good_turing, OTHER)
    plot.line(curves.chao1_upper, OTHER, 2)
    plot.line(curves.said, SAID, 4)
    plot.line(curves.true, TRUE, 3)
    for frame, words in ((oracle, "95 % seen"), (curves.stop, "stop")):
        if frame is not None:
            plot.dashed((frame, TARGET), (frame, LOWEST), SAID if words == "stop" else TRUE)
            plot.words(frame + 200, LOWEST + 0.03, words, SAID if words == "stop" else TRUE)
    plot.words(18400, 0.90, "black: truth", INK)
    plot.words(18400, 0.865, "blue: the policy's estimate and bounds", SAID)
    plot.words(18400, 0.83, "brown: Good-Turing (above), Chao1's upper", OTHER)
    plot.words(18400, 0.795, "bound (below)", OTHER)
    return plot.image


if __name__ == "__main__":
    picture = draw(*follow()).quantize(64)
    picture.save(Path(sys.argv[1]), optimize=True)
