"""Script: pycromanager's Acquisition with its Python engine and Micro-Manager's DemoCamera, saved as NDTiff.

Arguments: folder, name, frames. Prints "ready" when the engine is up and then waits for a line on stdin.
"""

from __future__ import annotations

import sys
from pathlib import Path


def main(folder: str, name: str, frames: int) -> None:
    """Acquire, save, end."""
    import mm_test_adapters
    from pycromanager import Acquisition, Core, start_headless, stop_headless

    adapters = Path(mm_test_adapters.device_adapter_path())
    start_headless(
        str(adapters), config_file=str(adapters / "MMConfig_demo.cfg"), python_backend=True, buffer_size_mb=64
    )
    core = Core()
    core.set_roi(10, 20, 64, 48)
    core.set_exposure(5)
    print("ready", flush=True)
    sys.stdin.readline()
    with Acquisition(directory=folder, name=name) as acquisition:
        acquisition.acquire([{"axes": {"time": k}, "min_start_time": 0} for k in range(frames)])
    stop_headless()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
