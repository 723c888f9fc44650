"""YAML: what would be read otherwise than it is written is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from rtdecode.core.errors import ConfigError
from rtdecode.core.yaml_files import StrictModel, load_yaml


class Light(StrictModel):
    """A mapping in a mapping in a list."""

    power: float
    next: tuple[Light, ...] = ()


def test_a_key_that_stands_twice_is_refused_with_both_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("power: 1\nnext:\n- power: 2\n  next: []\n  power: 3\npower: 4\n")
    with pytest.raises(ConfigError) as refused:
        load_yaml(path, Light)
    assert f"{path}, line 5: key 'power' stands in line 3 already" in str(refused.value)
    assert f"{path}, line 6: key 'power' stands in line 1 already" in str(refused.value)


def test_the_same_key_in_two_mappings_is_no_repetition(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("power: 1\nnext:\n- power: 2\n- power: 3\n")
    assert [light.power for light in load_yaml(path, Light).next] == [2.0, 3.0]


def test_a_key_twice_in_one_line_is_refused_too(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("{power: 1, power: 2}\n")
    with pytest.raises(ConfigError, match="stands in line 1 already"):
        load_yaml(path, Light)


@pytest.mark.parametrize("text", ["power: [3\nnext: 4\n", "power: 2026-13-45\n", "power: *x\n", "power: \x01\n"])
def test_what_is_no_yaml_is_one_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"a\.yaml: not valid YAML.*: [^\n]+$") as refused:
        load_yaml(path, Light)
    assert "\n" not in str(refused.value)
