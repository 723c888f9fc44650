"""Plug-ins: loading by name, module or file; wrong fields name the key; missing methods are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from rtdecode.core.config import Plugin
from rtdecode.core.errors import ConfigError, PluginError
from rtdecode.core.plugins import absolute, build, load_class

SOURCE = """
from dataclasses import dataclass
from rtdecode.core.yaml_files import StrictModel

class Strict(StrictModel):
    threshold: float = 1.0
    def update(self, localizations, progress): return []

@dataclass
class Plain:
    frames: int
    field_um2: float = 2.0
    def update(self, localizations, progress): return []

class Signature:
    def __init__(self, after: int, camera: object = None) -> None:
        if after < 0:
            raise ValueError("before the beginning")
        self.after, self.camera = after, camera
"""


@pytest.fixture
def plugin_file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(SOURCE)
    return path


def make(path: Path, name: str, **fields: object) -> Plugin:
    return Plugin(use=f"{path}:{name}", **fields)


def test_fields_of_the_three_kinds_of_class_come_from_the_yaml(plugin_file: Path) -> None:
    assert build(make(plugin_file, "Strict", threshold=3), {}, "a.yaml").threshold == 3.0
    assert build(make(plugin_file, "Plain", frames=7), {}, "a.yaml").frames == 7
    assert build(make(plugin_file, "Signature", after=1), {}, "a.yaml").after == 1


def test_what_the_run_knows_is_handed_only_to_fields_that_exist_and_yaml_wins(plugin_file: Path) -> None:
    built = build(make(plugin_file, "Signature", after=1), {}, "a.yaml", camera="emccd", truth_path="x")
    assert built.camera == "emccd"
    assert build(make(plugin_file, "Plain", frames=1, field_um2=9), {}, "a.yaml", field_um2=5).field_um2 == 9


@pytest.mark.parametrize(
    ("name", "fields", "words"),
    [
        ("Strict", {"treshold": 1}, ["unknown key 'treshold'", "did you mean 'threshold'"]),
        ("Plain", {"frames": "many"}, ["key 'frames'", "many"]),
        ("Plain", {}, ["key 'frames' is missing"]),
        ("Signature", {"after": 1, "until": 2}, ["unknown key 'until'"]),
    ],
)
def test_wrong_fields_name_file_line_and_key(
    plugin_file: Path, name: str, fields: dict[str, object], words: list[str]
) -> None:
    lines = {(key,): 12 for key in fields}
    with pytest.raises(ConfigError) as caught:
        build(make(plugin_file, name, **fields), {}, "live.yaml", lines=lines)
    message = str(caught.value)
    assert message.startswith("live.yaml") and all(word in message for word in words)
    assert not fields or "line 12" in message


@pytest.mark.parametrize(
    ("use", "words"),
    [
        ("nonsense", "neither a built-in name (replay)"),
        ("there/is/no.py:Thing", "there is no file"),
        ("no_such_package.module:Thing", "cannot be imported"),
        ("rtdecode.core.frames:Rio", "no class 'Rio'"),
    ],
)
def test_what_cannot_be_loaded_is_said(use: str, words: str) -> None:
    with pytest.raises(PluginError) as caught:
        load_class(use, {"replay": "x:Y"})
    assert words in str(caught.value)


def test_a_file_that_raises_and_a_constructor_that_raises_are_plugin_errors(plugin_file: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("1 / 0\n")
    with pytest.raises(PluginError, match="ZeroDivisionError"):
        load_class(f"{broken}:Thing", {})
    with pytest.raises(PluginError, match="before the beginning"):
        build(make(plugin_file, "Signature", after=-1), {}, "a.yaml")


def test_methods_of_the_role_are_asked_for(plugin_file: Path) -> None:
    with pytest.raises(PluginError, match=r"update\(\)"):
        build(make(plugin_file, "Signature", after=1), {}, "a.yaml", methods=["update"])


def test_a_file_becomes_absolute_and_a_module_stays(tmp_path: Path) -> None:
    origin = tmp_path / "run.yaml"
    origin.touch()
    beside, here = Plugin(use=f"{tmp_path / 'p/a.py'}:B", n=1), Plugin(use=f"{Path.cwd() / 'p/a.py'}:B", n=1)
    assert absolute(Plugin(use="p/a.py:B", n=1), origin) == beside
    assert absolute(Plugin(use="p/a.py:B", n=1), "no file") == here
    assert absolute(Plugin(use="replay"), origin) == Plugin(use="replay")
