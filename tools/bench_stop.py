"""How long from a policy's decision to a camera that stands still, in whole runs with all their processes.

    python tools/bench_stop.py               # 10 runs each: a simulated camera in a real core, the stand-in server
    python tools/bench_stop.py --runs 30

Each run stops at its hundredth frame (plugins/frame_count.py, `control: act`); the figure is the run's own, from its
report. It holds the way through the door, the session's arbiter, acquire, and the camera.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "sources")]

from bridges import Bridge  # noqa: E402

from rtdecode import session  # noqa: E402
from rtdecode.core.config import RunConfig  # noqa: E402

STOP = {"use": f"{ROOT / 'plugins' / 'frame_count.py'}:FrameCount", "frames": 100}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10, help="of each kind")
    given = parser.parse_args()
    scene = {"density_um2": 0.5}
    told("mmcore, simulated camera", {"use": "mmcore", "exposure_ms": 10, "simulated": scene}, given.runs)
    with Bridge("counting", period_ms=5.0) as bridge:
        told("micromanager, stand-in", {"use": "micromanager", "port": bridge.port, "exposure_ms": 5.0}, given.runs)


def told(name: str, source: dict[str, Any], runs: int) -> None:
    times_ms = [stop_ms(source) for _ in range(runs)]
    print(f"{name:26} {median(times_ms):5.1f} ms median, {max(times_ms):5.1f} ms at most, {runs} runs", flush=True)


def stop_ms(source: dict[str, Any]) -> float:
    with tempfile.TemporaryDirectory(prefix="rtdecode-bench-") as folder:
        fields = {"source": source | {"frames": 100_000}, "model": "astigmatic-light", "out": f"{folder}/run"}
        fields |= {"policies": [STOP], "control": {"mode": "act"}, "check": False}
        result = session.run(RunConfig.model_validate(fields))
        assert result.outcome.finish == "stopped", result.outcome.reason
        return float(result.report["stop"]["decision_to_camera_ms"])


if __name__ == "__main__":
    main()
