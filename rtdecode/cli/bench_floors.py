"""The least time that a frame can take here: its arithmetic over measured matmul, its bytes over measured copying."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rtdecode.fit.bundle import ModelBundle

GEMM_SIDE = 1024
COPY_BYTES = 64 << 20  # well beyond the caches
WIDTH_BYTES = {"fp32": 4, "bf16": 2, "int8": 1}


@dataclass(frozen=True, slots=True)
class Ceilings:
    """What this machine did just now: multiply-accumulates a second by precision, bytes a second of a copy."""

    macs_per_s: dict[str, float]
    bytes_per_s: float


@dataclass(frozen=True, slots=True)
class Floor:
    """ms of one frame, were the machine busy with nothing else; `arithmetic_ms` None: no ceiling was measured."""

    arithmetic_ms: float | None
    bytes_ms: float


def ceilings(seconds: float) -> Ceilings:
    """Best of repeated runs over about `seconds`; bf16 is left out where the CPU has no such arithmetic."""
    import torch

    types = {"fp32": torch.float32} | ({"bf16": torch.bfloat16} if _has_bf16() else {})
    macs: dict[str, float] = {}
    for precision, dtype in types.items():
        a, b = (torch.randn(GEMM_SIDE, GEMM_SIDE).to(dtype) for _ in range(2))
        macs[precision] = GEMM_SIDE**3 / _best_s(lambda a=a, b=b: a @ b, seconds / 3)  # type: ignore[misc]
    block, target = np.zeros(COPY_BYTES, np.uint8), np.ones(COPY_BYTES, np.uint8)
    copied = 2 * COPY_BYTES / _best_s(lambda: np.copyto(target, block), seconds / 3)  # read and written
    return Ceilings(macs, copied)


def floor(bundle: ModelBundle, precision: str, size: int, measured: Ceilings) -> Floor:
    """Of one streamed frame of size x size px: every multiplication once; weights, features, frame and maps once."""
    from rtdecode.fit.network import macs_per_pixel

    ceiling = measured.macs_per_s.get(precision)
    macs = sum(macs_per_pixel(bundle.network)) * size**2
    arithmetic_ms = macs / ceiling * 1e3 if ceiling else None
    return Floor(arithmetic_ms, _bytes(bundle, precision, size) / measured.bytes_per_s * 1e3)


def _bytes(bundle: ModelBundle, precision: str, size: int) -> float:
    """The graph's file is its weights in float32; activations between layers are taken to stay in the caches."""
    weights = bundle.onnx_path.stat().st_size / 4 * WIDTH_BYTES[precision]
    features = 4 * float(np.prod(bundle.network.feature_shape(size, size)))
    return weights + 4 * features + 4 * 11 * size**2  # two features in, two out; frame and ten maps


def _best_s(work: Callable[[], object], seconds: float) -> float:
    work()
    best, began = float("inf"), time.perf_counter()
    while time.perf_counter() - began < seconds:
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best


def _has_bf16() -> bool:
    from openvino import Core

    return "BF16" in Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
