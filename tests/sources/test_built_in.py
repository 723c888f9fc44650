"""Sources as a run's YAML names them: built through the plug-in mechanism, with what the run knows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from rtdecode.core.config import Plugin
from rtdecode.core.errors import ConfigError
from rtdecode.core.plugins import build
from rtdecode.sources import BUILT_IN
from rtdecode.sources.mmcore import MMCoreSource
from rtdecode.sources.replay import ReplaySource
from rtdecode.sources.scene import CHALLENGE_CAMERA
from rtdecode.sources.simulated import SimulatedCamera

METHODS = ("open", "start", "read", "apply", "close")


def built(text: str, **extra: object) -> object:
    return build(Plugin(**yaml.safe_load(text)), BUILT_IN, "run.yaml", methods=METHODS, **extra)


def test_replay_with_a_pace_from_the_command_line(tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", np.zeros((2, 8, 8), "u2"))
    source = built(f"use: replay\npath: {tmp_path / 'm.npy'}\npace: '100'\n", camera=CHALLENGE_CAMERA, truth=None)
    assert isinstance(source, ReplaySource)
    assert source.pace == source.nominal_fps == 100.0 and source.can_wait
    assert source.camera == CHALLENGE_CAMERA


def test_simulated_and_mmcore_take_what_the_run_knows(tmp_path: Path) -> None:
    known = {"camera": CHALLENGE_CAMERA, "truth": tmp_path / "truth.csv", "psf": tmp_path / "psf.safetensors"}
    plain = built("use: simulated\nframes: 10\nfps: 50\n", **known)
    core = built("use: mmcore\nframes: 10\nexposure_ms: 5\nsimulated: {density_um2: 1.5}\n", **known)
    assert isinstance(plain, SimulatedCamera) and isinstance(core, MMCoreSource)
    for source in (plain, core):
        assert (source.camera, source.truth, source.psf) == tuple(known.values())
    assert (plain.nominal_fps, core.nominal_fps) == (50.0, 200.0)
    assert core.simulated is not None and core.simulated.density_um2 == 1.5


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("use: replay\npath: m.npy\npaec: 3\n", "paec.*did you mean 'pace'"),
        ("use: replay\n", "'path' is missing"),
        ("use: simulated\nframes: 0\n", "frames"),
        ("use: mmcore\nframes: 5\nconfig_file: a.cfg\nsimulated: {}\n", "exclude each other"),
        ("use: mmcore\nframes: 5\nsimulated: {densty_um2: 1}\n", "densty_um2"),
    ],
)
def test_wrong_keys_are_named(text: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        built(text)
