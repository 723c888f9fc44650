"""TensorRT and TensorRT-RTX: detection inside the engine, features on the device, one captured graph per length.

Not run on a GPU by this project so far: what a CPU can show is shown by tests/fit/test_engine_tensorrt.py, the rest
by tools/gpu_check.py.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rtdecode.core.errors import EngineError
from rtdecode.fit.bundle import DetectionThresholds, ModelBundle
from rtdecode.fit.cuda_runtime import Cuda
from rtdecode.fit.device import N_ROW, Block, DeviceBlocks, Frames, Inputs, slots_for
from rtdecode.fit.device_graph import device_graph
from rtdecode.fit.tensorrt_cache import PlanCache, PlanKey, architecture_sha256
from rtdecode.fit.tensorrt_library import Library, RoiClass, input_shapes, profile_shapes, roi_class

PRECISIONS = ("fp32", "fp16", "bf16", "int8")


@dataclass(frozen=True, slots=True)
class _Buffers:
    """Device addresses by tensor, features twice for ping-pong; host arrays are pinned."""

    fixed: dict[str, int]  # frames_adu, baseline_adu, e_per_adu, inside, rows, candidates
    features: tuple[int, int]
    feature_bytes: int  # of both frames
    scratch: int  # shared by all contexts: they run one after another
    scratch_bytes: int
    frames: Any
    rows: Any
    candidates: Any


class TensorRtEngine(DeviceBlocks):
    """DeviceEngine for a bundle. `use`: tensorrt or tensorrt_rtx; `refit`: one engine for all models of a layout."""

    def __init__(
        self,
        bundle: ModelBundle,
        precision: str = "bf16",
        use: str = "tensorrt",
        frame_dtype: str = "uint16",
        detection: DetectionThresholds | None = None,
        refit: bool = False,
        cache: Path | None = None,
        quantized: Path | None = None,
    ) -> None:
        """Opens the library and the GPU; raises EngineError where one is missing, before any runtime is touched."""
        self.name, self.precision = use, precision
        super().__init__(bundle.network, frame_dtype)
        if precision not in PRECISIONS:
            raise EngineError(f"{use}: precision {precision!r} is not one of {', '.join(PRECISIONS)}")
        self._bundle, self._refit, self._detection = bundle, refit, detection or bundle.detection
        self._library, self._cache = Library(use), PlanCache(cache)
        self._cuda, self._quantized = Cuda(), quantized
        self._slot, self._graphs, self._contexts = 0, dict[tuple[int, int], Any](), list[Any]()

    def _prepare(self, camera: Inputs) -> None:
        height, width = camera.inside.shape
        self._side, self._roi = (height, width), roi_class(height, width)
        self.largest_block = self._roi.block
        self._graphs.clear()
        self._contexts.clear()
        self._cuda.release()
        self._engine = self._load()
        self._copied = slots_for(height, width // self._roi.groups, self._roi.slots)
        self._buffers = self._allocate()
        self._fill(camera)
        self._slot = 0

    def _load(self) -> Any:
        """The engine of this class of frames, from the cache if it can; a plan that is refused is built once more."""
        onnx_bytes = plan_graph(self._bundle, self.precision, self._roi, self._detection, self._raw, self._quantized)
        key = self._key(onnx_bytes)
        runtime = self._library.trt.Runtime(self._library.logger)
        for _ in range(2):
            plan = self._cache.plan(key, lambda timing: self._build(onnx_bytes, timing))
            engine = runtime.deserialize_cuda_engine(plan)
            if engine is not None:
                self._runtime = runtime  # must outlive its engines
                if self._refit:
                    self._library.refit(engine, onnx_bytes)
                return engine
            self._cache.discard(key)
        raise EngineError(
            f"{self.name} {self._library.version} cannot load the engine that it built for {self._cuda.gpu.name}"
        )

    def _build(self, onnx_bytes: bytes, timing: bytes) -> tuple[bytes, bytes]:
        shapes = profile_shapes(self.layout, self._roi, self._raw)
        return self._library.build(onnx_bytes, shapes, self.precision, self._refit, timing)

    def _key(self, onnx_bytes: bytes) -> PlanKey:
        gpu = self._cuda.gpu
        graph = architecture_sha256(onnx_bytes) if self._refit else hashlib.sha256(onnx_bytes).hexdigest()
        library = (self._library.use, self._library.version)
        device = (gpu.name, gpu.compute_capability, gpu.driver)
        return PlanKey(graph, *library, *device, self.precision, f"{self._roi} {self._raw}", self._refit)

    @property
    def _raw(self) -> bool:
        return self.frame_dtype == np.uint16

    def _allocate(self) -> _Buffers:
        cuda, block, groups = self._cuda, self.largest_block, self._roi.groups
        shapes = input_shapes(self.layout, block, *self._side, self._raw)
        size = {
            name: int(np.prod(shape)) * (1 if name == "frames_adu" and self._raw else 4)
            for name, shape in shapes.items()
        }
        feature_bytes = size.pop("features")
        size |= {"rows": block * groups * self._roi.slots * N_ROW * 4, "candidates": block * groups * 4}
        scratch = int(getattr(self._engine, "device_memory_size_v2", 0) or self._engine.device_memory_size)
        return _Buffers(
            fixed={name: cuda.device_bytes(n) for name, n in size.items()},
            features=(cuda.device_bytes(feature_bytes), cuda.device_bytes(feature_bytes)),
            feature_bytes=feature_bytes,
            scratch=cuda.device_bytes(scratch),
            scratch_bytes=scratch,
            frames=cuda.pinned((block, *self._side), self.frame_dtype),
            rows=cuda.pinned((block, groups, self._copied, N_ROW), np.float32),
            candidates=cuda.pinned((block, groups), np.int32),
        )

    def _fill(self, camera: Inputs) -> None:
        baseline, gain = camera.as_graph_camera(self._bundle.camera)
        planes = {"baseline_adu": baseline, "e_per_adu": gain, "inside": camera.inside}
        for name, plane in planes.items():
            self._cuda.upload(self._buffers.fixed[name], plane)
        self._cuda.wait()

    def _forget(self) -> None:
        for address in self._buffers.features:
            self._cuda.zero(address, self._buffers.feature_bytes)
        self._cuda.wait()

    def _repeat(self) -> None:
        here, half = self._buffers.features[self._slot], self._buffers.feature_bytes // 2
        self._cuda.copy(here, here + half, half)
        self._cuda.wait()

    def _run(self, padded_adu: Frames) -> Block:
        n, buffers = len(padded_adu), self._buffers
        buffers.frames[:n] = padded_adu
        if (n, self._slot) not in self._graphs:
            self._graphs[n, self._slot] = self._captured(n)
        self._cuda.launch(self._graphs[n, self._slot])
        self._cuda.wait()
        self._slot = 1 - self._slot
        return Block(buffers.rows[:n].copy(), buffers.candidates[:n].copy())

    def _captured(self, n: int) -> Any:
        """A graph of upload, engine and download for n frames out of the present feature buffer into the other.

        One context for each: a context's captured graph is of one shape and one set of addresses. It runs once
        uncaptured, since TensorRT allocates late; that leaves what the first launch reads as it was.
        """
        context = self._context(n)
        buffers, groups = self._buffers, self._roi.groups
        rows = buffers.rows[:n].reshape(n * groups, self._copied, N_ROW)

        def work() -> None:
            self._cuda.upload(buffers.fixed["frames_adu"], buffers.frames[:n])
            if not context.execute_async_v3(int(self._cuda.stream)):
                raise EngineError(f"{self.name}: the engine refused to run {n} frames of {self._side}")
            self._cuda.download_rows(rows, buffers.fixed["rows"], self._roi.slots * N_ROW * 4)
            self._cuda.download_rows(buffers.candidates[:n], buffers.fixed["candidates"], groups * 4)

        work()
        self._cuda.wait()
        return self._cuda.capture(work)

    def _context(self, n: int) -> Any:
        strategy = self._library.trt.ExecutionContextAllocationStrategy.USER_MANAGED
        context = self._engine.create_execution_context(strategy)
        if context is None:
            raise EngineError(f"{self.name}: no execution context for {n} frames of {self._side}: out of memory?")
        self._contexts.append(context)
        self._set_memory(context)
        for name, shape in input_shapes(self.layout, n, *self._side, self._raw).items():
            self._accepted(context.set_input_shape(name, shape), name, shape)
        here, there = self._buffers.features[self._slot], self._buffers.features[1 - self._slot]
        addresses = {**self._buffers.fixed, "features": here, "new_features": there}
        for name, address in addresses.items():
            self._accepted(context.set_tensor_address(name, address), name, address)
        return context

    def _set_memory(self, context: Any) -> None:
        if hasattr(context, "set_device_memory"):
            context.set_device_memory(self._buffers.scratch, self._buffers.scratch_bytes)
        else:
            context.device_memory = self._buffers.scratch

    def _accepted(self, ok: bool, name: str, value: object) -> None:
        if not ok:
            raise EngineError(f"{self.name}: its engine refuses {name} = {value}")


def plan_graph(
    bundle: ModelBundle,
    precision: str,
    roi: RoiClass,
    detection: DetectionThresholds,
    raw_uint16: bool,
    quantized: Path | None = None,
) -> bytes:
    """The ONNX that an engine of a class of frames is built from; `quantized` as in device_graph."""
    graph = device_graph(bundle, precision, roi.slots, roi.groups, detection, raw_uint16, quantized=quantized)
    return graph.SerializeToString(deterministic=True)  # type: ignore[no-any-return]
