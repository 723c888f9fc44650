"""The model of a facility against what is known in closed form: bounds, single stations, a queue at its knee."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rtdecode.core.errors import ConfigError
from rtdecode.core.yaml_files import load_yaml

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
from facility_model import Demands, Facility, at, simulate, workers_for

ROOT = Path(__file__).parents[2]
NOTHING = {"storage": 0.0, "network": 0.0, "link": 0.0}


@pytest.fixture(scope="module")
def facility() -> Facility:
    return load_yaml(ROOT / "configs/facility.yaml", Facility)


def test_one_worker_that_nobody_delays_takes_the_sum_of_its_steps() -> None:
    demands = Demands(0.1, 0.2, {"storage": 1.0, "network": 3.0, "link": 2.0}, 10.0, dict.fromkeys(NOTHING, 0.5), 1e6)
    found = simulate(demands, 1)
    assert found.blocks_s == pytest.approx(1 / (0.1 + 3.0 + 10.0 + 0.5 + 0.2), rel=1e-9)
    assert found.blocks_s == pytest.approx(demands.limit_blocks_s(1), rel=1e-9)


@pytest.mark.parametrize(
    ("changed", "busiest"),
    [
        ({"storage_mb_s": 200.0}, "storage"),
        ({"network_mb_s": 100.0}, "network"),
        ({"scheduler_s": 2.0}, "scheduler"),
        ({"client_s": 3.0}, "client"),
        (
            {"storage_mb_s": 1e6, "network_mb_s": 1e6, "link_mb_s": 1e6, "client_s": 1e-6, "scheduler_s": 1e-6},
            "workers",
        ),
    ],
)
def test_throughput_is_that_of_what_saturates(facility: Facility, changed: dict[str, float], busiest: str) -> None:
    found = at(facility.with_values(changed), 300)
    assert found.busiest == busiest and found.busy[busiest] == pytest.approx(1.0, abs=0.01)
    assert found.blocks_s == pytest.approx(found.demands.limit_blocks_s(300), rel=0.01)


def test_storage_bound_bytes_are_the_storage_s() -> None:
    """Counted apart from the model's own demands: 502 frames read and the localizations of 500 written."""
    facility = load_yaml(ROOT / "configs/facility.yaml", Facility).with_values({"storage_mb_s": 150.0})
    mb = (502 * 512 * 512 * 2 + 500 * 512 * 512 * 0.005 * 48) / 1e6
    assert at(facility, 200).px_s == pytest.approx(150.0 / mb * 500 * 512 * 512, rel=0.01)


def test_a_machine_s_own_link_limits_its_workers_only(facility: Facility) -> None:
    narrow = facility.with_values({"link_mb_s": 20.0, "storage_mb_s": 1e6, "network_mb_s": 1e6})
    demands = Demands.of(narrow)
    each = 1 / (demands.reading["link"] + demands.writing["link"])
    assert at(narrow, 64).blocks_s == pytest.approx(4 * each, rel=0.01)  # four machines of 16


@pytest.mark.parametrize("workers", [8, 11, 14])
def test_queue_at_its_knee_is_the_machine_repairman_s(workers: int) -> None:
    """Finite source, one server, exponential service D, working time Z of any kind: X = (1 - p0) / D (Palm 1947)."""
    rng, d, z = np.random.default_rng(3), 1.0, 10.0
    demands = Demands(0.0, 0.0, NOTHING | {"storage": d}, z, NOTHING, 1.0)
    found = simulate(
        demands, workers, draw=rng.standard_exponential, worker_draw=lambda: rng.uniform(0, 2), rounds=4000
    )
    p0 = 1 / sum(math.perm(workers, k) * (d / z) ** k for k in range(workers + 1))
    assert found.blocks_s == pytest.approx((1 - p0) / d, rel=0.015)
    assert found.blocks_s < 0.97 * demands.limit_blocks_s(workers)  # where the bounds alone would be wrong


def test_the_fewest_workers_are_enough_and_one_less_is_not(facility: Facility) -> None:
    wanted = 20 * at(facility, 1).px_s
    found = workers_for(facility, wanted)
    assert found is not None and 20 <= found <= 22
    assert at(facility, found).px_s >= wanted > at(facility, found - 1).px_s
    assert workers_for(facility, 1e12, most=50) is None


def test_the_tool_prints_its_tables_and_refuses_unknown_inputs(facility: Facility) -> None:
    command = [sys.executable, str(ROOT / "tools/facility_model.py"), str(ROOT / "configs/facility.yaml")]
    done = subprocess.run([*command, "--set", "scheduler_s=0.5"], capture_output=True, text=True, check=True)
    assert (
        "**scheduler**" in done.stdout
        and "| 1,000 |" in done.stdout
        and "| `scheduler_s` | 0.5 | --set |" in done.stdout
    )
    refused = subprocess.run([*command, "--set", "disk=1"], capture_output=True, text=True, check=False)
    assert refused.returncode == 2 and "--set disk: there is no such input; known: frame_px" in refused.stderr
    with pytest.raises(ConfigError, match="no such input"):
        facility.with_values({"disk": 1.0})
