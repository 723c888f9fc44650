"""Safe-stop of Micro-Manager's core: what the run changes is told before, and a new core brings the devices to rest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("pymmcore_plus")
pytest.importorskip("mm_test_adapters")

from lamp import ADAPTERS, GREY16, install, lamp_state, stick

from rtdecode.core.actions import SetProperty
from rtdecode.core.contracts import SafeStop, Setting
from rtdecode.core.errors import RunFolderError, SourceError
from rtdecode.sources.mmcore import MMCoreSource
from rtdecode.sources.scene import SimulatedScene

LIGHT_ON = ("Laser", "State", "1")


@pytest.fixture
def lit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., MMCoreSource]:
    """Makes sources whose `open` switches the lamp on."""
    path = install(tmp_path, monkeypatch)

    def make(**fields: object) -> MMCoreSource:
        given = {"properties": (GREY16, LIGHT_ON)} | fields
        return MMCoreSource(frames=5, config_file=path, adapter_folder=ADAPTERS, **given)

    return make


def test_each_property_is_told_once_and_before_it_is_changed(lit: Callable[..., MMCoreSource]) -> None:
    source, seen = lit(), []
    source.tell_changes(lambda before: seen.append((before, lamp_state())))
    source.open()
    source.apply(SetProperty("Laser", "Power", 30))
    source.apply(SetProperty("Laser", "Power", 40))
    assert [before for before, _ in seen] == [
        Setting("Camera", "PixelType", "8bit"), Setting("Laser", "State", "0"), Setting("Laser", "Power", "5.0"),
    ]  # fmt: skip
    assert seen[1][1] == {"open": False, "power": 5.0} and seen[2][1] == {"open": True, "power": 5.0}
    assert lamp_state() == {"open": True, "power": 40.0}
    source.close()
    assert lamp_state() == {"open": False, "power": 5.0}


def test_what_nobody_could_write_down_is_not_changed(lit: Callable[..., MMCoreSource]) -> None:
    def refuse(before: Setting) -> None:
        raise RunFolderError("disk full")

    source = lit(properties=(GREY16,))
    source.open()
    source.tell_changes(refuse)
    with pytest.raises(RunFolderError):
        source.apply(SetProperty("Laser", "Power", 30))
    source.close()
    with pytest.raises(RunFolderError):
        source.open()
    assert lamp_state() == {"open": False, "power": 5.0}


def test_a_second_core_takes_a_light_that_was_left_on(lit: Callable[..., MMCoreSource]) -> None:
    abandoned = lit()
    abandoned.open()  # and never closed
    abandoned.apply(SetProperty("Laser", "Power", 30))
    before = [Setting("Laser", "State", "1"), Setting("Laser", "Power", "5.0")]  # even where it was on before the run
    done = lit().bring_to_rest(before)
    assert lamp_state() == {"open": False, "power": 5.0}
    assert done == [
        "lamp.cfg loaded anew", "shutter Laser closed", "camera Camera idle",
        "Laser.Power put back to 5.0", "Laser.State put back to 1",
    ]  # fmt: skip


def test_every_step_is_tried_and_the_failed_ones_are_named(lit: Callable[..., MMCoreSource]) -> None:
    lit().open()
    stick()
    before = [Setting("Laser", "Power", "7"), Setting("Laser", "Colour", "red")]
    with pytest.raises(SourceError) as caught:
        lit().bring_to_rest(before)
    words = str(caught.value)
    assert "close the shutter Laser: " in words and "does not answer" in words and "Laser.Colour back to red" in words
    assert words.endswith("(done: camera Camera idle, Laser.Power put back to 7)") and lamp_state()["power"] == 7


def test_micro_managers_own_demo_comes_to_rest() -> None:
    demo = MMCoreSource(frames=5, config_file=Path("MMConfig_demo.cfg"), adapter_folder=ADAPTERS)
    assert isinstance(demo, SafeStop) and demo.has_hardware
    assert "shutter White Light Shutter closed" in demo.bring_to_rest([])


def test_a_simulated_camera_has_nothing_to_bring_to_rest() -> None:
    assert not MMCoreSource(frames=5, simulated=SimulatedScene()).has_hardware
    with pytest.raises(SourceError, match="config_file"):
        MMCoreSource(frames=5).bring_to_rest([])
