"""Which operations of a block graph int8 leaves alone, found from its inputs and outputs and never by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
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
    ordered = model.get_ordered_ops()
    # The longest way from the frames: by a skip connection a decoder's last convolution is as near as a first one.
    after = _convolutions_from(model.input("frames_adu").get_node(), ordered, _sources, max)
    # The shortest way to the maps: the correction of `fine` is a detour, and its heads are heads all the same.
    before = _convolutions_from(model.output("maps").get_node(), ordered[::-1], _readers, min)
    kept = {node.get_friendly_name() for node in ordered if _near(node, after, FIRST) or _near(node, before, HEADS)}
    for node in ordered:
        if _is_convolution(node) and _all_kept(node, _sources, kept) and _all_kept(node, _readers, kept):
            kept.add(node.get_friendly_name())
    computed = [node for node in ordered if node.get_type_name() not in ("Constant", "Parameter", "Result")]
    return [node.get_friendly_name() for node in computed if node.get_friendly_name() in kept]


def _convolutions_from(
    start: Any, ordered: Sequence[Any], earlier: Steps, chosen: Callable[..., int]
) -> dict[str, int]:
    """Name -> convolutions from `start` to each operation, its own included; `ordered` begins on that side."""
    count = {start.get_friendly_name(): 0}
    for node in ordered:
        ways = [count[other.get_friendly_name()] for other in earlier(node) if other.get_friendly_name() in count]
        if ways and node.get_friendly_name() not in count:
            count[node.get_friendly_name()] = chosen(ways) + _is_convolution(node)
    return count


def _near(node: Any, count: dict[str, int], most: int) -> bool:
    """Among the `most` convolutions, or beyond none but fewer of them."""
    return count.get(node.get_friendly_name(), most + 1) <= (most if _is_convolution(node) else most - 1)


def _all_kept(node: Any, steps: Steps, kept: set[str]) -> bool:
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
