"""A calibration on one page: verdict, beads on the field, slices and cuts of the PSF, residuals, z-ramp (PNG)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from rtdecode.physics.calibrate import Bead
from rtdecode.physics.psf import Psf, SplinePsf, spline_of
from rtdecode.physics.psf_check import Ramp, Verdict, fitted_slices
from rtdecode.view.bead_drawing import (
    GAP,
    INK,
    PAGE,
    QUIET,
    RED,
    WIDTH,
    font,
    grey,
    grown,
    plot,
    red_blue,
    wrapped,
)

F8 = NDArray[np.float64]
_GREEN = (86, 214, 124)
_GRADES = {"good": _GREEN, "usable": (240, 190, 70), "unusable": RED}
_SLICES = 7
_RESIDUAL = 0.1  # of the bead's height is full colour
_FIELDS, _FIELD_PX, _LISTED = 3, 420, 15


@dataclass(frozen=True, slots=True)
class PageOf:
    """What is drawn: beads, stacks (each (Z, H, W)) and ramp are empty or None for a PSF that came without beads."""

    title: str
    psf: Psf
    verdict: Verdict
    beads: tuple[Bead, ...] = ()
    stacks: Sequence[NDArray[np.generic]] = ()
    ramp: Ramp | None = None


def write_bead_page(path: Path, page: PageOf) -> None:
    """Write the page as PNG."""
    used = [bead for bead in page.beads if bead.used]
    rows = [_heading(page)]
    if page.stacks:
        rows.append(_fields(page))
    rows.append(_slices(spline_of(page.psf)))
    if used:
        rows.append(_residuals(page.psf, max(used, key=lambda bead: bead.brightness)))
    if page.ramp is not None:
        rows.append(_ramps(page.psf, page.ramp, page.verdict))
    image = Image.new("RGB", (WIDTH, sum(row.height for row in rows) + GAP * (len(rows) + 1)), PAGE)
    top = GAP
    for row in rows:
        image.paste(row, (0, top))
        top += row.height + GAP
    image.save(path, format="PNG")


def _row(height: int, title: str) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", (WIDTH, height), PAGE)
    draw = ImageDraw.Draw(image)
    if title:
        draw.text((GAP, 0), title, font=font(19), fill=INK)
    return image, draw


def _heading(page: PageOf) -> Image.Image:
    lines = wrapped(page.verdict.words, font(19), WIDTH - 2 * GAP)
    image, draw = _row(44 + 26 * len(lines), "")
    draw.text((GAP, 0), page.title, font=font(27), fill=INK)
    for n, line in enumerate(lines):
        draw.text((GAP, 44 + 26 * n), line, font=font(19), fill=_GRADES[page.verdict.grade])
    return image


def _fields(page: PageOf) -> Image.Image:
    """The stacks' mean images with a ring for each bead, and why those in red are not used."""
    image, draw = _row(30 + _FIELD_PX + 30, _count(page))
    shown = page.stacks[:_FIELDS]
    lost = [n for n, bead in enumerate(page.beads) if not bead.used]
    for number, stack in enumerate(shown):
        left = GAP + number * (_FIELD_PX + GAP)
        mean = stack.mean(0, dtype=np.float64)
        scale = _FIELD_PX / max(mean.shape)
        size = (round(mean.shape[1] * scale), round(mean.shape[0] * scale))
        image.paste(grey(mean).resize(size, Image.Resampling.NEAREST), (left, 30))
        words = f"stack {number + 1} of {len(page.stacks)}, mean of {len(stack)} slices"
        draw.text((left, 36 + size[1]), words, font=font(15), fill=QUIET)
        for n, bead in enumerate(page.beads):
            if bead.stack == number:
                _ring(draw, bead, n + 1, (left, 30), scale)
    left = GAP + len(shown) * (_FIELD_PX + GAP)
    _reasons(draw, page.beads, lost, left if len(shown) < _FIELDS else WIDTH)
    return image


def _count(page: PageOf) -> str:
    used = [bead for bead in page.beads if bead.used]
    heights = [bead.dz_nm for bead in used]
    spread = f", heights within {np.ptp(heights):.0f} nm" if len(used) > 1 and len(page.stacks) == 1 else ""
    return f"Beads: {len(used)} of {len(page.beads)} used (green){spread}"


def _ring(draw: ImageDraw.ImageDraw, bead: Bead, number: int, corner: tuple[int, int], scale: float) -> None:
    x, y = corner[0] + (bead.column_px + 0.5) * scale, corner[1] + (bead.row_px + 0.5) * scale
    radius, colour = min(max(7.0, 6 * scale), 60.0), _GREEN if bead.used else RED
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=colour, width=2)
    beyond = x + radius + 24 > corner[0] + _FIELD_PX
    at, anchor = (x - radius - 3 if beyond else x + radius + 3, y), "rm" if beyond else "lm"
    draw.text(at, str(number), font=font(15), fill=colour, anchor=anchor)


def _reasons(draw: ImageDraw.ImageDraw, beads: tuple[Bead, ...], lost: list[int], left: int) -> None:
    top = 32
    for n in lost[:_LISTED]:
        for line in wrapped(f"{n + 1}: {beads[n].reason}", font(15), WIDTH - GAP - left):
            draw.text((left, top), line, font=font(15), fill=RED)
            top += 20
        if top > _FIELD_PX:
            draw.text((left, top), "and more", font=font(15), fill=QUIET)
            return
    if len(lost) > _LISTED:
        draw.text((left, top), f"and {len(lost) - _LISTED} more", font=font(15), fill=QUIET)


def _wanted_nm(psf: Psf) -> F8:
    low, high = psf.z_range_nm
    return np.linspace(low, high, _SLICES + 2)[1:-1]


def _slices(psf: SplinePsf) -> Image.Image:
    """xy at seven heights, each to its own maximum, and the cuts along x and y through the middle."""
    samples, z = psf.samples(), psf.z_of_slices_nm
    side = (WIDTH - GAP) // (_SLICES + 2) - GAP
    image, draw = _row(30 + side + 26, "PSF, square root of light (each slice to its own maximum); cuts with z upwards")
    for n, wanted in enumerate(_wanted_nm(psf)):
        k = int(np.abs(z - wanted).argmin())
        _tile(image, draw, grey(samples[k]), n, side, f"z {z[k]:+.0f} nm")
    middle = psf.roi_px // 2
    for n, (cut, name) in enumerate(((samples[:, middle, :], "xz"), (samples[:, :, middle], "yz"))):
        whole = grey(cut[::-1]).resize((side, side), Image.Resampling.BILINEAR)
        _tile(image, draw, whole, _SLICES + n, side, f"{name}, {z[0]:.0f} to {z[-1]:.0f} nm")
    return image


def _residuals(psf: Psf, bead: Bead) -> Image.Image:
    """The brightest bead's slices, and what the fitted PSF leaves of them."""
    z, images, models = fitted_slices(psf, bead, _wanted_nm(psf))
    side = (WIDTH - GAP) // (_SLICES + 2) - GAP
    title = f"Brightest bead, and bead minus PSF (red more, blue less light; full colour {_RESIDUAL:.0%} of its height)"
    image, draw = _row(30 + 2 * side + GAP + 26, title)
    for n in range(len(z)):
        left = GAP + n * (side + GAP)
        image.paste(grown(grey(images[n]), side), (left, 30))
        residual, height = images[n] - models[n], float(np.ptp(models[n]))
        image.paste(grown(red_blue(residual / (_RESIDUAL * height)), side), (left, 30 + side + GAP))
        words = f"rms {residual.std() / height:.1%} of height"
        draw.text((left, 34 + 2 * side + GAP), words, font=font(15), fill=QUIET)
    return image


def _tile(image: Image.Image, draw: ImageDraw.ImageDraw, tile: Image.Image, n: int, side: int, words: str) -> None:
    left = GAP + n * (side + GAP)
    image.paste(grown(tile, side), (left, 30))
    draw.text((left, 34 + side), words, font=font(15), fill=QUIET)


def _ramps(psf: Psf, ramp: Ramp, verdict: Verdict) -> Image.Image:
    title = (
        f"z fitted to single bead slices: slope {ramp.slope:.3f}, bias {ramp.bias_nm:+.1f} nm, "
        f"scatter {ramp.scatter_nm:.1f} nm; a colour for each bead"
    )
    image, _ = _row(30 + 430, title)
    width = (WIDTH - 3 * GAP) // 2
    low, high = psf.z_range_nm
    most = float(np.clip(1.2 * np.percentile(np.abs(ramp.fitted_nm - ramp.true_nm), 97), 20, 300))
    error = np.clip(ramp.fitted_nm - ramp.true_nm, -most, most)
    left = plot((width, 430), (low, high), (low, high), ramp.true_nm, ramp.fitted_nm, ramp.bead,
                "true z (stage, nm)", "fitted z (nm)", ((low, low), (high, high)), verdict.z_nm)  # fmt: skip
    right = plot((width, 430), (low, high), (-most, most), ramp.true_nm, error, ramp.bead,
                 "true z (stage, nm)", "fitted - true (nm)", ((low, 0.0), (high, 0.0)), verdict.z_nm)  # fmt: skip
    image.paste(left, (GAP, 30))
    image.paste(right, (2 * GAP + width, 30))
    return image
