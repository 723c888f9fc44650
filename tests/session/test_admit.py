"""The run's engine before the run: a precision is chosen, checked, told and written down, or the run refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino
import pytest
import yaml
from runs import Kit

from rtdecode import session
from rtdecode.core.config import EngineConfig, RunConfig
from rtdecode.core.errors import EngineError
from rtdecode.fit.bundle import ModelBundle
from rtdecode.fit.nvidia import first_gpu
from rtdecode.session.admit import admitted
from rtdecode.session.resolve import resolve
from rtdecode.stages import admission
from rtdecode.stages.admission_lines import NAME, Line
from rtdecode.stages.run_record import RunRecord


@pytest.fixture(autouse=True)
def few_frames_and_an_empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(admission, "CLIPS", 8)
    monkeypatch.setenv("RTDECODE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def record_of(tmp_path: Path, model: str | Path = "astigmatic-light", **engine: object) -> RunRecord:
    movie = tmp_path / "movie.npy"
    np.save(movie, np.full((3, 16, 16), 300, np.uint16))
    fields = {"source": {"use": "replay", "path": str(movie)}, "model": str(model), "engine": engine}
    return resolve(RunConfig.model_validate(fields | {"out": str(tmp_path / "run")}))


def answer_capabilities(monkeypatch: pytest.MonkeyPatch, *able: str) -> None:
    """What OpenVINO says that the CPU can do."""
    ask = openvino.Core.get_property
    monkeypatch.setattr(
        openvino.Core, "get_property",
        lambda self, *what: list(able) if what == ("CPU", "OPTIMIZATION_CAPABILITIES") else ask(self, *what),
    )  # fmt: skip


def test_without_bf16_in_the_cpu_the_default_is_fp32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer_capabilities(monkeypatch, "FP32", "INT8")
    said: list[str] = []
    engine = admitted(record_of(tmp_path, threads=1), said.append).engine
    assert engine == EngineConfig(precision="fp32", threads=1)
    assert said == ["engine openvino fp32: the reference"]
    with pytest.raises(EngineError, match="this CPU has no bf16 arithmetic"):
        admitted(record_of(tmp_path, precision="bf16"))


def test_with_bf16_in_the_cpu_it_is_checked_told_and_named(tmp_path: Path) -> None:
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this CPU has no bf16")
    said: list[str] = []
    record = admitted(record_of(tmp_path, "gaussian-2d-light"), said.append)
    assert record.engine.precision == "bf16"
    assert said[0] == "checking openvino bf16 against fp32 for gaussian-2d-light, once"
    assert said[-1] == f"engine {record.engine_check}" and "nm lateral" in record.engine_check
    written = yaml.safe_load(record.as_yaml())
    assert written["engine"]["precision"] == "bf16" and written["engine_check"] == record.engine_check
    said.clear()
    assert (
        admitted(record, said.append) == record and len(said) == 1
    )  # as a replay of run.yaml: nothing chosen, nothing run


def refuse(cache: Path, monkeypatch: pytest.MonkeyPatch, **engine: object) -> None:
    """A line that refuses bf16, as the gate would have written it on a CPU that has it."""
    answer_capabilities(monkeypatch, "FP32", "BF16", "INT8")
    bundle = ModelBundle.load("astigmatic-light")
    keys = admission.keys_of(EngineConfig.model_validate({"precision": "bf16"} | engine), bundle)
    figures = {"n_frames": 384, "jaccard_change_points": 0.1, "added_lateral_nm": 0.7, "added_axial_nm": 0.9}
    line = Line.made(keys, figures, ("added lateral error 0.7 nm (allowed 0.5 nm)",), 400.0)
    (place := cache / "bundles" / bundle.sha256[:32]).mkdir(parents=True)
    (place / NAME).write_text(line.text() + "\n")


def test_a_bf16_that_fails_is_not_chosen_and_told(
    tmp_path: Path, few_frames_and_an_empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(few_frames_and_an_empty_cache, monkeypatch)
    said: list[str] = []
    record = admitted(record_of(tmp_path), said.append)
    assert record.engine.precision == "fp32"
    assert said == ["engine openvino fp32: the reference; not bf16: added lateral error 0.7 nm (allowed 0.5 nm)"]


def test_a_bf16_that_fails_is_refused_where_it_was_asked_for(
    tmp_path: Path, few_frames_and_an_empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(few_frames_and_an_empty_cache, monkeypatch)
    config = record_of(tmp_path).model_dump(include={"source", "model", "out"}) | {"engine": {"precision": "bf16"}}
    with pytest.raises(
        EngineError, match=r"openvino bf16 is not admitted for astigmatic-light: added lateral error 0\.7"
    ):
        session.run_inline(RunConfig.model_validate(config))
    assert not (tmp_path / "run").exists()


def test_a_refusal_names_the_line_of_the_users_file(
    tmp_path: Path, few_frames_and_an_empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(few_frames_and_an_empty_cache, monkeypatch)
    (origin := tmp_path / "run.yaml").write_text("model: astigmatic-light\nengine:\n  precision: bf16\n")
    record = record_of(tmp_path, precision="bf16").model_copy(update={"origin": str(origin)})
    with pytest.raises(EngineError, match=r"run\.yaml, line 2: key 'engine': openvino bf16 is not admitted"):
        admitted(record)


def test_auto_is_openvino_where_there_is_no_gpu_and_a_replay_of_the_record_says_so_again(tmp_path: Path) -> None:
    try:
        first_gpu()
    except EngineError:
        said: list[str] = []
        record = admitted(record_of(tmp_path, use="auto", precision="fp32"), said.append)
        assert record.engine.use == "openvino"  # what is written down is what ran
        assert said == [f"engine {record.engine_check}"]
        assert said[0].startswith(
            "engine openvino fp32: the reference; chosen by auto: no NVIDIA GPU can be used here ("
        )
        assert admitted(record) == record
        return
    pytest.skip("this machine has a GPU")


def test_a_model_without_psf_runs_in_fp32_and_says_why(kit: Kit) -> None:
    said: list[str] = []
    result = session.run(kit.config("run", {"fps": 0}, check=False), inline=True, tell=said.append)
    run = RunRecord.of_run(result.folder)
    assert run.engine.precision == "fp32" and said == [f"engine {run.engine_check}"]
    with pytest.raises(EngineError, match="allow_unchecked"):
        session.run_inline(kit.config("other", engine={"precision": "bf16"}))
