"""Classes named in YAML by `use:`: loaded, their fields checked like every other key, built."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel, ConfigDict, create_model

from rtdecode.core.config import Plugin
from rtdecode.core.errors import PluginError, RtdecodeError
from rtdecode.core.yaml_files import KeyPath, validate


def build(
    plugin: Plugin,
    built_in: Mapping[str, str],
    origin: str,
    *,
    lines: Mapping[KeyPath, int] | None = None,
    methods: Iterable[str] = (),
    **extra: Any,
) -> Any:
    """An instance of the class that `plugin.use` names, made with the plugin's keys as its fields.

    `origin` is named in errors, `lines` are the lines of the plugin's keys in that file. `extra` are values
    that the run knows (camera, paths): each is handed over where the class has such a field and the YAML does
    not set it. Raises PluginError (not loadable, a method of the contract is missing, its constructor
    failed), ConfigError (wrong key, type or range; the message names it).
    """
    line = (lines or {}).get(("use",))
    try:
        kind = load_class(plugin.use, built_in)
    except PluginError as error:
        raise PluginError(f"{origin}, line {line}: {error}" if line else f"{origin}: {error}") from error
    missing = [name for name in methods if not callable(getattr(kind, name, None))]
    if missing:
        raise PluginError(f"{origin}: '{plugin.use}' has no method {', '.join(missing)}(), which its role needs")
    model = _fields_model(kind)
    known = {name: value for name, value in extra.items() if name in model.model_fields}
    checked = validate(known | plugin.fields, model, f"{origin} ({plugin.use})", dict(lines or {}))
    return checked if isinstance(checked, kind) else _construct(kind, checked, plugin.use, origin)


def load_class(use: str, built_in: Mapping[str, str]) -> type:
    """The class behind a built-in name, `path/file.py:Class` or `package.module:Class`; raises PluginError."""
    where, name = check_place(use, built_in)
    module = _load_file(Path(where), use) if where.endswith(".py") else _load_module(where, use)
    kind = getattr(module, name, None)
    if not isinstance(kind, type):
        there = [key for key, value in vars(module).items() if isinstance(value, type) and not key.startswith("_")]
        raise PluginError(f"use: '{use}': no class '{name}' in {where}; classes there: {', '.join(there) or 'none'}")
    return kind


def check_place(use: str, built_in: Mapping[str, str]) -> tuple[str, str]:
    """(file or module, class) of what `use` names, nothing loaded; PluginError: not of that form, or no such file."""
    where, colon, name = built_in.get(use, use).rpartition(":")
    if not colon or not where or not name:
        names = ", ".join(sorted(built_in)) or "none here"
        raise PluginError(
            f"use: '{use}' is neither a built-in name ({names}) nor 'path/file.py:Class' nor 'package.module:Class'"
        )
    if where.endswith(".py") and not Path(where).is_file():
        raise PluginError(f"use: '{use}': there is no file {Path(where).resolve()}")
    return where, name


def beside(origin: str | Path) -> Path:
    """The folder that paths in the file `origin` count from; the working directory where `origin` is no file."""
    return Path(origin).resolve().parent if Path(origin).is_file() else Path.cwd()


def absolute(plugin: Plugin, origin: str | Path) -> Plugin:
    """The plugin with each `file.py:Class` made absolute, so that a run's record does not depend on a directory.

    Such a path counts from the folder of the file `origin` that names it, or from the working directory where
    `origin` is no file. Also of plugins among its fields, at any depth (a policy made of policies).
    """
    folder = beside(origin)
    fields = {key: _absolute_below(value, folder) for key, value in plugin.fields.items()}
    return Plugin(use=_absolute_use(plugin.use, folder), **fields)


def _absolute_below(value: Any, folder: Path) -> Any:
    if isinstance(value, Mapping):
        made = {key: _absolute_below(item, folder) for key, item in value.items()}
        return made | {"use": _absolute_use(value["use"], folder)} if isinstance(value.get("use"), str) else made
    return [_absolute_below(item, folder) for item in value] if isinstance(value, list | tuple) else value


def _absolute_use(use: str, folder: Path) -> str:
    where, _, name = use.rpartition(":")
    return f"{(folder / where).resolve()}:{name}" if where.endswith(".py") else use


def _load_module(name: str, use: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except RtdecodeError:
        raise
    except Exception as error:  # a plug-in's own import may raise anything
        raise PluginError(f"use: '{use}': module {name} cannot be imported: {error!r}") from error


def _load_file(path: Path, use: str) -> ModuleType:
    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]
    name = f"rtdecode_plugin_{path.stem}_{digest}"  # two plug-ins of one file name must not be one module
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise PluginError(f"use: '{use}': {path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up by name
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise PluginError(f"use: '{use}': {path} cannot be loaded: {error!r}") from error
    return module


def _fields_model(kind: type) -> type[BaseModel]:
    """The pydantic model of a class's fields: itself, or made from the signature of its constructor."""
    if issubclass(kind, BaseModel):
        return kind
    hints = typing.get_type_hints(kind.__init__)
    fields: dict[str, Any] = {}
    for parameter in list(inspect.signature(kind).parameters.values()):
        default = ... if parameter.default is inspect.Parameter.empty else parameter.default
        fields[parameter.name] = (hints.get(parameter.name, Any), default)
    strict = ConfigDict(extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False)
    return create_model(kind.__name__, __config__=strict, **fields)


def _construct(kind: type, checked: BaseModel, use: str, origin: str) -> Any:
    try:
        return kind(**{name: getattr(checked, name) for name in type(checked).model_fields})
    except RtdecodeError:
        raise
    except Exception as error:
        raise PluginError(f"{origin}: '{use}' could not be built: {error!r}") from error
