"""The least time that a frame can take here: its arithmetic over measured matmul, its bytes over measured copying."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rtdecode.cli.doctor import has_bf16
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
    precisions = ("fp32", "bf16") if has_bf16() else ("fp32",)
    products = {precision: _product(precision) for precision in precisions}
    macs = {precision: GEMM_SIDE**3 / _best_s(work, seconds / 3) for precision, work in products.items()}
    block, target = np.zeros(COPY_BYTES, np.uint8), np.ones(COPY_BYTES, np.uint8)
    copied = 2 * COPY_BYTES / _best_s(lambda: np.copyto(target, block), seconds / 3)  # read and written
    return Ceilings(macs, copied)


def best_of(several: list[Ceilings]) -> Ceilings:
    """The highest of each: the machine when its other work pressed least."""
    macs = {name: max(one.macs_per_s[name] for one in several) for name in several[0].macs_per_s}
    return Ceilings(macs, max(one.bytes_per_s for one in several))


def _product(precision: str) -> Callable[[], object]:
    """A square matrix product in OpenVINO, whose kernels run the networks, too; numpy's was slower on Zen 4."""
    from openvino import Core, Model
    from openvino import opset13 as ops

    left = ops.parameter([GEMM_SIDE, GEMM_SIDE], np.float32)
    right = ops.constant(np.random.default_rng(0).normal(size=(GEMM_SIDE, GEMM_SIDE)).astype(np.float32))
    model = Model([ops.matmul(left, right, False, False)], [left])
    hint = {"fp32": "f32", "bf16": "bf16"}[precision]
    request = Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": hint}).create_infer_request()
    return request.infer  # type: ignore[no-any-return]


def floor(bundle: ModelBundle, precision: str, shape: tuple[int, ...], measured: Ceilings) -> Floor:
    """Of one streamed frame of this shape (H, W): every multiplication once; weights, features, frame and maps once."""
    from rtdecode.fit.network import macs_per_pixel

    ceiling = measured.macs_per_s.get(precision)
    macs = sum(macs_per_pixel(bundle.network)) * float(np.prod(shape))
    arithmetic_ms = macs / ceiling * 1e3 if ceiling else None
    return Floor(arithmetic_ms, _bytes(bundle, precision, shape) / measured.bytes_per_s * 1e3)


def _bytes(bundle: ModelBundle, precision: str, shape: tuple[int, ...]) -> float:
    """The graph's file is its weights in float32; activations between layers are taken to stay in the caches."""
    weights = bundle.onnx_path.stat().st_size / 4 * WIDTH_BYTES[precision]
    features = 4 * float(np.prod(bundle.network.feature_shape(*shape)))
    return weights + 4 * features + 4 * 11 * float(np.prod(shape))  # two features in, two out; frame and ten maps


def _best_s(work: Callable[[], object], seconds: float) -> float:
    work()
    best, began = float("inf"), time.perf_counter()
    while time.perf_counter() - began < seconds:
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best
