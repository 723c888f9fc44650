"""Species counting: numbers that can be worked out on paper."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rtdecode.analysis.richness import Plateau, chao1, chao1_upper, good_turing

OFTEN = np.array([0, 10, 5, 2])  # ten cells hit once, five twice, two three times


def test_by_hand() -> None:
    assert good_turing(OFTEN) == pytest.approx(1 - 10 / 26)
    assert chao1(OFTEN) == pytest.approx(17 / (17 + 10 * 9 / (2 * 6)))
    variance = 5 * (0.5 * 4 + 8 + 0.25 * 16)
    factor = math.exp(1.96 * math.sqrt(math.log(1 + variance / 7.5**2)))
    assert chao1_upper(OFTEN) == pytest.approx(17 / (17 + 7.5 * factor))


@pytest.mark.parametrize("rule", [good_turing, chao1, chao1_upper])
def test_at_the_ends(rule: object) -> None:
    assert callable(rule)
    assert rule(np.array([5])) == 0.0
    assert rule(np.array([0, 0, 0, 9])) == pytest.approx(1.0)


def test_a_plateau_needs_the_whole_stretch() -> None:
    plateau = Plateau(frames=1000, share=0.02)
    assert not plateau.reached(500, 100)
    assert not plateau.reached(1000, 100)
    assert plateau.reached(1500, 101)
    assert not plateau.reached(2000, 110)
