"""What `rtdecode doctor` finds out; every probe may fail and says so, none needs torch, a GPU or a screen."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from rtdecode.core.extras import install, is_there
from rtdecode.stages.run_record import versions

_SHM = Path("/dev/shm")


def findings() -> Iterator[tuple[str, str]]:
    """(what, words) one after another."""
    probes: dict[str, Callable[[], str]] = {
        "versions": lambda: ", ".join(f"{name} {version}" for name, version in versions().items()),
        "processor": processor,
        "memory": _memory,
        "engine openvino": _openvino,
        "engine onnxruntime": _onnxruntime,
        "engine torch": lambda: _package("torch", "training and the reference engine", "train"),
        "Micro-Manager": _micromanager,
        "viewer": _viewer,
        "GPU": _gpu,
        "engines of a GPU": _gpu_engines,
        "models": _models,
        "disk here": lambda: f"{shutil.disk_usage('.').free / 1e9:.1f} GB free",
        "shared memory": _shared_memory,
    }
    for name, probe in probes.items():
        try:
            yield name, probe()
        except Exception as error:  # a broken installation is what doctor is for
            yield name, f"probe failed: {error!r}"


def processor() -> str:
    """Model, cores that this process may use, instructions that matter, load."""
    from rtdecode.fit.engines import processor_name

    flags, info = "", Path("/proc/cpuinfo")
    if info.exists():
        fields = dict(line.split(":", 1) for line in info.read_text().splitlines() if ":" in line)
        named = {key.strip(): value.strip() for key, value in fields.items()}
        wanted = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
        flags = "; has " + (" ".join(f for f in wanted if f in named.get("flags", "").split()) or "no AVX")
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{processor_name()}, {usable} cores usable{flags}; load {psutil.getloadavg()[0]:.1f}"


def has_bf16() -> bool:
    """Whether OpenVINO finds bf16 arithmetic in this CPU."""
    from openvino import Core

    return "BF16" in Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _memory() -> str:
    memory = psutil.virtual_memory()
    return f"{memory.available / 1e9:.1f} GB available of {memory.total / 1e9:.1f} GB"


def _package(name: str, use: str, extra: str) -> str:
    if not is_there(name):
        return f"not installed ({use}); {install(extra)}"
    return f"installed ({use})"


def _openvino() -> str:
    from openvino import Core, get_version

    able = Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return f"{get_version()}; fp32{' and bf16' if 'BF16' in able else ', no bf16 on this CPU'}"


def _onnxruntime() -> str:
    import onnxruntime

    return f"{onnxruntime.__version__}; {', '.join(onnxruntime.get_available_providers())}"


def _micromanager() -> str:
    if not is_there("pymmcore_plus"):
        return f"pymmcore-plus not installed (cameras and the demo); {install('micromanager')}"
    import pymmcore

    core = pymmcore.CMMCore()
    return f"{core.getVersionInfo()}, {core.getAPIVersionInfo()}"


def _viewer() -> str:
    from rtdecode.view.window import screen_problem

    return screen_problem() or "can open here"


def _gpu() -> str:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return "none found (nvidia-smi is not here); the CPU engines need none"
    query = [tool, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    asked = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
    return asked.stdout.strip().replace("\n", "; ") or f"nvidia-smi says: {asked.stderr.strip()[:200]}"


def _gpu_engines() -> str:
    """Which of them are installed, and what `auto` stands for here; `rtdecode engine check` shows whether they run."""
    from rtdecode.core.config import EngineConfig
    from rtdecode.fit import engines

    installed = "; ".join(f"{use} {engines.version(use) or 'not installed'}" for use in engines.ON_GPU)
    engine, why = engines.chosen(EngineConfig(use="auto"))
    return f"{installed}; `use: auto` is {engine.use} here, {why}"


def _models() -> str:
    from rtdecode.fit.bundle import shipped_bundles

    return ", ".join(sorted(shipped_bundles())) or "none shipped"


def _shared_memory() -> str:
    if not _SHM.is_dir():
        return "no /dev/shm: the ring is a file in the run folder"
    free = shutil.disk_usage(_SHM).free / 1e9
    left = [path for path in _SHM.glob("rtdecode-*.ring") if not _owner_lives(path)]
    words = f"{free:.1f} GB free in {_SHM}"
    return words + (f"; left behind by killed runs, safe to delete: {' '.join(map(str, left))}" if left else "")


def _owner_lives(ring: Path) -> bool:
    number = ring.name.split("-")[1]
    return not number.isdigit() or psutil.pid_exists(int(number))
