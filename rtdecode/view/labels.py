"""Round numbers for scale bars and colour bars, and counts as people read them."""

from __future__ import annotations

import math


def round_length_nm(width_nm: float, share: float = 0.22) -> float:
    """The longest of 1, 2, 5 times a power of ten nm that is at most `share` of `width_nm`."""
    most = max(width_nm * share, 1e-3)
    power = 10.0 ** math.floor(math.log10(most))
    return max(step * power for step in (1, 2, 5) if step * power <= most * (1 + 1e-9))


def length_words(length_nm: float) -> str:
    """ "500 nm", "1 µm", "2 mm"."""
    for unit_nm, unit in ((1e6, "mm"), (1e3, "µm")):
        if length_nm >= unit_nm:
            return f"{length_nm / unit_nm:g} {unit}"
    return f"{length_nm:g} nm"


def ticks(low: float, high: float, most: int = 7) -> list[float]:
    """Round values between `low` and `high`, at most `most`."""
    span = high - low
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(factor * power for factor in (1, 2, 5, 10, 20) if span / (factor * power) <= most - 1)
    first = math.ceil(low / step - 1e-9)
    return [n * step for n in range(first, math.floor(high / step + 1e-9) + 1)]


def count_words(n: int) -> str:
    """Thousands in threes: 1,234,567."""
    return f"{n:,}"
