"""Whether there is an NVIDIA GPU, asked of the driver alone: no library of an engine is loaded, none can crash."""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass
from typing import Any

from rtdecode.core.errors import EngineError

_DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR


@dataclass(frozen=True, slots=True)
class Nvidia:
    """The first GPU that the driver shows to this process."""

    name: str
    compute_capability: tuple[int, int]

    @property
    def has_bf16(self) -> bool:
        """Since Ampere; before it TensorRT refuses bf16 and torch emulates it."""
        return self.compute_capability >= (8, 0)


def first_gpu() -> Nvidia:
    """Raises EngineError that says what was found in its place."""
    driver = _driver()
    _done(driver, "cuInit", 0)
    if _number(driver, "cuDeviceGetCount") < 1:
        raise EngineError("the NVIDIA driver shows no GPU to this process")
    device, name = _number(driver, "cuDeviceGet", 0), ctypes.create_string_buffer(256)
    _done(driver, "cuDeviceGetName", name, len(name), device)
    major, minor = (_number(driver, "cuDeviceGetAttribute", what, device) for what in (_MAJOR, _MINOR))
    return Nvidia(name.value.decode(errors="replace"), (major, minor))


def _driver() -> Any:
    try:
        return ctypes.CDLL(_DRIVER)
    except OSError as error:
        raise EngineError(f"no NVIDIA driver is installed: {_DRIVER} cannot be loaded") from error


def _number(driver: Any, function: str, *arguments: Any) -> int:
    """The int that a function puts where its first argument points to."""
    value = ctypes.c_int()
    _done(driver, function, ctypes.byref(value), *arguments)
    return value.value


def _done(driver: Any, function: str, *arguments: Any) -> None:
    if code := getattr(driver, function)(*arguments):
        words = {100: ", which is: no device", 803: ", which is: libraries do not fit the kernel's driver"}.get(
            code, ""
        )
        raise EngineError(f"the NVIDIA driver's {function} gave error {code}{words}")
