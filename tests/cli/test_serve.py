"""`rtdecode serve`: a camera here, a run there; the same localizations, and the light off at any end."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from rtdecode import session
from rtdecode.cli.app import run
from rtdecode.core.actions import Stop
from rtdecode.core.config import RunConfig
from rtdecode.core.contracts import SafeStop
from rtdecode.core.errors import EndOfStream
from rtdecode.fit.bundle import ModelBundle
from rtdecode.sources.simulated import SimulatedCamera
from rtdecode.sources.stream import StreamSource
from rtdecode.stages.serve import ServeConfig, ServeStage
from rtdecode.streams.frame_sockets import acknowledged_address

TESTS = Path(__file__).parents[1]
sys.path.append(str(TESTS / "sources"))

from source_contract import DEADLINE_S, drain, read_next, slot_for  # noqa: E402
from stream_children import free_address  # noqa: E402

CAMERA = f"{TESTS / 'session' / 'paced_camera.py'}:PacedCamera"


class Bench:
    """A scratch folder with a camera that keeps a diary, and `rtdecode serve` as a process."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.diary = folder, folder / "diary.txt"
        self.address = free_address()
        self.frames = np.random.default_rng(2).integers(0, 5000, (120, 20, 30)).astype(np.uint16)
        np.save(folder / "frames.npy", self.frames)
        self._processes: list[subprocess.Popen[str]] = []

    def serve(self, *options: str, source: dict[str, Any] | None = None, **fields: Any) -> subprocess.Popen[str]:
        camera = {"use": CAMERA, "path": str(self.folder / "frames.npy"), "diary": str(self.diary), "fps": 100}
        path = self.folder / "serve.yaml"
        path.write_text(yaml.safe_dump({"source": source or camera | fields}))
        command = [sys.executable, "-m", "rtdecode", "serve", str(path), *(options or ("--to", self.address))]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self._processes.append(process)
        return process

    def receive(self, **fields: Any) -> StreamSource:
        source = StreamSource(**({"bind": self.address, "wait_s": DEADLINE_S} | fields))
        source.open()
        source.start()
        return source

    def deeds(self) -> list[str]:
        return self.diary.read_text().split("\n")[:-1]

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.communicate()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.close()


def said_by(process: subprocess.Popen[str], status: int) -> str:
    """What it said until its end, which must have this exit status."""
    said = process.communicate(timeout=DEADLINE_S)[1]
    assert process.returncode == status, said
    return said


def test_a_run_over_the_wire_writes_the_same_bytes_as_one_at_the_camera(bench: Bench, tiny_bundle: ModelBundle) -> None:
    """The whole line with its processes on one side, and the very same frames on the other."""
    scene = {"use": "simulated", "frames": 60, "paced": False, "seed": 5, "width_px": 40, "height_px": 32}
    loud = {"peak": 0.02, "accept": 0.1}  # random weights: many localizations, or bytes prove nothing
    base = {"model": str(tiny_bundle.folder), "detection": loud, "engine": {"use": "openvino", "threads": 1}}
    fields = base | {"source": scene, "out": bench.folder / "here"}
    here = session.run(RunConfig.model_validate(fields), inline=True)

    path = bench.folder / "serve.yaml"
    path.write_text(yaml.safe_dump({"source": scene, "model": base["model"]}))
    command = [sys.executable, "-m", "rtdecode", "serve", str(path), "--to", bench.address]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    stream = {"use": "stream", "bind": bench.address, "wait_s": DEADLINE_S}
    there = session.run(RunConfig.model_validate(base | {"source": stream, "out": bench.folder / "there"}))

    assert "60 frames made, 0 lost here, 0 not taken" in said_by(server, 0)
    assert here.outcome.finish == there.outcome.finish == "completed"
    assert here.report["frames"] == there.report["frames"]
    bytes_here, bytes_there = ((r.folder.path / "locs.bin").read_bytes() for r in (here, there))
    assert len(bytes_here) > 48 * 60 and bytes_here == bytes_there


def test_the_receivers_stop_reaches_the_camera_where_it_may(bench: Bench) -> None:
    server = bench.serve("--to", bench.address, "--allow-stop")
    source = bench.receive()
    first = read_next(source, slot_for(source))
    source.apply(Stop("dense enough"))
    rest = drain(source)
    assert [info.index for info, _ in rest] == list(range(first.index + 1, source.made))
    assert all(np.array_equal(pixels, bench.frames[info.index]) for info, pixels in rest)
    source.close()
    assert "dense enough" in said_by(server, 0)
    assert bench.deeds() == ["open", "start", "stop", "close"]


def test_a_receiver_that_leaves_stops_the_camera_where_it_may(bench: Bench) -> None:
    server = bench.serve("--to", bench.address, "--allow-stop")
    source = bench.receive()
    read_next(source, slot_for(source))
    source.close()  # limits.frames were reached, say
    assert "the receiver has left" in said_by(server, 0)
    assert bench.deeds() == ["open", "start", "stop", "close"]


def test_a_receiver_that_was_killed_has_the_camera_stopped_by_another_process(bench: Bench, tmp_path: Path) -> None:
    """As the session does when acquire dies: a new source of the same configuration brings the hardware to rest."""
    server = bench.serve("--to", bench.address, "--allow-stop", fps=20)
    script = f"""
import numpy, os, time
from rtdecode.sources.stream import StreamSource
source = StreamSource(bind={bench.address!r})
source.open()
assert source.has_hardware
source.start()
while source.read(numpy.empty((20, 30), "uint16")) is None:
    time.sleep(0.001)
os.abort()
"""
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, check=False).returncode != 0
    source = StreamSource(bind=bench.address)
    assert isinstance(source, SafeStop)
    assert source.bring_to_rest([]) == ["the sender has stopped its camera"]
    assert "the receiving process died" in said_by(server, 0)
    assert bench.deeds() == ["open", "start", "stop", "close"]


def test_a_receiver_that_is_silent_too_long_has_the_camera_stopped(bench: Bench) -> None:
    server = bench.serve("--to", bench.address, "--stop-silent-s", "1", "--wait-s", "0", fps=10)
    source = bench.receive()
    read_next(source, slot_for(source))
    assert "nothing was heard from the receiver for 1 s" in said_by(server, 1)
    assert bench.deeds() == ["open", "start", "stop", "close"]
    source.close()


def test_without_leave_the_camera_goes_on_and_the_frames_not_taken_are_told(bench: Bench) -> None:
    server = bench.serve("--to", bench.address, "--wait-s", "0", fps=400)
    source = bench.receive()
    read_next(source, slot_for(source))
    source.apply(Stop("enough"))
    drain(source)
    source.close()
    said = said_by(server, 1)
    assert "not allowed here" in said and "frames were never taken" in said
    assert bench.deeds() == ["open", "start", "close"]


def test_ctrl_c_at_the_camera_hands_over_what_was_made(bench: Bench) -> None:
    server = bench.serve()
    source = bench.receive()
    out = slot_for(source)
    came = [read_next(source, out).index for _ in range(5)]
    server.send_signal(signal.SIGINT)
    with pytest.raises(EndOfStream, match="Ctrl-C"):
        while True:
            came.append(read_next(source, out).index)
    assert came == list(range(source.made)) and len(came) < 120
    source.close()
    assert "0 not taken" in said_by(server, 0)
    assert bench.deeds() == ["open", "start", "stop", "close"]


def test_a_server_may_wait_for_a_receiver_that_connects(bench: Bench) -> None:
    server = bench.serve("--bind", bench.address, fps=1000, lost=[3, 4])
    source = bench.receive(bind=None, connect=bench.address, senders="acknowledged")
    frames = drain(source)
    assert [info.index for info, _ in frames] == [i for i in range(120) if i not in (3, 4)]
    source.close()
    said_by(server, 0)


def test_a_camera_that_is_not_there(bench: Bench) -> None:
    assert "no camera answers" in said_by(bench.serve(absent=True), 1)


def test_what_does_not_fit_is_lost_here_counted_and_told(bench: Bench) -> None:
    """A live camera never waits for a receiver that does not read."""
    config = ServeConfig(acknowledged_address(bench.address), False, "s", buffer_s=0.01)
    stage = ServeStage(SimulatedCamera(frames=100, fps=400, width_px=30, height_px=20), config, lambda words: None)
    thread = threading.Thread(target=lambda: [time.sleep(0.0005) for _ in iter(stage.step, None)], daemon=True)
    thread.start()
    source = bench.receive()
    read_next(source, slot_for(source))
    until = time.monotonic() + DEADLINE_S
    while stage.counts["lost_here"] < 5 and time.monotonic() < until:
        time.sleep(0.002)
    came = [0, *(info.index for info, _ in drain(source))]
    assert source.made == source.expected == 100
    source.close()
    thread.join(DEADLINE_S)
    assert stage.outcome is not None and stage.outcome.finish == "completed"
    assert came == sorted(set(came)) and stage.counts["lost_here"] == 100 - len(came) >= 5


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("source: {use: stream}", [], "serve publishes a camera"),
        ("source: {use: simulated, frames: 3, fsp: 1}", [], "fsp.*fps"),
        ("source: {use: simulated, frames: 3}", ["--to", "tcp://a:1", "--bind", "tcp://b:1"], "not both"),
        ("source: {use: simulated, frames: 3}", ["--to", "gpu-box"], "no address.*tcp://HOST:PORT"),
        ("model: x", [], "source"),
    ],
)
def test_what_cannot_be_served_is_refused_in_one_message(
    text: str, options: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "serve.yaml"
    path.write_text(text)
    assert run(["serve", str(path), *options]) == 1
    said = capsys.readouterr().err
    assert said.startswith("rtdecode: ") and "Traceback" not in said
    assert re.search(words, said)
