"""Stream = batch: inline, through processes, across a killed localize worker, the same bytes; loss is data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from runs import HERE, N_FRAMES, Kit, Watched, bytes_of, commits_of, worker

from rtdecode import session
from rtdecode.core.camera_maps import CameraMaps
from rtdecode.core.config import Plugin
from rtdecode.core.errors import BundleError, CameraMismatch, ConfigError, RunFolderError
from rtdecode.session.report import build_report
from rtdecode.stages.run_record import RunRecord
from rtdecode.streams.log import LogReader
from rtdecode.streams.recording import RecordingReader

LOST = (5, 6, 20)
STOP_AT = {"use": f"{HERE / 'policies.py'}:StopAt", "frame": 30}


def test_processes_with_everything_on_give_the_bytes_of_one_process(kit: Kit) -> None:
    extras = {"record": True, "policies": [STOP_AT]}
    inline = session.run_inline(kit.config("inline", {"lost": LOST}, **extras))
    result = session.run(kit.config("run", {"lost": LOST}, **extras))
    run = result.folder.path
    locs, commits = bytes_of(run)
    assert (locs, commits) == bytes_of(inline.folder.path) and len(locs) > 48 * N_FRAMES
    assert result.outcome.finish == inline.outcome.finish == "completed"  # control.mode is advise
    frames = result.report["frames"]
    assert frames == inline.report["frames"]
    assert (frames["expected"], frames["received"], frames["lost_before"]) == (N_FRAMES, N_FRAMES - 3, 3)
    assert [(lost["first"], lost["last"]) for lost in result.report["lost"]] == [(5, 6), (20, 20)]
    recording = RecordingReader.open(run)
    assert recording.indices.tolist() == [i for i in range(N_FRAMES) if i not in LOST]
    recording.close()
    told = [(e["frame_index"], e["action"]) for e in result.folder.read_events() if e["kind"] == "decision"]
    assert told == [(e["frame_index"], e["action"]) for e in inline.folder.read_events() if e["kind"] == "decision"]
    assert (30, {"kind": "stop", "reason": "enough"}) in told
    assert {d["frame_index"] for d in result.report["decisions"]} == {0, 30}  # the first of each kind
    replayed = kit.config("replayed").model_copy(update={"source": Plugin(use="replay", path=str(run))})
    assert bytes_of(session.run_inline(replayed).folder.path)[0] == locs  # a run's own recording, gaps and all


def test_a_run_with_camera_maps_finds_what_an_even_sensor_would(kit: Kit, tmp_path: Path) -> None:
    """The sensor is larger than the frames; its pixels' baselines differ by whole ADU, and the frames with them."""
    even = session.run_inline(kit.config("even"))
    camera = RunRecord.of_run(even.folder).camera
    assert camera is not None
    offset = np.random.default_rng(1).integers(0, 60, (40, 50))
    gain, noise = (np.full((40, 50), value, "f4") for value in (camera.e_per_adu, camera.read_noise_e))
    CameraMaps((camera.baseline_adu + offset).astype("f4"), noise, gain).save(tmp_path / "maps.safetensors")
    frames = np.load(kit.frames)
    np.save(kit.frames, (frames + offset[:20, :30]).astype(np.uint16))
    uneven = session.run_inline(kit.config("uneven"))
    mapped = camera.model_copy(update={"maps": tmp_path / "maps.safetensors"})
    corrected = session.run_inline(kit.config("corrected", camera=mapped.model_dump(mode="json")))
    found = [LogReader.open(run.folder.path).all()[1] for run in (even, uneven, corrected)]
    assert len(found[0]) == len(found[2]) != len(found[1])
    assert np.allclose(found[0].x_nm, found[2].x_nm, atol=0.5)


def test_maps_that_are_missing_are_told_before_the_run(kit: Kit) -> None:
    camera = {"px_nm": [100, 110], "baseline_adu": 100, "e_per_adu": 45, "em_gain": 300, "read_noise_e": 74.4}
    asked = kit.config("none", camera=camera | {"spurious_e": 0.002, "maps": "nowhere.safetensors"})
    with pytest.raises(ConfigError, match=r"nowhere\.safetensors: cannot be read as camera maps"):
        session.run_inline(asked)
    assert not asked.out.exists()


def test_a_killed_localize_worker_is_replaced_and_not_one_byte_differs(kit: Kit) -> None:
    wanted = bytes_of(session.run_inline(kit.config("inline", {"lost": LOST})).folder.path)
    run = Watched(kit.config("run", {"lost": LOST, "hold_after": 18}))
    run.wait_for_frames(12)
    worker(run.folder.path, "localize").kill()
    kit.go.touch()
    result = run.end()
    assert bytes_of(run.folder.path) == wanted
    assert result.outcome.finish == "completed" and result.report["frames"]["fitted"] == N_FRAMES - 3
    assert any("localize was restarted: killed by signal 9" in words for words in result.report["warnings"])


def test_a_localize_that_dies_again_and_again_ends_the_run_with_the_books_closed(kit: Kit) -> None:
    run = Watched(kit.config("run", {"hold_after": 18}, limits={"restarts": 0}))
    run.wait_for_frames(10)
    worker(run.folder.path, "localize").kill()
    result = run.end()
    frames = result.report["frames"]
    assert result.outcome.finish == "failed" and "localize" in result.outcome.reason
    assert frames["received"] == 18 and frames["fitted"] >= 10
    assert frames["fitted"] + frames["lost_in_ring"] == 18  # read by nobody: lost, and counted
    assert kit.deeds()[-1] == "close"
    assert build_report(run.folder, result.outcome)["frames"] == frames  # readable, and the same again


def test_a_live_camera_that_nobody_waits_for(kit: Kit) -> None:
    result = session.run(kit.config("run", {"fps": 200.0}, ring={"seconds": 5}))
    frames = result.report["frames"]
    assert frames["received"] == frames["expected"] == N_FRAMES and result.outcome.finish == "completed"
    assert kit.deeds() == ["open", "start", "close"]
    source = next(event for event in result.folder.read_events() if event["kind"] == "source")
    assert source["can_wait"] is False
    commits = commits_of(result.folder.path)
    assert np.all(commits["t_commit_ns"] >= commits["t_arrival_ns"])
    latency = result.report["latency_ms"]
    assert latency["p50"] >= 5.0 > latency["without_context"]["p50"] - 1000  # the wait for the next frame is in it
    assert latency["without_context"]["p50"] < latency["p50"]


@pytest.mark.parametrize(
    ("fields", "error", "words"),
    [
        ({"model": "no-such-model"}, BundleError, "no-such-model"),
        ({"camera": {"px_nm": [100, 110], "baseline_adu": 400, "e_per_adu": 45, "read_noise_e": 74.4}},
         CameraMismatch, "baseline_adu: model 100.0, run 400.0"),
        ({"source": {"use": "replay", "pth": "x.tif"}}, ConfigError, "did you mean 'path'"),
    ],
)  # fmt: skip
def test_what_can_be_known_before_is_refused_before_there_is_a_folder(
    kit: Kit, fields: dict[str, object], error: type[Exception], words: str
) -> None:
    with pytest.raises(error) as caught:
        session.run(kit.config("run", **fields))
    assert words in str(caught.value) and not (kit.folder / "run").exists()


@pytest.mark.parametrize("inline", [True, False])
def test_a_run_without_one_fitted_frame_has_failed_and_says_why(kit: Kit, inline: bool) -> None:
    np.save(kit.frames, np.full((6, 20, 30), 65535, np.uint16))
    result = session.run(kit.config("run"), inline=inline)
    frames = result.report["frames"]
    assert (frames["expected"], frames["received"], frames["rejected"], frames["fitted"]) == (6, 6, 6, 0)
    assert result.outcome == session.Outcome("failed", "none of 6 frames could be fitted: saturated")
    assert result.report["finish"] == "failed" and result.report["lost"][0]["why"] == "saturated"
    assert "6 frames were rejected: more than 5% of their pixels are saturated" in result.report["warnings"]
    assert not any("are biased" in words for words in result.report["warnings"])


def test_some_saturated_frames_are_rejected_and_the_others_fitted(kit: Kit) -> None:
    movie = np.load(kit.frames)
    movie[5:8] = 65535
    np.save(kit.frames, movie)
    result = session.run_inline(kit.config("run"))
    assert result.outcome.finish == "completed" and result.report["frames"]["rejected"] == 3
    (part,) = result.report["lost"]
    assert (part["first"], part["last"], part["reason"], part["why"]) == (5, 7, "rejected", "saturated")


def test_a_folder_that_exists_is_refused_and_left_as_it_is(kit: Kit) -> None:
    (kit.folder / "run").mkdir()
    (kit.folder / "run" / "precious.txt").write_text("mine")
    with pytest.raises(RunFolderError, match="not empty"):
        session.run(kit.config("run"))
    assert [path.name for path in (kit.folder / "run").iterdir()] == ["precious.txt"]


def test_a_policy_with_a_wrong_key_is_refused_before_the_camera_is_touched(kit: Kit) -> None:
    result = session.run(kit.config("run", policies=[STOP_AT | {"frme": 3}]))
    assert result.outcome.finish == "failed" and "unknown key 'frme'; did you mean 'frame'" in result.outcome.reason
    assert kit.deeds() == [] and result.report["frames"]["expected"] == 0


def test_data_that_the_model_was_not_made_for_are_said_to_be_so(kit: Kit) -> None:
    np.save(kit.frames, np.load(kit.frames) // 10)  # background below the camera's baseline: no light at all
    dark = session.run_inline(kit.config("dark")).report["warnings"]
    assert any("under the camera's baseline of 100 ADU" in words for words in dark)
    assert any("no camera was given" in words for words in dark)
