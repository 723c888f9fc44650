"""YAML files to typed models, with errors that name file, line and key and suggest the nearest known key."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from rtdecode.core.errors import ConfigError

KeyPath = tuple[str | int, ...]


class StrictModel(BaseModel):
    """Base of every configuration model: frozen, unknown keys refused, no silent conversion of types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, allow_inf_nan=False)


ModelT = TypeVar("ModelT", bound=BaseModel)
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # a bundle's card: 10 ms instead of 140


def load_yaml(path: Path, model: type[ModelT]) -> ModelT:
    """Read one YAML file into `model`; raises ConfigError with file, line, key, found, expected."""
    return parse_yaml(_read(path), model, str(path))


def parse_yaml(text: str, model: type[ModelT], origin: str) -> ModelT:
    """As `load_yaml` for a text; `origin` is named in errors."""
    try:
        node, fields = yaml.compose(text, Loader=LOADER), safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{origin}: not valid YAML{yaml_fault(error)}") from error
    if twice := _repeated(node, origin):
        raise ConfigError("\n".join(twice))
    if not isinstance(fields, dict):
        raise ConfigError(f"{origin}: expected a mapping of keys to values, found {type(fields).__name__}")
    return validate(fields, model, origin, _line_numbers(node))


def safe_load(text: str) -> Any:
    """Plain objects of a YAML text, never anything else; raises yaml.YAMLError."""
    try:
        return yaml.load(text, Loader=LOADER)
    except ValueError as error:  # what looks like a date and is none, e.g. 2026-13-45
        raise yaml.YAMLError(str(error)) from error


def yaml_fault(error: Exception) -> str:
    """What is wrong with a YAML text and where, on one line, to be put behind "not valid YAML"."""
    mark, words = getattr(error, "problem_mark", None), getattr(error, "problem", None) or error
    return f" in line {mark.line + 1}: {words}" if mark else f": {' '.join(str(words).split())}"


def validate(
    fields: dict[str, Any], model: type[ModelT], origin: str, lines: dict[KeyPath, int] | None = None
) -> ModelT:
    """Check `fields` against `model`; every fault is listed, each with its line where it is known."""
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        faults = [_sentence(fault, model, origin, lines or {}) for fault in error.errors()]
        raise ConfigError("\n".join(faults)) from error


def key_lines(path: Path) -> dict[KeyPath, int]:
    """Line (from 1) of every key and list item of a YAML file, for faults that are found later; empty if unreadable."""
    try:
        return _line_numbers(yaml.compose(_read(path), Loader=LOADER))
    except (yaml.YAMLError, ConfigError):
        return {}


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error


def _repeated(node: yaml.Node | None, origin: str) -> list[str]:
    """A sentence for each key that stands twice in one mapping: YAML would silently take the last."""
    if isinstance(node, yaml.SequenceNode):
        return [fault for value in node.value for fault in _repeated(value, origin)]
    if not isinstance(node, yaml.MappingNode):
        return []
    faults: list[str] = []
    first: dict[str, int] = {}
    for key, value in node.value:
        line, name = key.start_mark.line + 1, str(key.value)
        if name in first:
            faults.append(f"{origin}, line {line}: key '{name}' stands in line {first[name]} already; keep one of them")
        first.setdefault(name, line)
        faults += _repeated(value, origin)
    return faults


def _line_numbers(node: yaml.Node | None, at: KeyPath = ()) -> dict[KeyPath, int]:
    """Line (from 1) of every key and list item below `node`."""
    lines: dict[KeyPath, int] = {}
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            lines[(*at, str(key.value))] = key.start_mark.line + 1
            lines |= _line_numbers(value, (*at, str(key.value)))
    elif isinstance(node, yaml.SequenceNode):
        for i, value in enumerate(node.value):
            lines[(*at, i)] = value.start_mark.line + 1
            lines |= _line_numbers(value, (*at, i))
    return lines


def _sentence(fault: Any, model: type[BaseModel], origin: str, lines: dict[KeyPath, int]) -> str:
    at: KeyPath = tuple(fault["loc"])
    line = next((lines[at[:n]] for n in range(len(at), 0, -1) if at[:n] in lines), None)
    where = f"{origin}, line {line}" if line else origin
    key = ".".join(str(part) for part in at) or "(top level)"
    if fault["type"] == "extra_forbidden":
        return f"{where}: unknown key '{key}'{_nearest(at, model)}"
    if fault["type"] == "missing":
        return f"{where}: key '{key}' is missing"
    return f"{where}: key '{key}': {fault['msg']} (found {fault['input']!r})"


def _nearest(at: KeyPath, model: type[BaseModel]) -> str:
    known = _fields_at(at[:-1], model)
    close = difflib.get_close_matches(str(at[-1]), known, n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else f"; known keys: {', '.join(sorted(known))}"


def _fields_at(at: KeyPath, model: type[BaseModel]) -> list[str]:
    """Names of the fields of the model that sits at this path, as far as the annotations tell."""
    for part in at:
        annotation = model.model_fields[str(part)].annotation if str(part) in model.model_fields else None
        inner = [annotation, *getattr(annotation, "__args__", ())]
        models = [kind for kind in inner if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if models:
            model = models[0]
    return list(model.model_fields)
