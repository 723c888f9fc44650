"""tools/gpu_check.py, rehearsed: every path that a CPU can reach runs, and the rest says that it was not measured."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from rtdecode.core.extras import is_there  # noqa: E402
from rtdecode.fit.bundle import ModelBundle  # noqa: E402


@pytest.fixture(scope="module")
def gpu_check() -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("gpu_check", Path(__file__).parents[2] / "tools" / "gpu_check.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    __import__("sys").modules["gpu_check"] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


def test_rehearsal(gpu_check: ModuleType, tiny_bundle: ModelBundle, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    low = tiny_bundle.detection.model_copy(update={"peak": 0.3, "accept": 0.5})
    bundle = replace(tiny_bundle, card=tiny_bundle.card.model_copy(update={"detection": low}))
    plan = replace(gpu_check.REHEARSAL, seconds=0.001, matrix=64)
    rows = list(gpu_check.check(plan, {"tiny": bundle}, tmp_path))
    json.dumps(rows)
    assert not [row for row in rows if "failed" in row]
    told = {row["what"] for row in rows if "what" in row}
    assert {"machine", "ceilings", "eager DECODE", "speed", "latency", "start", "admission gate"} <= told
    (exact,) = (r for r in rows if str(r.get("what")).startswith("agreement") and r["precision"] == "fp32")
    assert exact["localizations"] > 10 and exact["lost"] == 0 and exact["same_share"] == 1.0
    assert exact["x_rms_nm"] < 0.1
    absent = [row for row in rows if str(row.get("engine")).startswith("tensorrt") and "result" in row]
    if not torch.cuda.is_available():
        assert len(absent) >= 4 and all(row["result"].startswith("not measured: ") for row in absent)
    if is_there("tensorrt_rtx_bindings"):
        assert [row["plan_bytes"] > 100_000 for row in rows if row.get("what") == "build"] == [True, True]


def test_a_wrong_engine_fails_the_check(
    gpu_check: ModuleType, tiny_bundle: ModelBundle, full_bundle: ModelBundle
) -> None:
    """Another model's weights behind this bundle's name."""
    from rtdecode.fit.engine_torch_cuda import TorchCudaEngine

    plan, ceiling = replace(gpu_check.REHEARSAL, seconds=0.001, tiles=()), {}
    wrong = TorchCudaEngine(full_bundle, "fp32", device="cpu")
    rows = gpu_check.engine_rows(plan, tiny_bundle, lambda: wrong, "fp32", ceiling)
    assert next(rows)["failed"]
