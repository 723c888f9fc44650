"""The Dask cluster a batch runs on: one that is there already, or processes of this machine."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rtdecode.core.errors import ConfigError, EngineError
from rtdecode.core.extras import install
from rtdecode.stages.run_record import RunRecord

CONNECT_S = 30.0


@contextmanager
def client_of(scheduler: str | None, workers: int, resources: dict[str, float] | None = None) -> Iterator[Any]:
    """A connected `distributed.Client`. Local workers share this machine's cores. Raises ConfigError."""
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise ConfigError(f"a batch needs dask.distributed, which is not installed; {install('cluster')}") from error
    if scheduler is not None:
        with _connected(Client, scheduler) as client:
            yield client
        return
    threads = max(1, usable_cores() // workers)
    options = {
        "processes": True,
        "resources": resources or None,
        "dashboard_address": None,
        "host": "127.0.0.1",
    }  # loopback, no web page unasked
    with (
        LocalCluster(n_workers=workers, threads_per_worker=threads, **options) as cluster,
        Client(cluster, timeout=CONNECT_S) as client,
    ):
        client.run(_deaf_to_ctrl_c)
        yield client


def _deaf_to_ctrl_c() -> None:
    """Ctrl-C reaches every process of a terminal; the client alone says what becomes of it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _connected(client: Any, scheduler: str) -> Any:
    try:
        return client(scheduler, timeout=CONNECT_S)
    except ValueError as error:
        raise ConfigError(
            f"--scheduler {scheduler}: {error}; expected an address such as tcp://login01:8786"
        ) from error
    except OSError as error:
        raise ConfigError(
            f"--scheduler {scheduler}: nothing answers there within {CONNECT_S:.0f} s ({error}); start one with "
            "`dask scheduler`, and workers with `dask worker ADDRESS --nthreads N --nworkers M`"
        ) from error


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_workers(client: Any, record_json: str) -> dict[str, str]:
    """(address -> processor) of every worker, each with the engine and the model; EngineError names those without.

    Raises ConfigError where there is no worker.
    """
    from rtdecode.batch.work import check_worker

    answers = client.run(check_worker, record_json, on_error="return")
    if not answers:
        raise ConfigError("the cluster has no worker; start one with `dask worker ADDRESS`")
    need = resources_of(RunRecord.model_validate_json(record_json).engine.use)
    offered = [about.get("resources") or {} for about in client.scheduler_info(n_workers=-1)["workers"].values()]
    for name, amount in need.items():
        if not any(one.get(name, 0) >= amount for one in offered):
            raise ConfigError(f"no worker offers a {name}; start them with `dask worker … --resources {name}=1`")
    bad = {address: answer for address, answer in answers.items() if isinstance(answer, BaseException)}
    if bad:
        lines = "\n".join(f"  {address}: {answer}" for address, answer in sorted(bad.items()))
        raise EngineError(f"{len(bad)} of {len(answers)} workers cannot fit this:\n{lines}")
    return {str(address): str(answer) for address, answer in answers.items()}


def resources_of(engine: str) -> dict[str, float]:
    """What a block asks of a worker: of a GPU's engine one GPU (`dask worker --resources GPU=1`)."""
    from rtdecode.fit.engines import ON_GPU

    return {"GPU": 1.0} if engine in ON_GPU else {}


def reconnected(scheduler: str, tell: Callable[[str], None], patience_s: float = 600.0) -> Any:
    """A client of a scheduler that comes back, with a worker at least. Raises ConfigError after `patience_s`."""
    from distributed import Client

    tell(f"waiting for {scheduler} to come back, {patience_s:.0f} s at most")
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        try:
            client = Client(scheduler, timeout=5)
            client.wait_for_workers(1, timeout=max(1.0, deadline - time.monotonic()))
            return client
        except (OSError, TimeoutError):
            time.sleep(1.0)
    raise ConfigError(f"--scheduler {scheduler}: did not come back within {patience_s:.0f} s; run the batch again")
