"""The CUDA runtime through cuda.bindings: every return code checked, memory, copies, one stream, captured graphs."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from rtdecode.core.errors import EngineError
from rtdecode.core.extras import install


@dataclass(frozen=True, slots=True)
class Gpu:
    """What an engine's cache must know of a GPU."""

    name: str
    compute_capability: str
    driver: str
    memory_bytes: int


class Cuda:
    """One device and one stream. Opening raises EngineError where there is no library, driver or device."""

    def __init__(self, device: int = 0) -> None:
        self._rt = _bindings()
        count = self._devices()
        if device >= count:
            raise EngineError(f"CUDA device {device} was asked for, this machine has {count}")
        self._held: list[tuple[Callable[[int], Any], int]] = []
        self._graphs: list[Any] = []
        self.do("cudaSetDevice", device)
        properties = self.do("cudaGetDeviceProperties", device)
        name = properties.name.decode() if isinstance(properties.name, bytes) else str(properties.name)
        driver = str(self.do("cudaDriverGetVersion"))
        capability = f"{properties.major}.{properties.minor}"
        self.gpu = Gpu(name, capability, driver, int(properties.totalGlobalMem))
        self.stream = self.do("cudaStreamCreateWithFlags", self._rt.cudaStreamNonBlocking)

    def _devices(self) -> int:
        try:
            return int(self.do("cudaGetDeviceCount"))
        except EngineError as error:
            raise EngineError(
                f"no CUDA device can be used here ({error}); choose engine openvino or onnxruntime"
            ) from error

    def do(self, name: str, *arguments: Any) -> Any:
        """Call one function of the runtime; its value, if it has one. Raises EngineError with its name and error."""
        try:
            code, *values = getattr(self._rt, name)(*arguments)
        except RuntimeError as error:  # cuda.bindings cannot load the driver
            raise EngineError(f"{name}: {error}") from error
        if int(code) != 0:
            raise EngineError(f"{name}: {getattr(code, 'name', code)} ({int(code)})")
        return values[0] if values else None

    def device_bytes(self, size: int) -> int:
        """Address of zeroed device memory, freed by `close`."""
        address = int(self.do("cudaMalloc", max(size, 1)))
        self._held.append((lambda a: self.do("cudaFree", a), address))
        self.do("cudaMemset", address, 0, max(size, 1))
        return address

    def pinned(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Page-locked host memory as an array, valid until `close`."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        address = int(self.do("cudaMallocHost", max(size, 1)))
        self._held.append((lambda a: self.do("cudaFreeHost", a), address))
        memory = memoryview((ctypes.c_byte * size).from_address(address)).cast("B")
        array: NDArray[Any] = np.frombuffer(memory, np.dtype(dtype))
        return array.reshape(shape)

    def upload(self, address: int, array: NDArray[Any]) -> None:
        """Queue host -> device; the array must be contiguous and stay until `wait`."""
        kind = self._rt.cudaMemcpyKind.cudaMemcpyHostToDevice
        self.do("cudaMemcpyAsync", address, array.ctypes.data, array.nbytes, kind, self.stream)

    def download_rows(self, array: NDArray[Any], address: int, pitch: int) -> None:
        """Queue device -> host of the first bytes of rows that lie `pitch` bytes apart; array (rows, ...)."""
        kind, width = self._rt.cudaMemcpyKind.cudaMemcpyDeviceToHost, array.nbytes // len(array)
        place = (array.ctypes.data, width, address, pitch, width, len(array))
        self.do("cudaMemcpy2DAsync", *place, kind, self.stream)

    def copy(self, to: int, source: int, size: int) -> None:
        """Queue device -> device."""
        self.do("cudaMemcpyAsync", to, source, size, self._rt.cudaMemcpyKind.cudaMemcpyDeviceToDevice, self.stream)

    def zero(self, address: int, size: int) -> None:
        """Queue zeros."""
        self.do("cudaMemsetAsync", address, 0, size, self.stream)

    def wait(self) -> None:
        """Until everything queued is done."""
        self.do("cudaStreamSynchronize", self.stream)

    def capture(self, work: Callable[[], None]) -> Any:
        """What `work` queues, as a graph for `launch`; nothing is run."""
        self.do("cudaStreamBeginCapture", self.stream, self._rt.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal)
        try:
            work()
        finally:
            graph = self.do("cudaStreamEndCapture", self.stream)
        made = self.do("cudaGraphInstantiate", graph, 0)
        self.do("cudaGraphDestroy", graph)
        self._graphs.append(made)
        return made

    def launch(self, graph: Any) -> None:
        """Queue a captured graph."""
        self.do("cudaGraphLaunch", graph, self.stream)

    def release(self) -> None:
        """Free graphs and memory (arrays of `pinned` are dead then); the stream stays."""
        self.wait()
        for graph in self._graphs:
            self.do("cudaGraphExecDestroy", graph)
        for free, address in self._held:
            free(address)
        self._graphs, self._held = [], []


def gpu_name(device: int = 0) -> str:
    """Name, compute capability and driver of a GPU; raises EngineError where there is none."""
    gpu = Cuda(device).gpu
    return f"{gpu.name}, compute capability {gpu.compute_capability}, driver {gpu.driver}"


def _bindings() -> Any:
    try:
        from cuda.bindings import runtime
    except ImportError as error:
        raise EngineError(f"cuda-bindings is not installed ({error}); {install('gpu')}") from error
    return runtime
