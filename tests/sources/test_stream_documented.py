"""The senders of docs/frame-stream.md and tools/send_frames.py, run as anybody would run them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from source_contract import DEADLINE_S, drain
from stream_children import frame, free_address

from rtdecode.sources.stream import StreamSource

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "frame-stream.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)


def received(address: str, sender: subprocess.Popen[bytes]) -> list[tuple[int, np.ndarray]]:
    """All that a sender sends, and that it ends well."""
    source = StreamSource(bind=address, wait_s=DEADLINE_S)
    source.open()
    source.start()
    frames = [(info.index, pixels) for info, pixels in drain(source)]
    assert source.expected == source.made == len(frames)
    assert source.status()["malformed"] == source.status()["unusable"] == 0
    source.close()
    assert sender.wait(DEADLINE_S) == 0
    return frames


@pytest.mark.parametrize("program", PROGRAMS, ids=["json", "cbor"])
def test_the_documented_programs_work_as_they_stand(program: str, tmp_path: Path) -> None:
    """As printed but for the port, which may be in use."""
    address = free_address()
    path = tmp_path / "sender.py"
    assert program.count("tcp://127.0.0.1:31001") == 1
    path.write_text(program.replace("tcp://127.0.0.1:31001", address), encoding="utf-8")
    frames = received(address, subprocess.Popen([sys.executable, str(path)]))
    expected = np.random.default_rng(1).poisson(100, (200, 64, 64)).astype("uint16")
    assert [index for index, _ in frames] == list(range(200))
    assert all(np.array_equal(pixels, expected[index]) for index, pixels in frames)


def test_the_shorter_program_is_ten_lines_of_work() -> None:
    work = [line for line in PROGRAMS[0].splitlines() if line.strip() and not line.startswith("import")]
    assert len(work) <= 10


@pytest.mark.parametrize(("name", "wire"), [("movie.npy", "json"), ("movie.tif", "cbor")])
def test_the_tool_sends_a_recording(name: str, wire: str, tmp_path: Path) -> None:
    movie = np.array([frame(index) for index in range(20)]).astype(">u2" if wire == "json" else "<u2")
    path = tmp_path / name
    np.save(path, movie) if wire == "json" else tifffile.imwrite(path, movie)
    address = free_address()
    tool = [sys.executable, str(ROOT / "tools" / "send_frames.py"), str(path), "--to", address, "--format", wire]
    frames = received(address, subprocess.Popen([*tool, "--fps", "500"]))
    assert all(np.array_equal(pixels, frame(index)) for index, pixels in frames)
