"""What a cluster does to a batch: workers killed, slow, without the engine, elsewhere; a scheduler restarted."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from batch_bench import Bench
from clusters import SLOW, WITHOUT_OPENVINO, Processes, workers_of
from distributed import Client

from rtdecode.batch.cluster import reconnected
from rtdecode.batch.plan import BatchPlan
from rtdecode.batch.run import Progress, Result, prepare, run_batch
from rtdecode.core.errors import EngineError


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    (tmp_path / "cluster").mkdir()
    with Processes(tmp_path / "cluster") as running:
        yield running


def fit(plan: BatchPlan, out: Path, client: Client, **more: Any) -> Result:
    return run_batch(plan, prepare(plan, out / "plan.yaml", out), out, client, **more)


def once(after: int, do: Callable[[], None]) -> Callable[[Progress], None]:
    """Do it when so many blocks are done, one time."""
    left = [do]

    def look(progress: Progress) -> None:
        if progress.done >= after and left:
            left.pop()()

    return look


def test_a_worker_that_is_killed_costs_nothing_but_time(bench: Bench, processes: Processes, tmp_path: Path) -> None:
    doomed = processes.start_worker(preload=SLOW)  # slow, so that it holds a block when it dies
    processes.start_worker()
    with processes.client(2) as client:
        look = once(3, lambda: processes.kill(doomed))
        result = fit(bench.plan(block_frames=3), tmp_path, client, on_progress=look)
        assert len(workers_of(client)) == 1
    assert result.good and bench.same_as_replay(tmp_path / "movie")


def test_a_worker_ten_times_slower_gets_less_to_do(bench: Bench, processes: Processes, tmp_path: Path) -> None:
    processes.start_worker("--name", "slow", preload=SLOW)
    processes.start_worker("--name", "fast")
    with processes.client(2) as client:
        result = fit(bench.plan(block_frames=4), tmp_path, client)
        names = {who: str(about["name"]) for who, about in client.scheduler_info(n_workers=-1)["workers"].items()}
    blocks = {names[who]: figures["blocks"] for who, figures in result.report["workers"].items()}
    assert result.good and bench.same_as_replay(tmp_path / "movie")
    assert blocks["fast"] > blocks.get("slow", 0) and sum(blocks.values()) == 15


def test_a_worker_without_the_engine_is_named_and_nothing_begins(
    bench: Bench, processes: Processes, tmp_path: Path
) -> None:
    processes.start_worker()
    processes.start_worker(preload=WITHOUT_OPENVINO)
    with (
        processes.client(2) as client,
        pytest.raises(EngineError, match=r"1 of 2 workers cannot fit this:\n  tcp://127\.0\.0\.1:\d+: .*openvino"),
    ):
        fit(bench.plan(), tmp_path, client)
    assert not list(tmp_path.rglob("*.npz")) and not (tmp_path / "movie").exists()


def test_a_scheduler_that_comes_back_is_used_again(bench: Bench, processes: Processes, tmp_path: Path) -> None:
    processes.start_worker(preload=SLOW)

    def restart() -> None:
        processes.kill(processes.scheduler)
        processes.start_scheduler()
        processes.start_worker()

    said: list[str] = []
    with processes.client(1) as client:
        result = fit(
            bench.plan(block_frames=10), tmp_path, client, tell=said.append,
            on_progress=once(2, restart), reconnect=lambda: reconnected(processes.address, said.append, 60),
        )  # fmt: skip
    assert result.good and bench.same_as_replay(tmp_path / "movie")
    assert any("the scheduler was lost" in words for words in said)


def may_make_namespaces() -> bool:
    if sys.platform != "linux" or shutil.which("ip") is None:
        return False
    made = subprocess.run(["ip", "netns", "add", "rtd-probe"], capture_output=True, check=False)
    if made.returncode == 0:
        subprocess.run(["ip", "netns", "del", "rtd-probe"], check=False)
    return made.returncode == 0


@pytest.fixture
def host() -> Iterator[tuple[list[str], str]]:
    """Another host, as far as the network goes: (how a command is run there, our address as it sees it)."""
    if not may_make_namespaces():
        pytest.skip("this machine does not allow network namespaces")
    name, outer, inner = "rtd-far", "rtd-v0", "rtd-v1"
    there = ["ip", "netns", "exec", name]
    steps = [
        ["ip", "netns", "add", name],
        ["ip", "link", "add", outer, "type", "veth", "peer", "name", inner, "netns", name],
        ["ip", "addr", "add", "10.211.7.1/24", "dev", outer],
        ["ip", "link", "set", outer, "up"],
        [*there, "ip", "addr", "add", "10.211.7.2/24", "dev", inner],
        [*there, "ip", "link", "set", inner, "up"],
        [*there, "ip", "link", "set", "lo", "up"],
    ]
    try:
        for step in steps:
            done = subprocess.run(step, capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.skip(f"this machine allows no virtual network: {done.stderr.strip()}")
        yield there, "10.211.7.1"
    finally:
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
        subprocess.run(["ip", "link", "del", outer], capture_output=True, check=False)


def test_workers_on_another_host(bench: Bench, host: tuple[list[str], str], tmp_path: Path) -> None:
    there, address = host
    (tmp_path / "cluster").mkdir()
    with Processes(tmp_path / "cluster", address) as processes:
        for _ in range(2):
            processes.start_worker(prefix=there)
        with processes.client(2) as client:
            assert all("10.211.7.2" in who for who in workers_of(client))
            result = fit(bench.plan(), tmp_path, client)
    assert result.good and bench.same_as_replay(tmp_path / "movie")
