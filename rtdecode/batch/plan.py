"""PLAN.yaml of a batch: recordings, each with its model and camera; what all share stands once, in `defaults`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from rtdecode.core.camera import Camera
from rtdecode.core.config import DetectionConfig, EngineConfig, RunConfig
from rtdecode.core.errors import ConfigError, RecordingError
from rtdecode.core.yaml_files import StrictModel, load_yaml, validate
from rtdecode.session.resolve import resolve
from rtdecode.stages.run_record import RunRecord

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]


class Settings(StrictModel):
    """What one recording is fitted with; None: of `defaults`."""

    model: str | None = None
    camera: Path | Camera | None = None  # a YAML file, or the values themselves
    allow_camera_mismatch: bool | None = None
    engine: EngineConfig | None = None
    detection: DetectionConfig | None = None
    units: str | None = None
    channel: str | int | None = None
    position: str | int | None = None
    z: str | int | None = None
    first: Annotated[int, Field(ge=0)] | None = None
    last: Annotated[int, Field(gt=0)] | None = None


class RecordingPlan(Settings):
    """One recording; its results go to `name` (default: the file's) below the batch's `out`."""

    path: str
    name: Name | None = None


class BatchPlan(StrictModel):
    """Everything that defines a batch."""

    out: Path | None = None
    defaults: Settings = Settings()
    recordings: Annotated[tuple[RecordingPlan, ...], Field(min_length=1)]
    block_frames: Annotated[int, Field(ge=1)] = 500  # frames of one task: about ten seconds of a core
    retries: Annotated[int, Field(ge=0, le=20)] = 3  # of a block whose worker died


def load_plan(path: Path) -> BatchPlan:
    """Read and check; raises ConfigError with file, line and key."""
    return load_yaml(path, BatchPlan)


def records_of(plan: BatchPlan, path: Path, out: Path) -> tuple[dict[str, RunRecord], dict[str, str]]:
    """(name -> record) of each recording, checked as a replay would be, and (name -> why) of those not to be read.

    Raises RtdecodeError for a fault of the plan, a model or a camera.
    """
    records: dict[str, RunRecord] = {}
    unreadable: dict[str, str] = {}
    for number, recording in enumerate(plan.recordings):
        name = recording.name or Path(recording.path.rstrip("/")).name.partition(".")[0] or f"recording{number}"
        if name in records or name in unreadable:
            raise ConfigError(f"{path}: two recordings are called {name!r}; give one of them another `name`")
        config = _config(plan, recording, path, out / name)
        try:
            records[name] = resolve(config, f"{path}, recording {name}")
        except RecordingError as error:
            unreadable[name] = str(error)
    if not records:
        raise ConfigError(f"{path}: no recording can be read: {'; '.join(unreadable.values())}")
    return records, unreadable


def _config(plan: BatchPlan, recording: RecordingPlan, path: Path, out: Path) -> RunConfig:
    own = {key: value for key, value in recording if value is not None}
    chosen: dict[str, Any] = {key: value for key, value in plan.defaults if value is not None} | own
    if "model" not in chosen:
        raise ConfigError(f"{path}: recording {recording.path}: no model; give `model` there or in `defaults`")
    source: dict[str, Any] = {"use": "replay", "path": _place(recording.path, path)}
    source |= {key: chosen[key] for key in ("units", "channel", "position", "z", "first", "last") if key in chosen}
    fields: dict[str, Any] = {"source": source, "model": _model(chosen["model"], path), "out": out, "check": False}
    fields |= {key: chosen[key].model_dump() for key in ("engine", "detection") if key in chosen}
    fields["allow_camera_mismatch"] = chosen.get("allow_camera_mismatch", False)
    fields["camera"] = _camera(chosen.get("camera"), path)
    return validate(fields, RunConfig, str(path))


def _place(recording: str, plan: Path) -> str:
    """A path beside the plan, or an address that stays as it is."""
    return recording if "://" in recording else str((plan.parent / recording).resolve())


def _model(model: str, plan: Path) -> str:
    """A folder beside the plan if there is one, else a shipped model's name."""
    beside = plan.parent / model
    return str(beside.resolve()) if beside.is_dir() else model


def _camera(camera: Path | Camera | None, plan: Path) -> dict[str, Any] | None:
    if camera is None:
        return None
    if isinstance(camera, Camera):
        return camera.with_maps_in(plan.parent).model_dump(mode="json")
    path = (plan.parent / camera).resolve()
    return load_yaml(path, Camera).with_maps_in(path.parent).model_dump(mode="json")
