"""What is asked of NVIDIA's driver, with a driver made here: who answers as CUDA's driver API says that one does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rtdecode.core.errors import EngineError
from rtdecode.fit import nvidia

DRIVER = """
#include <string.h>
int cuInit(unsigned flags) { return INIT; }
int cuDeviceGetCount(int *count) { *count = COUNT; return 0; }
int cuDeviceGet(int *device, int ordinal) { *device = ordinal + 7; return 0; }
int cuDeviceGetName(char *name, int size, int device) { strncpy(name, "Tesla Test", size); return device == 7 ? 0 : 1; }
int cuDeviceGetAttribute(int *value, int what, int device) {
  *value = what == 75 ? MAJOR : what == 76 ? 5 : -1;
  return device == 7 ? 0 : 1;
}
"""
ASK = """
import json, sys
from rtdecode.core.config import EngineConfig
from rtdecode.core.errors import EngineError
from rtdecode.fit import engines, nvidia
said = {}
try:
    gpu = nvidia.first_gpu()
    said |= {"name": gpu.name, "capability": gpu.compute_capability, "reduced": engines.reduced("torch-cuda")}
except EngineError as error:
    said["error"] = str(error)
try:
    engines.check(EngineConfig(use="torch-cuda"))
    said["check"] = ""
except EngineError as error:
    said["check"] = str(error)
config, why = engines.chosen(EngineConfig(use="auto", threads=3))
json.dump(said | {"use": config.use, "threads": config.threads, "why": why}, sys.stdout)
"""


def asked(folder: Path, init: int = 0, count: int = 1, major: int = 7) -> dict[str, Any]:
    """What a process says of itself in which the system's loader finds this driver first."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("the driver of this test is made with a C compiler, for Linux")
    (source := folder / "driver.c").write_text(DRIVER)
    defines = [f"-DINIT={init}", f"-DCOUNT={count}", f"-DMAJOR={major}"]
    subprocess.run([compiler, "-shared", "-fPIC", *defines, "-o", folder / "libcuda.so.1", source], check=True)
    environment = os.environ | {"LD_LIBRARY_PATH": str(folder)}
    answer = subprocess.run([sys.executable, "-c", ASK], env=environment, capture_output=True, text=True, check=True)
    said: dict[str, Any] = json.loads(answer.stdout)
    return said


@pytest.mark.parametrize(("major", "reduced"), [(7, "fp16"), (8, "bf16")])
def test_the_gpu_is_named_and_one_without_bf16_gets_fp16(tmp_path: Path, major: int, reduced: str) -> None:
    said = asked(tmp_path, major=major)
    assert (said["name"], said["capability"], said["reduced"]) == ("Tesla Test", [major, 5], reduced)
    assert "no NVIDIA GPU" not in said["check"]


def test_auto_names_each_engine_that_cannot_use_the_gpu(tmp_path: Path) -> None:
    """The driver has a GPU in which nothing can run: whatever is installed here must refuse it, and say why."""
    said = asked(tmp_path)
    assert (said["use"], said["threads"]) == ("openvino", 3)
    assert said["why"].startswith("chosen by auto, for no engine can use Tesla Test: ")
    assert said["why"].count("; ") >= 2 and ("torch" in said["why"]) and ("tensorrt" in said["why"])


@pytest.mark.parametrize(
    ("answers", "words"), [({"init": 100}, "error 100, which is: no device"), ({"count": 0}, "shows no GPU")]
)
def test_a_driver_without_a_gpu_is_told(tmp_path: Path, answers: dict[str, int], words: str) -> None:
    said = asked(tmp_path, **answers)
    assert words in said["error"] and words in said["why"] and said["use"] == "openvino"
    assert said["check"].startswith("engine.use torch-cuda: it needs an NVIDIA GPU, and no NVIDIA GPU can be used here")
    assert words in said["check"] and said["check"].endswith("which run on the CPU")


def test_this_machine_has_a_gpu_or_is_told_why_not() -> None:
    try:
        assert nvidia.first_gpu().compute_capability >= (3, 0)
    except EngineError as error:
        assert "NVIDIA driver" in str(error)
