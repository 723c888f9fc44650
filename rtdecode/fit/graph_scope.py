"""Which operations of a block graph int8 leaves alone, found from its inputs and outputs and never by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

FIRST = 3
"""Convolutions after a frame that stay in floating point: they see the camera's whole range."""
HEADS = 2
"""Convolutions before the maps that stay in floating point: a position is a hundredth of a pixel."""
CONVOLUTIONS = ("Convolution", "GroupConvolution")

Steps = Callable[[Any], Iterable[Any]]


def in_floating_point(model: Any) -> list[str]:
    """Friendly names of the operations of an openvino.Model that stay in floating point.

    The first convolutions after the frames and the last before the maps with all that stands before, between and
    behind them (camera conversion, physical units), and convolutions between two such (the narrow one of `fine`).
    """
    frames, maps = model.input("frames_adu").get_node(), model.output("maps").get_node()
    first, heads = _near(frames, _readers, FIRST), _near(maps, _sources, HEADS)
    kept = {node.get_friendly_name(): node for node in first + heads}
    for node in model.get_ops():
        if _is_convolution(node) and _all_kept(node, _sources, kept) and _all_kept(node, _readers, kept):
            kept[node.get_friendly_name()] = node
    return [name for name, node in kept.items() if node.get_type_name() not in ("Constant", "Parameter", "Result")]


def _near(start: Any, steps: Steps, most: int) -> list[Any]:
    """Operations that fewer than `most` convolutions part from `start`, and the convolutions that do."""
    crossed, waiting = {start.get_friendly_name(): (0, start)}, [start]
    while waiting:
        node = waiting.pop()
        so_far = crossed[node.get_friendly_name()][0]
        if _is_convolution(node) and so_far == most:
            continue
        for other in steps(node):
            count = so_far + _is_convolution(other)
            known = crossed.get(other.get_friendly_name())
            if count <= most and (known is None or count < known[0]):
                crossed[other.get_friendly_name()] = (count, other)
                waiting.append(other)
    return [node for _, node in crossed.values()]


def _all_kept(node: Any, steps: Steps, kept: dict[str, Any]) -> bool:
    """Whether every convolution next to this one, that way, is among those kept; there must be one."""
    found, waiting, seen = [], list(steps(node)), set()
    while waiting:
        other = waiting.pop()
        if _is_convolution(other):
            found.append(other.get_friendly_name() in kept)
        elif other.get_friendly_name() not in seen:
            seen.add(other.get_friendly_name())
            waiting.extend(steps(other))
    return bool(found) and all(found)


def _is_convolution(node: Any) -> bool:
    return node.get_type_name() in CONVOLUTIONS


def _sources(node: Any) -> list[Any]:
    """Operations that this one reads; not those of which only the shape is asked, which may lie anywhere."""
    if node.get_type_name() == "ShapeOf":
        return []
    return [value.get_source_output().get_node() for value in node.inputs()]


def _readers(node: Any) -> list[Any]:
    found = [value.get_node() for output in node.outputs() for value in output.get_target_inputs()]
    return [other for other in found if other.get_type_name() != "ShapeOf"]
