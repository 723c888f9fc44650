"""`rtdecode decide`: what policies would have said to a run that is there already."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rtdecode.core.errors import ConfigError

if TYPE_CHECKING:
    from rtdecode.core.config import Plugin
    from rtdecode.stages.decide import Word
    from rtdecode.streams.run_folder import RunFolder


def decide(
    run: Annotated[Path, typer.Argument(help="Run folder, of a run that is over or of a live one.")],
    policy: Annotated[
        list[str] | None,
        typer.Option(help="YAML with `policies:`, or `file.py:Class`; may come again. Default: the run's own."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON: decisions as in events.jsonl, last states.")
    ] = False,
) -> None:
    """Say when policies would have stopped a run: the same decisions as live, to the byte.

    Example: [bold]rtdecode decide runs/cell3 --policy plugins/density_stop.py:DensityStop[/bold]
    """
    from rtdecode.streams.run_folder import RunFolder

    heard = _hear(RunFolder.open(run), policy or [])
    typer.echo(json.dumps(heard.as_json(), indent=2, ensure_ascii=False) if as_json else heard.as_text())


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(decide)


@dataclass(frozen=True)
class _Heard:
    """All that the policies said to a run."""

    frames: int
    words: list[Word]
    states: dict[str, dict[str, float | str]]

    def as_json(self) -> dict[str, Any]:
        said = [{"frame_index": w.frame_index, "policy": w.policy, **w.fields} for w in self._of("decision")]
        failed = [{"frame_index": w.frame_index, "policy": w.policy, **w.fields} for w in self._of("policy_error")]
        return {"frames": self.frames, "decisions": said, "states": self.states, "errors": failed}

    def as_text(self) -> str:
        lines = [f"frame {w.frame_index}: {w.policy}: {_action(w.fields['action'])}" for w in self._of("decision")]
        lines = lines or [f"no decision in {self.frames} frames"]
        lines += [f"frame {w.frame_index}: {w.policy} failed:\n{w.fields['reason']}" for w in self._of("policy_error")]
        states = [f"{name}: " + ", ".join(f"{k} {v}" for k, v in state.items()) for name, state in self.states.items()]
        return "\n".join([*lines, *states])

    def _of(self, kind: str) -> list[Word]:
        return [word for word in self.words if word.kind == kind]


def _action(action: dict[str, Any]) -> str:
    if action["kind"] == "stop":
        return f"stop: {action['reason']}"
    return f"set {action['device']}.{action['property']} = {action['value']:g}"


def _hear(folder: RunFolder, given: list[str]) -> _Heard:
    from rtdecode.stages.build import build_policies, camera_px_nm
    from rtdecode.stages.decide import FRAMES_A_STEP, Council, field_um2
    from rtdecode.stages.run_record import RunRecord
    from rtdecode.streams.log import LogReader

    record = RunRecord.of_run(folder)
    if given:
        origin, policies = _policies(given)
        record = record.model_copy(update={"policies": policies, "origin": origin})
    if not record.policies:
        raise ConfigError(f"{folder.path}: this run has no policies of its own; name one with --policy")
    council, reader = Council(build_policies(record)), LogReader.open(folder.path)
    words: list[Word] = []
    last = -1
    commits, localizations = reader.read_new(FRAMES_A_STEP)
    while len(commits):
        words += council.hear(commits, localizations, field_um2(folder, camera_px_nm(record)))
        last = int(commits["frame_index"][-1])
        commits, localizations = reader.read_new(FRAMES_A_STEP)
    words += council.last_words(last)
    return _Heard(reader.frames, words, council.states)


def _policies(given: list[str]) -> tuple[str, tuple[Plugin, ...]]:
    """(where they stand, the policies) of `--policy`, each a YAML file or the `use` of a class."""
    from rtdecode.core.config import Plugin

    found: list[Plugin] = []
    for text in given:
        found += _of_file(Path(text)) if text.endswith((".yaml", ".yml")) else [Plugin(use=text)]
    return (given[0] if len(given) == 1 else "--policy"), tuple(found)


def _of_file(path: Path) -> list[Plugin]:
    """Of a file with `policies:` (a run's configuration, too), or of one policy."""
    from pydantic import ConfigDict, create_model

    from rtdecode.core.config import Plugin
    from rtdecode.core.plugins import absolute
    from rtdecode.core.yaml_files import load_yaml

    kind = create_model(
        "PolicyFile", __config__=ConfigDict(extra="allow"), use=(str | None, None), policies=(tuple[Plugin, ...], ())
    )
    fields = load_yaml(path, kind).model_dump(exclude_unset=True)
    plugins = [fields] if fields.get("use") else list(fields.get("policies", ()))
    if not plugins:
        raise ConfigError(f"{path}: has neither `policies:` with a list of policies, nor `use:` of one")
    return [absolute(Plugin.model_validate(one), path) for one in plugins]
