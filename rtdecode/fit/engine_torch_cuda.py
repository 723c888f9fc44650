"""torch on a GPU: bf16 weights in channels-last, network and detection in one captured graph, features on the device.

The same code runs on "cpu" without capture, which is how it is tested where there is no GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rtdecode.core.errors import EngineError
from rtdecode.core.extras import install
from rtdecode.fit.bundle import DetectionThresholds, ModelBundle
from rtdecode.fit.device import N_ROW, Block, DeviceBlocks, Frames, Inputs, slots_for

if TYPE_CHECKING:
    from torch import Tensor

    from rtdecode.fit.device_network import DeviceNetwork

PRECISIONS = ("fp32", "bf16", "fp16")
LARGEST_BLOCK_PX = 32 * 256 * 256
"""Pixels of the largest block: at 48 features some 5 GB of activations in bf16."""


@dataclass(slots=True)
class _Static:
    """Tensors of fixed addresses; what is captured reads and writes these and nothing else."""

    frames: Tensor  # on the device, (B, 1, H, W) uint16 bits as int16, or float32
    host_frames: Tensor  # pinned
    host_rows: Tensor  # pinned, (B, 1, K, 12)
    host_candidates: Tensor
    features: tuple[Tensor, Tensor]  # (2, C, h, w) fp32-safe copies in the network's type
    camera: tuple[Tensor, Tensor, Tensor]  # baseline_adu, e_per_adu, inside: (1, 1, H, W)


class TorchCudaEngine(DeviceBlocks):
    """DeviceEngine over the bundle's weights (not its graph).

    `capture`: replay CUDA graphs, one for each block length and feature buffer; None: where the device is CUDA.
    """

    name = "torch-cuda"

    def __init__(
        self,
        bundle: ModelBundle,
        precision: str = "bf16",
        frame_dtype: str = "uint16",
        detection: DetectionThresholds | None = None,
        device: str = "cuda",
        capture: bool | None = None,
        largest_block: int = 64,
        slots: int | None = None,
    ) -> None:
        """`slots` for each frame's candidates; None: a sixteenth of its pixels, at least 64.

        Raises EngineError: no torch, no such device, unknown precision.
        """
        super().__init__(bundle.network, frame_dtype)
        if precision not in PRECISIONS:
            raise EngineError(f"torch-cuda: precision {precision!r} is not one of {', '.join(PRECISIONS)}")
        self.precision, self._most, self._slots = precision, largest_block, slots
        self._torch = _open(device)
        self._device, self._on_gpu = self._torch.device(device), device.startswith("cuda")
        self._capture = self._on_gpu if capture is None else capture
        if self._capture and not self._on_gpu:
            raise EngineError(f"torch-cuda: graphs are captured on CUDA only, the device is {device}")
        self._bundle, self._detection = bundle, detection or bundle.detection
        self._graphs = dict[tuple[int, int], Any]()
        self._slot = 0

    def _prepare(self, camera: Inputs) -> None:
        height, width = camera.inside.shape
        self.largest_block = max(1, min(self._most, LARGEST_BLOCK_PX // (height * width)))
        slots = self._slots or slots_for(height, width, height * width)
        self._graphs.clear()
        self._network = self._built(slots)
        self._static = self._allocate(camera, slots)
        self._slot = 0

    def _built(self, slots: int) -> DeviceNetwork:
        from rtdecode.fit.device_network import device_network

        if self._on_gpu:  # fp32 must mean fp32; fixed shapes make trying worth its time
            self._torch.backends.cudnn.allow_tf32 = self._torch.backends.cuda.matmul.allow_tf32 = False
            self._torch.backends.cudnn.benchmark = True
        kind = {"fp32": self._torch.float32, "bf16": self._torch.bfloat16, "fp16": self._torch.float16}
        return device_network(self._bundle, self._detection, slots, kind[self.precision], self._device)

    def _allocate(self, camera: Inputs, slots: int) -> _Static:
        torch, block, (height, width) = self._torch, self.largest_block, camera.inside.shape
        kind = torch.int16 if self.frame_dtype == np.uint16 else torch.float32  # torch's uint16 computes nothing
        planes = (*camera.as_graph_camera(self._bundle.camera), camera.inside)
        features = (2, *self.layout.feature_shape(height, width))
        low = self._network.kind

        def host(*shape: int, dtype: Any) -> Tensor:
            made: Tensor = torch.zeros(shape, dtype=dtype, pin_memory=self._on_gpu)
            return made

        def feature_buffer() -> Tensor:
            made: Tensor = torch.zeros(features, dtype=low, device=self._device)
            return made.contiguous(memory_format=torch.channels_last)

        return _Static(
            frames=torch.zeros((block, 1, height, width), dtype=kind, device=self._device),
            host_frames=host(block, 1, height, width, dtype=kind),
            host_rows=host(block, 1, slots, N_ROW, dtype=torch.float32),
            host_candidates=host(block, 1, dtype=torch.int32),
            features=(feature_buffer(), feature_buffer()),
            camera=tuple(torch.tensor(plane[None, None]).to(self._device) for plane in planes),
        )

    def _forget(self) -> None:
        for buffer in self._static.features:
            buffer.zero_()

    def _repeat(self) -> None:
        buffer = self._static.features[self._slot]
        buffer[0].copy_(buffer[1])

    def _run(self, padded_adu: Frames) -> Block:
        n, static = len(padded_adu), self._static
        np.copyto(static.host_frames.numpy()[:n, 0], padded_adu.view(np.int16) if self._raw else padded_adu)
        with self._torch.inference_mode():
            self._step(n)()
        if self._on_gpu:
            self._torch.cuda.synchronize(self._device)
        self._slot = 1 - self._slot
        return Block(static.host_rows[:n].numpy().copy(), static.host_candidates[:n].numpy().copy())

    @property
    def _raw(self) -> bool:
        return self.frame_dtype == np.uint16

    def _step(self, n: int) -> Callable[[], Any]:
        """What runs a block of n frames out of the present feature buffer: the work itself, or its replay."""
        here = self._slot

        def work() -> None:
            self._work(n, here)

        if not self._capture:
            return work
        if (n, here) not in self._graphs:
            self._graphs[n, here] = self._captured(work)
        return self._graphs[n, here].replay  # type: ignore[no-any-return]

    def _work(self, n: int, here: int) -> None:
        """Upload, network, detection, download; reads and writes only static tensors."""
        static = self._static
        static.frames[:n].copy_(static.host_frames[:n], non_blocking=True)
        rows, candidates, features = self._network(static.frames[:n], static.features[here], *static.camera)
        static.features[1 - here].copy_(features)
        static.host_rows[:n].copy_(rows, non_blocking=True)
        static.host_candidates[:n].copy_(candidates, non_blocking=True)

    def _captured(self, work: Callable[[], None]) -> Any:
        """Three runs on a side stream first: cuDNN chooses and allocates in them. They leave what is read as it was."""
        cuda = self._torch.cuda
        side = cuda.Stream(self._device)
        side.wait_stream(cuda.current_stream(self._device))
        with cuda.stream(side):
            for _ in range(3):
                work()
        cuda.current_stream(self._device).wait_stream(side)
        cuda.synchronize(self._device)
        graph = cuda.CUDAGraph()
        try:
            with cuda.graph(graph):
                work()
        except RuntimeError as error:
            raise EngineError(f"torch-cuda: this network cannot be captured as a CUDA graph: {error}") from error
        return graph


def gpu_name() -> str:
    """Name and compute capability of the GPU that torch would use; raises EngineError where it sees none."""
    cuda = _open("cuda").cuda
    major, minor = cuda.get_device_capability()
    return f"{cuda.get_device_name()}, compute capability {major}.{minor}"


def _open(device: str) -> Any:
    try:
        import torch
    except ImportError as error:
        raise EngineError(f"torch is not installed ({error}); {install('train')}") from error
    if device.startswith("cuda") and not torch.cuda.is_available():
        built = "is a build without CUDA" if torch.version.cuda is None else "sees no CUDA device"
        raise EngineError(f"torch-cuda: torch {torch.__version__} {built}; choose engine openvino or onnxruntime")
    return torch
