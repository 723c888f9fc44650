"""Colours of even lightness: a hue ramp in OKLab, and the way from OKLab to the screen's bytes.

Localizations are mixed as OKLab (a, b) at one fixed lightness, so that lightness says "how many" and hue says
"how deep". Two depths in one pixel mix to a colour of their own, paler than any depth in between; a mean depth
would show a third depth that is not there.
OKLab's numbers: Björn Ottosson, "A perceptual color space for image processing", 2020 (public domain).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LIGHTNESS = 0.75
CHROMA = 0.127  # the largest that sRGB can show at this lightness for every hue of the ramp
HUE_LOW_DEG, HUE_HIGH_DEG = 275.0, 15.0  # blue-violet, cyan, green, yellow, red: downwards through 180
STEPS = 256

_LMS_FROM_LAB = np.array(
    [[1.0, 0.3963377774, 0.2158037573], [1.0, -0.1055613458, -0.0638541728], [1.0, -0.0894841775, -1.2914855480]]
)
_RGB_FROM_LMS = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


def linear_rgb(lab: NDArray[np.floating]) -> NDArray[np.float64]:
    """OKLab (..., 3) to linear sRGB (..., 3); values outside 0..1 are colours that the screen cannot show."""
    return np.asarray(np.power(np.asarray(lab, float) @ _LMS_FROM_LAB.T, 3) @ _RGB_FROM_LMS.T)


def encode_srgb(linear: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Linear light 0..1 of any shape to sRGB bytes (IEC 61966-2-1), clipped."""
    x = np.clip(linear, 0.0, 1.0)
    curved = np.where(x <= 0.0031308, 12.92 * x, 1.055 * np.power(x, 1 / 2.4) - 0.055)
    return np.asarray(np.rint(curved * 255), np.uint8)


def hue_ramp(steps: int = STEPS) -> NDArray[np.float32]:
    """(steps, 2) OKLab (a, b) of one lightness and chroma with even steps of hue, from deep blue to red."""
    hue = np.radians(np.linspace(HUE_LOW_DEG, HUE_HIGH_DEG, steps))
    return np.asarray(CHROMA * np.stack([np.cos(hue), np.sin(hue)], axis=1), np.float32)


def ramp_rgb(steps: int = STEPS) -> NDArray[np.uint8]:
    """(steps, 3) sRGB bytes of the ramp at full brightness, for colour bars and markers."""
    ab = hue_ramp(steps)
    return encode_srgb(linear_rgb(np.column_stack([np.full(steps, LIGHTNESS), ab])))


def srgb_table(entries: int = 4096) -> NDArray[np.uint8]:
    """sRGB bytes at index sqrt(linear light) * (entries - 1): the root spends the entries on the dark end."""
    return encode_srgb(np.square(np.linspace(0.0, 1.0, entries)))
