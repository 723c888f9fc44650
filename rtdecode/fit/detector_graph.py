"""Detection as ONNX nodes behind a network's maps: the rules of `detector.py`, for engines that take a graph.

No NonZero and no sizes that depend on values: TensorRT refuses or serializes them (engines.md §3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rtdecode.fit.bundle import DetectionThresholds
from rtdecode.fit.device import N_ROW
from rtdecode.fit.emitters import GATE
from rtdecode.fit.onnx_building import Builder

if TYPE_CHECKING:
    from onnx import GraphProto

NOT_FINITE = 3e38
STEPS = np.stack(np.divmod(np.arange(9), 3)) - 1  # (2, 9): of rows, of columns


def append_detector(
    graph: GraphProto,
    maps: str,
    inside: str,
    thresholds: DetectionThresholds,
    slots: int,
    groups: int,
    windows: tuple[int, int] | None = None,
    tells_z: bool = True,
) -> None:
    """Add nodes from `maps` (B, 10, H, W) and `inside` (1, 1, H, W) to `rows` (B, G, K, 12), `candidates` (B, G).

    `slots` is K, `groups` G; they, `windows` and `tells_z` as in Detector. The outputs are not declared here.
    """
    b = Builder(graph, "detector/")
    finite = _finite(b, maps)
    if not tells_z:
        maps = b.op("Mul", maps, b.floats(np.array([1, 1, 1, 1, 0, 1, 1, 1, 0, 1])[:, None, None]))
    p = b.op("Mul", _channels(b, maps, 0, 1), inside)
    hits = _candidates(b, p, thresholds)
    score = b.op("Reshape", b.op("Where", hits, p, b.floats(-1.0)), b.integers([0, groups, -1]))  # (B, G, n)
    padded = b.op("Pad", score, b.integers([0, 0, 0, 0, 0, slots]), b.floats(-1.0))
    best, place = b.ops("TopK", padded, b.integers([slots]), outputs=2, axis=2, largest=1, sorted=1)
    held = b.op("Greater", best, b.floats(0.0))
    run = b.op("Gather", b.op("Shape", score), b.integers([2]), axis=0)  # (1,) pixels of a group
    first = b.op("Mul", run, b.integers(np.arange(groups)[:, None]))  # (G, 1)
    pixel = b.op("Where", held, b.op("Add", place, first), b.integers(0))
    read = _read(b, maps, p, hits, b.op("Reshape", pixel, b.integers([0, -1])), thresholds.readout)  # (B, 10, N)
    numbers = b.op("Cast", b.op("Reshape", pixel, b.integers([0, 1, -1])), to=1)
    near = _crowding(b, p, inside, read, numbers, windows)
    table = b.op("Transpose", b.op("Concat", read, numbers, near, axis=1), perm=[0, 2, 1])
    table = b.op("Reshape", table, b.integers([0, groups, slots, N_ROW]))
    empty = b.floats([0.0] * 10 + [-1.0, 0.0])
    b.op("Where", b.op("Unsqueeze", held, b.integers([3])), table, empty, name="rows")
    counts = b.op("ReduceSum", b.op("Cast", b.op("Greater", score, b.floats(0.0)), to=1), b.integers([2]), keepdims=0)
    b.op("Cast", b.op("Where", finite, counts, b.floats(-1.0)), to=6, name="candidates")


def _channels(b: Builder, planes: str, first: int, last: int) -> str:
    return b.op("Slice", planes, b.integers([first]), b.integers([last]), b.integers([1]))


def _candidates(b: Builder, p: str, thresholds: DetectionThresholds) -> str:
    highest = b.op("MaxPool", p, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[1, 1])
    peaks = b.op("And", b.op("GreaterOrEqual", p, highest), b.op("Greater", p, b.floats(thresholds.peak)))
    return b.op("Or", peaks, b.op("Greater", p, b.floats(thresholds.split)))


def _finite(b: Builder, maps: str) -> str:
    """(B, 1): no NaN and no infinity in the frame's maps."""
    total = b.op("ReduceSum", maps, b.integers([1, 2, 3]), keepdims=0)
    return b.op("Unsqueeze", b.op("Less", b.op("Abs", total), b.floats(NOT_FINITE)), b.integers([1]))


def _crowding(b: Builder, p: str, inside: str, read: str, numbers: str, windows: tuple[int, int] | None) -> str:
    """(B, 1, N) as Detector._crowding; `numbers` (B, 1, N) are the flat pixels as floats, exact to 2^24."""
    if windows is None:
        return b.op("Mul", numbers, b.floats(0.0))
    width = b.op("Cast", b.op("Gather", b.op("Shape", p), b.integers(3), axis=0), to=1)
    row = b.op("Floor", b.op("Div", b.op("Add", numbers, b.floats(0.5)), width))  # half a pixel: no rounding error
    column = b.op("Sub", numbers, b.op("Mul", row, width))
    places = []
    for whole, offset, axis in ((row, 3, 2), (column, 2, 3)):
        line = b.op("ReduceMax", inside, b.integers([5 - axis]), keepdims=1)  # (1, 1, H, 1) or (1, 1, 1, W)
        last = b.op("Sub", b.op("ReduceSum", line, keepdims=0), b.floats(1.0))  # without padding
        wanted = b.op("Round", b.op("Add", whole, _channels(b, read, offset, offset + 1)))
        places.append(b.op("Min", b.op("Max", wanted, b.floats(0.0)), last))
    flat = b.op("Add", b.op("Mul", places[0], width), places[1])
    known = b.op("Where", b.op("GreaterOrEqual", flat, b.floats(0.0)), flat, b.floats(0.0))  # NaN in empty slots
    index = b.op("Cast", b.op("Transpose", known, perm=[0, 2, 1]), to=7)
    sums = b.op("Sub", _box(b, p, windows[0]), _box(b, p, windows[1]))
    return b.op("Squeeze", _gather(b, sums, index, 1, 1), b.integers([3]))


def _box(b: Builder, p: str, reach: int) -> str:
    n = 2 * reach + 1
    whole: dict[str, Any] = {"strides": [1, 1], "count_include_pad": 1}
    rows = b.op("AveragePool", p, kernel_shape=[n, 1], pads=[reach, 0, reach, 0], **whole)
    columns = b.op("AveragePool", rows, kernel_shape=[1, n], pads=[0, reach, 0, reach], **whole)
    return b.op("Mul", columns, b.floats(float(n * n)))


def _read(b: Builder, maps: str, p: str, hits: str, pixel: str, readout: str) -> str:
    """(B, 10, N) values of the emitters at `pixel` (B, N)."""
    shape = b.op("Shape", maps)
    height, width = (b.op("Gather", shape, b.integers(axis), axis=0) for axis in (2, 3))
    around, on_frame = _around(b, pixel, height, width)  # (B, N, 9)
    p_around = b.op("Mul", b.op("Squeeze", _gather(b, p, around, 1, 9), b.integers([1])), on_frame)
    if readout == "peak":
        parts = b.ops("Split", p_around, outputs=9, axis=2, num_outputs=9)
        cross = parts[4]
        for side in (1, 7, 3, 5):  # in the order of emitters.py
            cross = b.op("Add", cross, parts[side])
        probability = b.op("Transpose", b.op("Min", cross, b.floats(1.0)), perm=[0, 2, 1])  # (B, 1, N)
        here = b.op("Squeeze", _gather(b, maps, b.op("Unsqueeze", pixel, b.integers([2])), 10, 1), b.integers([3]))
        return b.op("Concat", probability, _channels(b, here, 1, 10), axis=1)
    hit = b.op("Squeeze", _gather(b, b.op("Cast", hits, to=1), around, 1, 9), b.integers([1]))
    others = np.ones(9)
    others[4] = 0.0  # itself
    counts = b.op("Sub", b.floats(1.0), b.op("Mul", hit, b.floats(others)))
    return _fused(b, _gather(b, maps, around, 10, 9), b.op("Mul", p_around, counts))


def _around(b: Builder, pixel: str, height: str, width: str) -> tuple[str, str]:
    """Flat pixels (B, N, 9) of the 3x3 around each, clamped to the frame; 1.0 where they are on it."""
    i = b.op("Div", pixel, width)
    j = b.op("Sub", pixel, b.op("Mul", i, width))
    clamped, same = [], []
    for place, steps, side in ((i, STEPS[0], height), (j, STEPS[1], width)):
        wanted = b.op("Add", b.op("Unsqueeze", place, b.integers([2])), b.integers(steps))
        low = b.op("Max", wanted, b.integers(0))
        kept = b.op("Min", low, b.op("Sub", side, b.integers(1)))
        clamped.append(kept)
        same.append(b.op("Equal", kept, wanted))
    flat = b.op("Add", b.op("Mul", clamped[0], width), clamped[1])
    return flat, b.op("Cast", b.op("And", *same), to=1)


def _gather(b: Builder, planes: str, index: str, channels: int, each: int) -> str:
    """(B, C, H, W) at flat pixels (B, N, each) -> (B, C, N, each)."""
    flat = b.op("Reshape", index, b.integers([0, 1, -1]))
    wanted = b.op("Expand", flat, b.integers([1, channels, 1]))
    found = b.op("GatherElements", b.op("Reshape", planes, b.integers([0, channels, -1])), wanted, axis=2)
    return b.op("Reshape", found, b.integers([0, channels, -1, each]))


def _fused(b: Builder, values: str, p: str) -> str:
    """The mixture, as in detector._fused: `values` (B, 10, N, 9), `p` (B, N, 9)."""
    shift = np.zeros((1, 4, 1, 9))
    shift[0, 1, 0], shift[0, 2, 0] = STEPS[1], STEPS[0]
    means = b.op("Add", _channels(b, values, 1, 5), b.floats(shift))
    sigmas = _channels(b, values, 5, 9)
    squares = b.op("Mul", sigmas, sigmas)
    apart = _channels(b, b.op("Sub", means, _middle(b, means)), 1, 4)
    spread = b.op("Max", _channels(b, b.op("Add", squares, _middle(b, squares)), 1, 4), b.floats(1e-12))
    distance = b.op("ReduceSum", b.op("Div", b.op("Mul", apart, apart), spread), b.integers([1]), keepdims=0)
    agreement = b.op("Exp", b.op("Mul", distance, b.floats(-0.5 / GATE**2)))
    weight = b.op("Unsqueeze", b.op("Mul", p, agreement), b.integers([1]))  # (B, 1, N, 9)
    last = b.integers([3])
    whole = b.op("ReduceSum", weight, last, keepdims=1)
    by_sigma = b.op("Div", weight, b.op("Max", _channels(b, sigmas, 1, 4), b.floats(1e-6)))
    shares = b.op("Concat", weight, by_sigma, axis=1)
    total = b.op("ReduceSum", shares, last, keepdims=1)
    mean = b.op("Div", b.op("ReduceSum", b.op("Mul", shares, means), last, keepdims=1), total)  # (B, 4, N, 1)
    off = b.op("Sub", means, mean)
    scatter = b.op("Mul", weight, b.op("Add", squares, b.op("Mul", off, off)))
    sigma = b.op("Sqrt", b.op("Div", b.op("ReduceSum", scatter, last, keepdims=1), whole))
    background = _middle(b, _channels(b, values, 9, 10))
    columns = [b.op("Min", whole, b.floats(1.0)), mean, sigma, background]
    return b.op("Squeeze", b.op("Concat", *columns, axis=1), last)


def _middle(b: Builder, nine: str) -> str:
    return b.op("Slice", nine, b.integers([4]), b.integers([5]), b.integers([3]))
