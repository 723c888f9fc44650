"""The stand-in is what it stands for: pycromanager's own client works with it, and dies of what it dies of."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
import zmq
from bridges import Bridge

pytest.importorskip("pymmcore_plus")
pytest.importorskip("mm_test_adapters")
pytest.importorskip("pycromanager")

DEADLINE_S = 120.0  # against hanging only

SESSION = """
import json, sys, time
from pycromanager import Core
core = Core(port=int(sys.argv[1]), new_socket=sys.argv[2] == "new")
said = {"class": type(core).__name__, "own_port": core._bridge.port != int(sys.argv[1])}
core.set_property("Camera", "PixelType", "16bit")
core.set_roi(10, 20, 64, 48)
roi = core.get_roi()
said["roi"] = [roi.x, roi.y, roi.width, roi.height]
core.set_exposure(2.0)
said["exposure"] = core.get_exposure()
core.start_sequence_acquisition(4, 0, True)
while core.is_sequence_running():
    time.sleep(0.005)
said["left"] = core.get_remaining_image_count()
pixels = core.pop_next_image()
said["pixels"] = [list(pixels.shape), str(pixels.dtype), bool(pixels.std() > 0)]
core.set_property("Camera", "PixelType", "8bit")
said["state"] = core.get_include_system_state_cache()
core.set_property("Camera", "PixelType", "16bit")
core.start_sequence_acquisition(2, 0, True)
while core.is_sequence_running():
    time.sleep(0.005)
core.pop_next_image()
image = core.pop_next_tagged_image()
said["tags"] = [image.tags[name] for name in ("ImageNumber", "ROI", "Width", "PixelType", "Camera")]
said["many_tags"], said["pix"] = len(image.tags) > 100, list(image.pix.shape)
try:
    core.pop_next_image()
except Exception as error:
    said["empty"] = str(error)
print(json.dumps(said))
"""


@pytest.mark.parametrize("socket", ["shared", "new"])
def test_the_real_pycromanager_client_works_with_it(demo_bridge: Bridge, socket: str) -> None:
    said = pycromanager(SESSION, demo_bridge.port, socket)
    empty = said.pop("empty")
    assert empty.startswith("java.lang.Exception: Circular buffer is empty") and "(Native Method)" in empty
    assert said == {
        "class": "mmcorej_CMMCore", "own_port": socket == "new", "roi": [10, 20, 64, 48], "exposure": 2.0, "left": 4,
        "pixels": [[64 * 48], "uint16", True], "state": True, "tags": ["1", "10-20-64-48", 64, "GRAY16", "Camera"],
        "many_tags": True, "pix": [64 * 48],
    }  # fmt: skip


def pycromanager(script: str, *arguments: object) -> Any:
    """In a process of its own: what goes wrong there must not keep this one from ending."""
    words = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def asked(port: int, message: bytes, timeout_ms: int) -> list[bytes] | None:
    socket = zmq.Context.instance().socket(zmq.REQ)
    socket.setsockopt(zmq.LINGER, 0)
    socket.connect(f"tcp://127.0.0.1:{port}")
    try:
        socket.send(message)
        return socket.recv_multipart() if socket.poll(timeout_ms) else None
    finally:
        socket.close()


def test_what_it_does_not_know_is_an_exception_with_its_stack(demo_bridge: Bridge) -> None:
    reply = asked(demo_bridge.port, b'{"command": "nonsense"}', 10_000)
    assert reply is not None
    said = json.loads(reply[0])
    assert said["type"] == "exception" and said["value"].startswith(
        "java.lang.RuntimeException: Unknown Command\n\tat "
    )


def test_a_message_that_is_not_json_ends_its_thread() -> None:
    """As in Java, where parsing is outside the try: the port stays open and nobody answers there any more."""
    with Bridge("counting") as bridge:
        assert asked(bridge.port, b'{"command": "connect", "debug": false}', 10_000) is not None
        assert asked(bridge.port, b"not JSON", 300) is None
        assert asked(bridge.port, b'{"command": "connect", "debug": false}', 300) is None
