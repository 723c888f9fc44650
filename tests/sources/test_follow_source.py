"""Following a data set that another process writes: from before it is there to its end, its death, or a Stop."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from many_formats import write_ndtiff
from movies import counts
from ndtiff_writer import Writer, WriterProcess, frame
from source_contract import DEADLINE_S, SourceContract, drain, read_next, slot_for

from rtdecode.core.actions import SetProperty, Stop
from rtdecode.core.config import Plugin
from rtdecode.core.errors import EndOfStream, RecordingError, SourceError, SourceLost
from rtdecode.core.frames import FrameFlag
from rtdecode.core.plugins import build
from rtdecode.sources import BUILT_IN, ndtiff_growth
from rtdecode.sources.follow import FollowSource

FRAMES = counts()


class TestFollowContract(SourceContract):
    """A data set whose writer has finished is followed to its end."""

    shape = (48, 37)

    def make(self, folder: Path) -> FollowSource:
        return FollowSource(path=write_ndtiff(folder / "cell", FRAMES))


@pytest.fixture(scope="module")
def process() -> Iterator[WriterProcess]:
    process = WriterProcess()
    yield process
    process.kill()


@pytest.fixture
def writer(tmp_path: Path, process: WriterProcess) -> Callable[..., Writer]:
    """Makes data sets `cell_1`, ... in the shared process."""
    return lambda **choices: Writer(process, tmp_path / "cell", **choices)


@pytest.fixture
def killed(tmp_path: Path) -> Iterator[Writer]:
    """A data set of a process of its own, which the test kills."""
    process = WriterProcess()
    yield Writer(process, tmp_path / "cell")
    process.kill()


@contextlib.contextmanager
def followed(path: Path, **fields: Any) -> Iterator[FollowSource]:
    source = FollowSource(path=path, **fields)
    source.open()
    source.start()
    try:
        yield source
    finally:
        source.close()


def indices(source: FollowSource, count: int) -> list[int]:
    """Indices of the next frames; their pixels and times are those that the writer has given that number."""
    out, found = slot_for(source), []
    for _ in range(count):
        info = read_next(source, out)
        assert np.array_equal(out, frame(info.index)) and info.t_camera_ns == 20_000_000 * info.index
        found.append(info.index)
    return found


def nothing_comes(source: FollowSource, seconds: float = 0.4) -> bool:
    """Over several looks for the end: neither a frame nor an end."""
    until, out = time.monotonic() + seconds, slot_for(source)
    while time.monotonic() < until:
        if source.read(out) is not None:
            return False
        time.sleep(0.005)
    return True


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


def test_from_before_the_folder_is_there_to_the_writers_end(tmp_path: Path, writer: Callable[..., Writer]) -> None:
    source = build(Plugin(use="follow", path=str(tmp_path / "cell_1")), BUILT_IN, "run.yaml")
    assert not source.prepare() and "no such data set yet" in source.status()["why"]
    other = writer()
    other.tell("put 3")
    wait_until(source.prepare)
    assert source.status() == {"why": ""}
    source.open()
    assert source.roi.shape == (48, 37) and source.dtype == "uint16" and source.can_wait and not source.has_hardware
    assert source.expected is None
    source.start()
    assert indices(source, 3) == [0, 1, 2]  # at once, though ndstorage has written none of its index by now
    other.tell("put 150")
    assert indices(source, 150) == list(range(3, 153)) and source.made == 153
    assert nothing_comes(source) and source.expected is None
    other.tell("put 1")
    other.tell("finish")
    assert indices(source, 1) == [153]
    assert drain(source) == [] and source.expected == source.made == 154
    source.close()
    assert source.made == 154


def test_frames_whose_text_does_not_say_which_they_are_come_with_the_index(writer: Callable[..., Writer]) -> None:
    other = writer(own_axes=False)
    other.tell("put 200")
    with followed(other.path) as source:
        first = len(indices(source, source.made or 0))
        assert 0 < first < 200 and nothing_comes(source, 0.05)  # ndstorage writes its index in blocks
        other.tell("finish")
        assert indices(source, 200 - first) == list(range(first, 200))
        assert drain(source) == []


def test_a_writer_that_is_killed_leaves_the_run_waiting_for_a_stop(killed: Writer) -> None:
    killed.tell("put 120")
    killed.kill()
    with followed(killed.path) as source:
        assert indices(source, 120) == list(range(120))
        assert nothing_comes(source) and source.expected is None
        source.apply(Stop("enough"))
        assert source.expected == source.made == 120
        with pytest.raises(EndOfStream, match="stopped following"):
            source.read(slot_for(source))


def test_a_stop_ends_the_following_only(writer: Callable[..., Writer]) -> None:
    other = writer()
    other.tell("put 10")
    with followed(other.path) as source:
        assert indices(source, 4) == [0, 1, 2, 3]
        source.apply(Stop("dense enough"))
        other.tell("put 10")
        assert [info.index for info, _ in drain(source)] == [4, 5, 6, 7, 8, 9]
        assert source.made == source.expected == 10
    other.tell("put 10")
    other.tell("finish")
    with followed(other.path) as source:
        assert len(drain(source)) == 30


def test_it_owns_no_camera(tmp_path: Path) -> None:
    with followed(write_ndtiff(tmp_path / "c", FRAMES)) as source:
        with pytest.raises(SourceError, match="set it there"):
            source.apply(SetProperty("Laser", "Power", 1.0))
        assert len(drain(source)) == 12


def test_times_that_were_left_out_are_lost_frames(writer: Callable[..., Writer]) -> None:
    other = writer(times=[0, 1, 5, 3, 6, 9])  # 3 comes when it was counted as lost already
    other.tell("put 6")
    other.tell("finish")
    with followed(other.path) as source:
        assert [info.index for info, _ in drain(source)] == [0, 1, 5, 6, 9]
        assert source.expected == 10


def test_a_frame_of_another_size_is_announced(writer: Callable[..., Writer]) -> None:
    other = writer(sizes={"2": [20, 37]})
    other.tell("put 4")
    other.tell("finish")
    with followed(other.path) as source:
        flags = [info.flags for info, _ in drain(source)]
        assert flags == [FrameFlag.GOOD, FrameFlag.GOOD, FrameFlag.WRONG_SIZE, FrameFlag.GOOD]


def test_one_of_two_channels_is_followed(writer: Callable[..., Writer]) -> None:
    other = writer(axes=["time", "channel"])
    other.tell("put 11")
    with followed(other.path, channel="GFP") as source:
        out = slot_for(source)
        for time_index in range(5):
            assert read_next(source, out).index == time_index
            assert np.array_equal(out, frame(2 * time_index + 1))
        other.tell("put 1")
        assert read_next(source, out).index == 5


def test_a_second_channel_that_was_not_chosen_is_refused(writer: Callable[..., Writer]) -> None:
    other = writer(axes=["time", "channel"])
    other.tell("put 1")
    with followed(other.path) as source:
        assert read_next(source, slot_for(source)).index == 0
        other.tell("put 1")
        with pytest.raises(RecordingError, match=r"2 channels \(DAPI, GFP\).*`channel: DAPI`"):
            read_next(source, slot_for(source))


def test_a_channel_that_does_not_come_is_waited_for_and_said(writer: Callable[..., Writer]) -> None:
    other = writer(axes=["time", "channel"])
    other.tell("put 4")
    source = FollowSource(path=other.path, channel="Cy5", wait_s=0.2)
    assert not source.prepare() and "frames of channel GFP only" in source.status()["why"]
    with pytest.raises(SourceError, match=r"none came within 0\.2 s"):
        source.open()
    with pytest.raises(RecordingError, match="found 1"):
        FollowSource(path=other.path, channel=1).open()  # the second of which names? Nobody knows yet


@pytest.mark.parametrize(
    ("axes", "fields", "reason"),
    [
        ({"frame": 0}, {}, "frames with the axes frame; expected the axis 'time'"),
        ({"time": 0}, {"channel": "GFP"}, "expected the axis 'channel'"),
        ({"time": "early"}, {}, "a frame at time 'early'"),
        ({"time": -1}, {}, "a frame at time -1"),
    ],
)
def test_axes_that_do_not_fit(axes: dict[str, Any], fields: dict[str, Any], reason: str, tmp_path: Path) -> None:
    path = write_ndtiff(tmp_path / "c", FRAMES[:1], [axes])
    with pytest.raises(RecordingError, match=reason):
        FollowSource(path=path, **fields).open()


def test_another_axis_can_be_named(tmp_path: Path) -> None:
    path = write_ndtiff(tmp_path / "c", FRAMES, [{"frame": k, "position": "A1"} for k in range(12)])
    with followed(path, axis="frame", position="A1") as source:
        assert np.array_equal([pixels for _, pixels in drain(source)], FRAMES)


def test_the_next_data_set_of_a_name(tmp_path: Path, writer: Callable[..., Writer]) -> None:
    write_ndtiff(tmp_path / "cell", FRAMES)  # cell_1 was there before
    source = FollowSource(path=tmp_path / "cell_*", wait_s=30)
    assert not source.prepare()
    other = writer(number=2)
    other.tell("put 2")
    other.tell("finish")
    source.open()
    source.start()
    assert indices(source, 2) == [0, 1] and drain(source) == []
    source.close()


def test_the_number_that_was_forgotten_is_told(tmp_path: Path) -> None:
    write_ndtiff(tmp_path / "cell", FRAMES[:1])
    source = FollowSource(path=tmp_path / "cell")
    assert not source.prepare() and "there is cell_1: acquisitions are numbered" in source.status()["why"]


def test_a_data_set_over_several_files(writer: Callable[..., Writer], monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of 0.1 MB instead of 4 GB; between two of them the data set must not be taken for finished."""
    monkeypatch.setattr(ndtiff_growth, "_FULL", 100_000)
    other = writer(most_bytes=5_100_000)
    other.tell("put 5")
    with followed(other.path) as source:
        for start in range(0, 120, 5):
            assert indices(source, 5) == list(range(start, start + 5)) and nothing_comes(source, 0.03)
            other.tell("put 5")
        assert len(list(other.path.glob("*.tif"))) > 3
        other.tell("finish")
        assert [info.index for info, _ in drain(source)] == list(range(120, 125))


def test_an_index_with_room_for_more_as_the_java_writer_keeps_it(tmp_path: Path) -> None:
    """It names each frame at once, in a file of zeros that it cuts at its end (IndexWriter.java of NDTiffStorage)."""
    done = write_ndtiff(tmp_path / "done", FRAMES, texts=[{}] * 12)
    content = (done / "NDTiff.index").read_bytes()
    names = [entry + b".tif" for entry in content.split(b".tif")]
    entry = len(names[0]) + 32
    java = tmp_path / "java"
    java.mkdir()
    shutil.copy(done / "done_NDTiffStack.tif", java)
    index = java / "NDTiff.index"
    index.write_bytes(content[:entry].ljust(100_000, b"\0"))
    with followed(java) as source:
        assert read_next(source, slot_for(source)).index == 0 and nothing_comes(source)
        with index.open("r+b") as file:
            file.write(content)
        assert [read_next(source, slot_for(source)).index for _ in range(11)] == list(range(1, 12))
        assert nothing_comes(source) and source.expected is None
        with index.open("r+b") as file:
            file.truncate(len(content))
        assert drain(source) == [] and source.expected == 12


def test_a_folder_that_vanishes_is_a_lost_source(writer: Callable[..., Writer]) -> None:
    other = writer()
    other.tell("put 2")
    with followed(other.path) as source:
        assert indices(source, 2) == [0, 1]
        shutil.rmtree(other.path)
        with pytest.raises(SourceLost, match="can no longer be read"):
            read_next(source, slot_for(source))


def test_a_damaged_index_is_said(tmp_path: Path) -> None:
    (tmp_path / "NDTiff.index").write_bytes(b"this is no index" * 10)
    with pytest.raises(RecordingError, match="damaged"):
        FollowSource(path=tmp_path).prepare()


def test_opening_waits_no_longer_than_it_was_told(tmp_path: Path) -> None:
    source = FollowSource(path=tmp_path / "nothing", wait_s=0.2)
    with pytest.raises(SourceError, match=r"none came within 0\.2 s"):
        source.open()
    with pytest.raises(SourceError, match="not open"):
        source.read(np.empty((4, 4), "uint16"))


def test_an_acquisition_of_pycromanager_while_it_runs(tmp_path: Path) -> None:
    """Its Python engine, Micro-Manager's DemoCamera, ndstorage: all in a process of their own."""
    pytest.importorskip("pycromanager")
    pytest.importorskip("mm_test_adapters")
    script = Path(__file__).with_name("demo_acquisition.py")
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path), "cell", "60"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdin is not None and process.stdout is not None
        wait_until(lambda: process.stdout.readline().strip() in ("ready", ""))
        source = FollowSource(path=tmp_path / "cell_*")
        assert not source.prepare()
        process.stdin.write("go\n")
        process.stdin.flush()
        wait_until(source.prepare)
        source.open()
        source.start()
        assert source.roi.shape == (48, 64)
        running = process.poll() is None
        frames = drain(source)
        source.close()
        assert process.wait(60) == 0 and running
    finally:
        process.kill()
    assert [info.index for info, _ in frames] == list(range(60))
    times = [info.t_camera_ns for info, _ in frames]
    assert times == sorted(set(times)) and 0.1 < (times[-1] - times[0]) / 1e9 < DEADLINE_S
    _check_pixels(tmp_path / "cell_1", [pixels for _, pixels in frames])


def _check_pixels(path: Path, pixels: list[Any]) -> None:
    """Against the format's own library."""
    import io

    from ndstorage import Dataset

    with contextlib.redirect_stdout(io.StringIO()):
        data = Dataset(str(path))
    for k, mine in enumerate(pixels):
        assert np.array_equal(mine, data.read_image(time=k))
    data.close()
