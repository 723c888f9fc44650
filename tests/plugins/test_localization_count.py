"""The policy to copy: says Stop once, for the density that was asked for, from good localizations only."""

from pathlib import Path

import numpy as np
import pytest

from rtdecode.core.actions import Stop
from rtdecode.core.config import Plugin
from rtdecode.core.contracts import Policy, Progress
from rtdecode.core.localizations import LOCALIZATION_DTYPE, Localizations
from rtdecode.core.plugins import build

PLUGIN = Path(__file__).parents[2] / "plugins/localization_count.py"


@pytest.fixture
def policy() -> Policy:
    fields = {"use": f"{PLUGIN}:LocalizationCount", "per_um2": 10, "min_frames": 3}
    made = build(Plugin.model_validate(fields), {}, "test")
    assert hasattr(made, "update")
    return made  # type: ignore[return-value]


def found(n: int, sigma_nm: float) -> Localizations:
    records = np.zeros(n, LOCALIZATION_DTYPE)
    records["sigma_x_nm"] = records["sigma_y_nm"] = sigma_nm
    return Localizations.from_records(records)


def progress(frames: int) -> Progress:
    return Progress(frames, 0, 0, frames - 1, field_um2=2.0)


def test_stops_once_when_the_density_is_reached(policy: Policy) -> None:
    assert list(policy.update(found(19, 20.0), progress(5))) == []
    (stop,) = policy.update(found(1, 20.0), progress(6))
    assert isinstance(stop, Stop) and "10 localizations per um²" in stop.reason
    assert list(policy.update(found(9, 20.0), progress(7))) == []


def test_wide_localizations_and_early_frames_do_not_count(policy: Policy) -> None:
    assert list(policy.update(found(100, 60.0), progress(5))) == []
    assert list(policy.update(found(100, 20.0), progress(2))) == []
    assert len(policy.update(found(0, 20.0), progress(3))) == 1
