"""A light behind Micro-Manager's core that outlives every process, for its state is a file."""

from __future__ import annotations

import json
import os
from pathlib import Path

import mm_test_adapters
import pytest
from pymmcore_plus.experimental.unicore import ShutterDevice, pymm_property

LAMP_FILE, STUCK = "RTDECODE_TEST_LAMP", "stuck"
CONFIGURATION = """\
Property,Core,Initialize,0
Device,DHub,DemoCamera,DHub
Device,Camera,DemoCamera,DCam
#py pyDevice,Laser,lamp,Lamp
Parent,Camera,DHub
Property,Core,Initialize,1
Property,Core,Camera,Camera
#py Property,Core,Shutter,Laser
"""
ADAPTERS = Path(mm_test_adapters.device_adapter_path())
GREY16 = ("Camera", "PixelType", "16bit")


class Lamp(ShutterDevice):
    """A shutter with a power; once `stuck` is in its file, it closes no more."""

    def get_open(self) -> bool:
        return bool(lamp_state()["open"])

    def set_open(self, open: bool) -> None:
        if not open and STUCK in lamp_state():
            raise RuntimeError("the shutter does not answer")
        _change(open=open)

    @pymm_property
    def State(self) -> int:
        return int(self.get_open())

    @State.setter
    def _set_state(self, value: int) -> None:
        _change(open=bool(int(value)))

    @pymm_property
    def Power(self) -> float:
        return float(lamp_state()["power"])

    @Power.setter
    def _set_power(self, value: float) -> None:
        _change(power=float(value))


def lamp_state() -> dict[str, object]:
    """open, power: of the light in the room, whoever lives."""
    return json.loads(Path(os.environ[LAMP_FILE]).read_text())


def _change(**fields: object) -> None:
    path = Path(os.environ[LAMP_FILE])
    new = path.with_suffix(".new")
    new.write_text(json.dumps(lamp_state() | fields))
    new.replace(path)


def stick() -> None:
    """From now on it cannot be closed."""
    _change(stuck=True)


def install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dark lamp at power 5 in `folder`, for this process and its children; the configuration that has it."""
    monkeypatch.setenv(LAMP_FILE, str(folder / "lamp.json"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    (folder / "lamp.json").write_text(json.dumps({"open": False, "power": 5.0}))
    (folder / "lamp.cfg").write_text(CONFIGURATION)
    return folder / "lamp.cfg"
