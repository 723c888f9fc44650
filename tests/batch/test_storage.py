"""Recordings in an S3-compatible store: the bytes of a local replay, read by block, changes found, faults named."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("s3fs")
pytest.importorskip("flask")  # of moto's server
pytest.importorskip("moto.server")
pytest.importorskip("zarr")

from batch_bench import DETECTION, ENGINE, N_FRAMES, Bench, frames
from clusters import Processes
from distributed import Client
from many_formats import write_ndtiff, write_zarr
from s3_server import KEYS, Server, serving
from tiny_model import TINY_CAMERA

from rtdecode.batch.plan import BatchPlan
from rtdecode.batch.run import Result, prepare, run_batch
from rtdecode.cli.app import run as command
from rtdecode.core.config import RunConfig
from rtdecode.core.errors import EngineError, RecordingError
from rtdecode.session import run_inline
from rtdecode.sources.addresses import Address
from rtdecode.sources.replay import ReplaySource

BUCKET = "bucket"


@pytest.fixture(scope="module")
def s3() -> Iterator[Server]:
    import s3fs

    with serving() as server, pytest.MonkeyPatch.context() as patch:
        for name, value in (KEYS | {"AWS_ENDPOINT_URL": server.url, "AWS_EC2_METADATA_DISABLED": "true"}).items():
            patch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()
        s3fs.S3FileSystem(use_listings_cache=False).mkdir(BUCKET)
        yield server
        s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture(scope="module")
def processes(s3: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    with Processes(tmp_path_factory.mktemp("cluster")) as processes:
        for _ in range(2):
            processes.start_worker()
        yield processes


@pytest.fixture(scope="module")
def client(processes: Processes) -> Iterator[Client]:
    with processes.client(2) as client:
        yield client


def at(bench: Bench, **addresses: str) -> BatchPlan:
    plan = bench.plan()
    return plan.model_copy(
        update={"recordings": tuple(plan.recordings[0].model_copy(update={"name": name, "path": address})
                                    for name, address in addresses.items())}
    )  # fmt: skip


def batch(plan: BatchPlan, out: Path, client: Client) -> Result:
    return run_batch(plan, prepare(plan, out / "plan.yaml", out), out, client)


def replayed(movie: Path | str, bench: Bench, out: Path) -> bytes:
    config = RunConfig.model_validate(
        {"source": {"use": "replay", "path": str(movie)}, "model": bench.model, "detection": DETECTION,
         "camera": TINY_CAMERA.model_dump(mode="json"), "engine": ENGINE, "out": str(out)}
    )  # fmt: skip
    return run_inline(config).folder.localizations.read_bytes()


def test_a_batch_of_a_store_has_the_bytes_of_a_local_replay(
    bench: Bench, s3: Server, client: Client, tmp_path: Path
) -> None:
    local = write_zarr(tmp_path / "local.zarr", frames(), chunk=5)
    addresses = {"nd": s3.put(bench.movie, f"{BUCKET}/same/nd"), "zarr": s3.put(local, f"{BUCKET}/same/m.zarr")}
    assert batch(at(bench, **addresses), tmp_path, client).good
    assert bench.same_as_replay(tmp_path / "nd")
    mine, theirs = (tmp_path / "zarr" / "locs.bin").read_bytes(), replayed(local, bench, tmp_path / "replay")
    assert mine == theirs and len(mine) > 10_000


def test_the_command_replays_an_address(bench: Bench, s3: Server, tmp_path: Path) -> None:
    for name, place in (("here", str(bench.movie)), ("away", s3.put(bench.movie, f"{BUCKET}/command/nd"))):
        arguments = ["replay", place, "--model", bench.model, "--inline", "--no-view", "--out", str(tmp_path / name)]
        assert command(arguments) == 0
    assert (tmp_path / "here" / "locs.bin").read_bytes() == (tmp_path / "away" / "locs.bin").read_bytes()
    assert json.loads((tmp_path / "away" / "report.json").read_text())["frames"]["expected"] == N_FRAMES


@pytest.mark.parametrize("kind", ["nd", "zarr", "npy"])
def test_of_a_block_only_what_it_needs_is_read(s3: Server, tmp_path: Path, kind: str) -> None:
    pixels = np.random.default_rng(3).integers(0, 60000, (800, 96, 128)).astype(np.uint16)  # 19.7 MB, incompressible
    local = tmp_path / "m.npy"
    if kind == "npy":
        np.save(local, pixels)
    else:
        local = write_ndtiff(tmp_path / "m", pixels) if kind == "nd" else write_zarr(tmp_path / "m", pixels, chunk=10)
    source = ReplaySource.model_validate({"path": s3.put(local, f"{BUCKET}/large/{kind}")})
    before, out = len(s3.gets), np.zeros((96, 128), np.uint16)
    source.open()
    opening = sum(size for _, size in s3.gets[before:])
    for k in range(300, 350):
        source.read_at(k, out)
        assert np.array_equal(out, pixels[k])
    source.close()
    sent, requests = sum(size for _, size in s3.gets[before:]), len(s3.gets) - before
    print(f"{kind}: {sent} bytes of {pixels.nbytes} in {requests} requests, {opening} of them to open")  # docs/batch.md
    assert sent < pixels.nbytes / 3 and requests < 50


def test_a_changed_object_is_compared_block_by_block(bench: Bench, s3: Server, client: Client, tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(300, 3000, (40, 20, 28)).astype(np.uint16)

    def put(number: int, pixels: np.ndarray) -> BatchPlan:
        nd = write_ndtiff(tmp_path / f"n{number}" / "nd", pixels, texts=[{"t": k} for k in range(40)])
        zarr = write_zarr(tmp_path / f"z{number}", pixels, chunk=5)
        return at(bench, nd=s3.put(nd, f"{BUCKET}/changed/nd"), zarr=s3.put(zarr, f"{BUCKET}/changed/zarr"))

    for number in range(2):
        (tmp_path / f"n{number}").mkdir()
    plan = put(0, pixels)
    assert batch(plan, tmp_path / "out", client).report["frames_fitted"] == 80
    again = batch(plan, tmp_path / "out", client)
    assert (again.report["reused"], again.report["frames_fitted"]) == (0, 0)
    before = (tmp_path / "out" / "nd" / "locs.bin").read_bytes()
    pixels[25] += 500
    changed = batch(put(1, pixels), tmp_path / "out", client)
    assert changed.good and (changed.report["reused"], changed.report["frames_fitted"]) == (6, 20)
    assert (tmp_path / "out" / "nd" / "locs.bin").read_bytes() != before
    assert (tmp_path / "out" / "zarr" / "locs.bin").read_bytes() == (tmp_path / "out" / "nd" / "locs.bin").read_bytes()


def test_a_local_movie_put_in_place_of_another_is_not_taken_for_it(
    bench: Bench, client: Client, tmp_path: Path
) -> None:
    movie, other = tmp_path / "movie.npy", tmp_path / "other.npy"
    pixels = np.random.default_rng(4).integers(300, 3000, (40, 20, 28)).astype(np.uint16)
    np.save(movie, pixels)
    batch(at(bench, m=str(movie)), tmp_path / "out", client)
    pixels[25] += 500
    np.save(other, pixels)
    other.replace(movie)  # the workers have the old one mapped
    changed = batch(at(bench, m=str(movie)), tmp_path / "out", client)
    assert (changed.report["reused"], changed.report["frames_fitted"]) == (3, 10)


def test_a_block_that_can_be_read_no_more_does_not_come_back_as_it_was(
    bench: Bench, client: Client, tmp_path: Path
) -> None:
    movie = write_zarr(tmp_path / "m.zarr", np.concatenate([frames()] * 3), chunk=5)
    plan = at(bench, m=str(movie))
    assert batch(plan, tmp_path / "out", client).good
    (chunk,) = [path for path in movie.rglob("*") if path.is_file() and "/c/9/" in path.as_posix()]
    chunk.write_bytes(b"not what was written")  # frames 45 to 49; 35 are decoded at once
    for _ in range(2):
        result = batch(plan, tmp_path / "out", client)
        assert not result.good and result.report["recordings"]["m"]["missing_blocks"] == 4  # frames 30 to 69


def test_a_worker_that_may_not_read_is_named(
    bench: Bench, s3: Server, processes: Processes, client: Client, tmp_path: Path
) -> None:
    plan = at(bench, nd=s3.put(bench.movie, f"{BUCKET}/named/nd"))
    child = processes.start_worker(prefix=("env", "-u", "AWS_ACCESS_KEY_ID", "-u", "AWS_SECRET_ACCESS_KEY"))
    try:
        client.wait_for_workers(3, timeout=60)
        with pytest.raises(EngineError, match=r"1 of 3 workers.*\n.*s3://bucket/named/nd.*credentials"):
            batch(plan, tmp_path, client)
    finally:
        processes.kill(child)


def test_what_is_missing_is_one_sentence_with_the_address(s3: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    import s3fs

    def refused(address: str) -> str:
        with pytest.raises(RecordingError) as caught:
            ReplaySource.model_validate({"path": address}).open()
        assert str(caught.value).startswith(f"{address}: ") and "\n" not in str(caught.value)
        return str(caught.value)

    assert "nothing of this name" in refused(f"s3://{BUCKET}/no.zarr")
    assert "nothing of this name" in refused("s3://no-such-bucket/m.zarr")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    s3fs.S3FileSystem.clear_instance_cache()
    assert "credentials" in refused(f"s3://{BUCKET}/m.zarr")
    s3fs.S3FileSystem.clear_instance_cache()


def test_a_movie_of_which_a_chunk_was_not_uploaded_is_not_complete(s3: Server, tmp_path: Path) -> None:
    local = write_zarr(tmp_path / "m.zarr", frames(), chunk=5)
    (chunk,) = [path for path in local.rglob("*") if path.is_file() and "/c/6/" in path.as_posix()]
    chunk.unlink()
    address = s3.put(local, f"{BUCKET}/cut.zarr")
    assert len(Address(address).listed()) == N_FRAMES // 5 + 1  # 11 chunks, two zarr.json
    with pytest.raises(RecordingError, match="of 60 frames those from 30 on"):
        ReplaySource.model_validate({"path": address}).open()
