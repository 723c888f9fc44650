"""A batch on a real cluster of processes: the bytes of a replay; what is done is kept, what changed is not mixed in."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from batch_bench import ENGINE, Bench
from clusters import Processes
from distributed import Client
from many_formats import write_zarr
from tiny_model import TINY_CAMERA

from rtdecode.batch import cluster
from rtdecode.batch.plan import BatchPlan
from rtdecode.batch.run import Progress, Result, prepare, run_batch
from rtdecode.cli.app import run as command
from rtdecode.core.errors import ConfigError, RunFolderError


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Two workers, each a process."""
    with Processes(tmp_path_factory.mktemp("cluster")) as processes:
        for _ in range(2):
            processes.start_worker()
        with processes.client(2) as client:
            yield client


def batch(plan: BatchPlan, out: Path, client: Client) -> tuple[Result, list[str]]:
    said: list[str] = []
    return run_batch(plan, prepare(plan, out / "plan.yaml", out), out, client, tell=said.append), said


@pytest.mark.parametrize("block_frames", [1, 7, 10, 100])
def test_whatever_the_blocks_the_bytes_of_one_machines_replay(
    bench: Bench, client: Client, tmp_path: Path, block_frames: int
) -> None:
    result, _ = batch(bench.plan(block_frames=block_frames), tmp_path, client)
    assert result.good and bench.same_as_replay(tmp_path / "movie")


def test_what_is_done_is_kept_and_what_is_missing_is_made(bench: Bench, client: Client, tmp_path: Path) -> None:
    plan = bench.plan("one", "two")
    first, _ = batch(plan, tmp_path, client)
    assert first.report["frames_fitted"] == 2 * 57 and len(first.runs) == 2
    again, said = batch(plan, tmp_path, client)
    assert again.report["frames_fitted"] == 0 and sum("finished before" in words for words in said) == 2
    shutil.rmtree(tmp_path / "one")  # the run folder alone: its blocks are there
    third, _ = batch(plan, tmp_path, client)
    assert third.report["frames_fitted"] == 0 and bench.same_as_replay(tmp_path / "one")
    shutil.rmtree(tmp_path / "two")
    blocks = sorted((tmp_path / ".blocks" / "two").rglob("*.npz"))
    blocks[2].unlink()
    blocks[4].write_bytes(blocks[4].read_bytes()[:500])  # as a full disk leaves it
    fourth, _ = batch(plan, tmp_path, client)
    assert fourth.report["frames_fitted"] == 20 and bench.same_as_replay(tmp_path / "two")


def test_a_changed_recording_is_compared_block_by_block(bench: Bench, client: Client, tmp_path: Path) -> None:
    movie = tmp_path / "movie.npy"
    pixels = np.random.default_rng(1).integers(300, 3000, (40, 20, 28)).astype(np.uint16)
    np.save(movie, pixels)
    plan = bench.plan()
    plan = plan.model_copy(update={"recordings": (plan.recordings[0].model_copy(update={"path": str(movie)}),)})
    batch(plan, tmp_path, client)
    before = (tmp_path / "movie" / "locs.bin").read_bytes()
    np.save(movie, pixels)  # other times, the same frames
    (tmp_path / "movie" / "notes.txt").write_text("mine")
    same, _ = batch(plan, tmp_path, client)
    assert (same.report["reused"], same.report["frames_fitted"]) == (4, 0)
    assert (tmp_path / "movie" / "notes.txt").read_text() == "mine"  # the run folder was left alone
    assert (tmp_path / "movie" / "locs.bin").read_bytes() == before
    pixels[25] += 500
    np.save(movie, pixels)
    changed, _ = batch(plan, tmp_path, client)
    assert (changed.report["reused"], changed.report["frames_fitted"]) == (3, 10)
    assert (tmp_path / "movie" / "locs.bin").read_bytes() != before
    assert (tmp_path / "movie.before1" / "notes.txt").read_text() == "mine"  # the run of the old frames is kept
    np.save(tmp_path / "movie_other.npy", pixels)  # no part of it
    third, said = batch(plan, tmp_path, client)
    assert third.report["reused"] == 0 and any("finished before" in words for words in said)


def test_a_recording_that_cannot_be_read_is_left_out_and_said(bench: Bench, client: Client, tmp_path: Path) -> None:
    (tmp_path / "text.tif").write_text("not a movie")
    plan = bench.plan("good", "bad")
    bad = plan.recordings[1].model_copy(update={"path": str(tmp_path / "text.tif")})
    result, _ = batch(plan.model_copy(update={"recordings": (plan.recordings[0], bad)}), tmp_path, client)
    assert not result.good and bench.same_as_replay(tmp_path / "good")
    assert "text.tif" in result.report["recordings"]["bad"]["error"] and not (tmp_path / "bad").exists()
    assert result.report["ledger"]["fitted"] == 54 and result.report["ledger"]["expected"] == 60


def test_another_model_or_camera_is_never_mixed_in(bench: Bench, client: Client, tmp_path: Path) -> None:
    batch(bench.plan(), tmp_path, client)
    other = bench.plan()
    settings = other.defaults.model_copy(
        update={"detection": other.defaults.detection.model_copy(update={"accept": 0.2})}
    )
    with pytest.raises(RunFolderError, match="holds another run"):
        batch(other.model_copy(update={"defaults": settings}), tmp_path, client)
    shutil.rmtree(tmp_path / "movie")
    result, _ = batch(other.model_copy(update={"defaults": settings}), tmp_path, client)
    assert result.report["frames_fitted"] == 57
    mine, theirs = tmp_path / "movie" / "locs.bin", bench.replay.localizations
    assert mine.stat().st_size < theirs.stat().st_size


def test_a_block_that_cannot_be_read_is_named_with_its_frames_and_the_rest_goes_on(
    bench: Bench, client: Client, tmp_path: Path
) -> None:
    pytest.importorskip("zarr")
    pixels = np.random.default_rng(2).integers(300, 3000, (120, 20, 28)).astype(np.uint16)
    write_zarr(tmp_path / "m.zarr", pixels, chunk=5)
    (chunk,) = [path for path in (tmp_path / "m.zarr").rglob("*") if path.is_file() and "/c/16/" in path.as_posix()]
    chunk.write_bytes(b"not what was written")  # frames 80 to 84; 35 are decoded at once
    plan = bench.plan(block_frames=35)
    plan = plan.model_copy(
        update={"recordings": (plan.recordings[0].model_copy(update={"path": str(tmp_path / "m.zarr"), "name": "m"}),)}
    )
    result, _ = batch(plan, tmp_path, client)
    report = json.loads((tmp_path / "m" / "report.json").read_text())
    assert not result.good and report["finish"] == "failed"
    assert [(part["first"], part["last"]) for part in report["lost"]] == [(70, 104)]
    assert (report["frames"]["expected"], report["frames"]["fitted"]) == (120, 85)
    assert any("frames 70 to 104 are lost" in words and "cannot be decoded" in words for words in report["warnings"])
    assert result.report["recordings"]["m"]["missing_blocks"] == 1


def test_progress_counts_every_block_once(bench: Bench, client: Client, tmp_path: Path) -> None:
    seen: list[Progress] = []
    plan = bench.plan("a", "b")
    run_batch(plan, prepare(plan, tmp_path / "p.yaml", tmp_path), tmp_path, client,
              on_progress=lambda p: seen.append(Progress(**vars(p))))  # fmt: skip
    assert [p.done for p in seen] == list(range(1, 13)) and {p.blocks for p in seen} == {12}
    assert seen[-1].frames == 2 * 57
    report = json.loads((tmp_path / "batch_report.json").read_text())
    assert len(report["workers"]) == 2 and sum(w["blocks"] for w in report["workers"].values()) == 12


def test_the_command_says_what_is_wrong_before_a_cluster_is_started(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = tmp_path / "plan.yaml"

    def refused(text: str, *more: str) -> str:
        plan.write_text(text)
        assert command(["batch", str(plan), "--out", str(tmp_path / "out"), *more]) == 1
        return capsys.readouterr().err

    assert "recordings" in refused("out: x\n")
    assert "colour" in refused("recordings: [{path: a.tif, colour: red}]\n")
    assert "no model" in refused("recordings: [{path: a.tif}]\n")
    twice = (
        f"defaults: {{model: '{bench.model}'}}\nrecordings: [{{path: '{bench.movie}'}}, {{path: '{bench.movie}'}}]\n"
    )
    assert "two recordings are called" in refused(twice)
    assert "no.tif" in refused(f"defaults: {{model: '{bench.model}'}}\nrecordings: [{{path: no.tif}}]\n")
    monkeypatch.setattr(cluster, "CONNECT_S", 1.0)
    settings = {"model": bench.model, "camera": TINY_CAMERA.model_dump(mode="json"), "engine": ENGINE}
    good = json.dumps({"defaults": settings, "recordings": [{"path": str(bench.movie)}]})
    assert "nothing answers" in refused(good, "--scheduler", "tcp://127.0.0.1:9")
    assert "expected an address" in refused(good, "--scheduler", "nonsense")
    assert "always files" in refused(good, "--out", "s3://bucket/x")


def test_the_command_makes_run_folders_with_their_pages(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text(json.dumps(bench.plan().model_dump(mode="json") | {"out": "results"}))  # JSON is YAML
    assert command(["batch", str(plan), "--workers", "2"]) == 0
    said = capsys.readouterr().out
    assert bench.same_as_replay(tmp_path / "results" / "movie") and "movie" in said and "frames/s" in said
    assert (tmp_path / "results" / "movie" / "report.html").exists()


def test_no_worker_is_an_error(bench: Bench, tmp_path: Path) -> None:
    with (
        Processes(tmp_path) as processes,
        Client(processes.address) as client,
        pytest.raises(ConfigError, match="no worker"),
    ):
        batch(bench.plan(), tmp_path, client)
