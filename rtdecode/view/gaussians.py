"""Compiled loops of the canvas: Gaussians into sums, sums into bytes."""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import NDArray

REACH_SIGMAS = 3.0  # a Gaussian is cut there and normalised over what is left: the lost 0.5 % is given back


@numba.njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _profile(weights: NDArray[np.float32], centre: np.float32, sigma: np.float32, first: int, count: int) -> None:
    """Gaussian samples at first..first+count, sum 1, into `weights`.

    Three exponentials whatever the width: the quotient of neighbours is itself a geometric row. Within 3 sigma
    nothing underflows, and the last of 120 samples is right to 2e-5.
    """
    scale = np.float32(-0.5) / (sigma * sigma)
    offset = np.float32(first) - centre
    value = np.exp(scale * offset * offset)
    ratio, change = np.exp(scale * (np.float32(2.0) * offset + np.float32(1.0))), np.exp(np.float32(2.0) * scale)
    total = np.float32(0.0)
    for k in range(count):
        weights[k] = value
        total += value
        value *= ratio
        ratio *= change
    share = np.float32(1.0) / total
    for k in range(count):
        weights[k] *= share


@numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")  # type: ignore[untyped-decorator]
def _add_scaled(out: NDArray[np.float32], profile: NDArray[np.float32], factor: np.float32) -> None:
    """One run of memory for all three sums is one vectorised loop and a third of the cache misses."""
    for k in range(len(out)):
        out[k] += factor * profile[k]


@numba.njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def draw(
    sums: NDArray[np.float32],  # (H, W, 3): weight, weight * a, weight * b
    x_nm: NDArray[np.float32],  # (N,)
    y_nm: NDArray[np.float32],
    sigma_x_nm: NDArray[np.float32],
    sigma_y_nm: NDArray[np.float32],
    steps: NDArray[np.float32],  # (N,) place on the ramp, in entries
    shown: NDArray[np.bool_],  # (N,)
    shares: NDArray[np.float32],  # (N,) how much of each is drawn, or (0,): all
    ramp: NDArray[np.float32],  # (S, 2) OKLab a, b
    origin: tuple[float, float, float],  # x0_nm, y0_nm, pixels per nm
    limits: tuple[float, float],  # smallest and largest sigma in pixels; largest 0: a point in one pixel
    sign: float,  # 1 adds, -1 takes away
    band: tuple[int, int],  # rows of the image that may be touched
) -> int:
    """Add N Gaussians; returns how many were unusable. A position on a pixel's centre is a whole number there.

    Bands of one image may be drawn at the same time: in each pixel the order is that of the localizations.
    """
    width = sums.shape[1]
    x0, y0, per_nm = np.float32(origin[0]), np.float32(origin[1]), np.float32(origin[2])
    floor, ceiling = np.float32(limits[0]), np.float32(limits[1])
    longest = 2 * int(np.ceil(ceiling * REACH_SIGMAS)) + 1
    across, down = np.empty(longest, np.float32), np.empty(longest, np.float32)
    coloured = np.empty(3 * longest, np.float32)
    flat = sums.reshape(-1)
    unusable = 0
    for n in range(len(x_nm)):
        if not shown[n]:
            continue
        if not (np.isfinite(x_nm[n] + y_nm[n] + steps[n]) and sigma_x_nm[n] > 0 and sigma_y_nm[n] > 0):
            unusable += 1
            continue
        y = (y_nm[n] - y0) * per_nm - np.float32(0.5)
        sigma_y = min(max(sigma_y_nm[n] * per_nm, floor), ceiling)
        reach_y = int(np.ceil(sigma_y * REACH_SIGMAS))
        if y < band[0] - reach_y - 1 or y > band[1] + reach_y:
            continue
        x = (x_nm[n] - x0) * per_nm - np.float32(0.5)
        sigma_x = min(max(sigma_x_nm[n] * per_nm, floor), ceiling)
        reach_x = int(np.ceil(sigma_x * REACH_SIGMAS))
        if x < -reach_x - 1 or x > width + reach_x:
            continue
        left, top = int(np.floor(x + np.float32(0.5))) - reach_x, int(np.floor(y + np.float32(0.5))) - reach_y
        if ceiling > 0:
            _profile(across, x, sigma_x, left, 2 * reach_x + 1)
            _profile(down, y, sigma_y, top, 2 * reach_y + 1)
        else:
            across[0], down[0] = np.float32(1.0), np.float32(1.0)
        entry = int(min(max(steps[n], np.float32(0)), np.float32(len(ramp) - 1)))
        a, b = ramp[entry, 0], ramp[entry, 1]
        first, last = max(left, 0), min(left + 2 * reach_x + 1, width)
        if first >= last:
            continue
        share = np.float32(sign) * shares[n] if len(shares) else np.float32(sign)
        for k in range(last - first):
            value = across[first - left + k] * share
            coloured[3 * k], coloured[3 * k + 1], coloured[3 * k + 2] = value, value * a, value * b
        for row in range(max(top, band[0]), min(top + 2 * reach_y + 1, band[1])):
            start = 3 * (row * width + first)
            _add_scaled(flat[start : start + 3 * (last - first)], coloured, down[row - top])
    return unusable


@numba.njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def colour(
    sums: NDArray[np.float32],  # (H, W, 3): weight, weight * a, weight * b
    row0: int,
    column0: int,
    block: int,
    scale: float,
    gamma: float,
    lightness: float,
    srgb: NDArray[np.uint8],
    dust: float,  # weights up to it are black: what taking localizations away leaves behind
    out: NDArray[np.uint8],  # (h, w, 3)
) -> None:
    """Mean over blocks of pixels, mean colour, lightness by density, to bytes.

    OKLab is a cube root, so a colour dimmed to lightness v has v ** 3 of its linear light.
    """
    height, width, _ = sums.shape
    top_entry = len(srgb) - 1
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            weight, sum_a, sum_b = 0.0, 0.0, 0.0
            for row in range(row0 + i * block, min(row0 + (i + 1) * block, height)):
                for column in range(column0 + j * block, min(column0 + (j + 1) * block, width)):
                    weight += sums[row, column, 0]
                    sum_a += sums[row, column, 1]
                    sum_b += sums[row, column, 2]
            if weight <= dust:
                continue
            v = min(weight * scale, 1.0)
            v = math.sqrt(v) if gamma == 0.5 else v**gamma  # the root is ten times as fast
            a, b = sum_a / weight, sum_b / weight
            long = (lightness + 0.3963377774 * a + 0.2158037573 * b) * v
            middle = (lightness - 0.1055613458 * a - 0.0638541728 * b) * v
            short = (lightness - 0.0894841775 * a - 1.2914855480 * b) * v
            long, middle, short = long * long * long, middle * middle * middle, short * short * short
            red = 4.0767416621 * long - 3.3077115913 * middle + 0.2309699292 * short
            green = -1.2684380046 * long + 2.6097574011 * middle - 0.3413193965 * short
            blue = -0.0041960863 * long - 0.7034186147 * middle + 1.7076147010 * short
            out[i, j, 0] = srgb[int(math.sqrt(min(max(red, 0.0), 1.0)) * top_entry + 0.5)]
            out[i, j, 1] = srgb[int(math.sqrt(min(max(green, 0.0), 1.0)) * top_entry + 0.5)]
            out[i, j, 2] = srgb[int(math.sqrt(min(max(blue, 0.0), 1.0)) * top_entry + 0.5)]
