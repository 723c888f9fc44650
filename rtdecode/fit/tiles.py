"""Large fields: a CPU engine run tile by tile, with a halo that makes seams exact, and maps put together again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from rtdecode.core.contracts import Engine
from rtdecode.core.errors import EngineError
from rtdecode.fit.blocks import N_MAPS, Array
from rtdecode.fit.layout import DILATIONS, NetworkConfig

LARGEST_UNTILED_PX = 1024 * 1024
"""Area up to which a frame is run whole where nobody says otherwise (docs/large-fields.md has the measurements)."""
TILE_PX = 1152
"""Largest side of a tile, halo included, where nobody says otherwise."""


def reach_px(layout: NetworkConfig) -> int:
    """How many pixels beyond a place on the stride's grid the maps there depend on, in each direction; exact.

    The lowest coordinate that is needed is followed from the maps back to the frame: a 3x3 convolution lowers it
    by its dilation, nearest upsampling halves it downwards, a strided convolution doubles it. 42 px for DECODE's
    layout (engines.md: 41 to 42), 84 px for half stems.
    """
    lowest = -1  # heads: one 3x3 convolution at the features' resolution
    if layout.fine:
        lowest += -1 // 2  # before it one at camera resolution
    lowest = _before_unet(lowest) if layout.context == "unet" else _before_dilated(lowest)
    return -_before_unet(lowest) * layout.feature_stride


def _before_unet(lowest: int) -> int:
    """Two levels, two 3x3 convolutions at each on the way down and up. The deepest path is the widest."""
    half = (lowest - 2) // 2
    quarter = (half - 2) // 2
    return 2 * (2 * (quarter - 2) - 2) - 2


def _before_dilated(lowest: int) -> int:
    """One 3x3 convolution, then for each dilation d one with d and one without."""
    return lowest - 1 - sum(dilation + 1 for dilation in DILATIONS)


def exact_halo_px(layout: NetworkConfig) -> int:
    """`reach_px` rounded up to the stride: 44 px for full stems, 88 px for half ones."""
    return _up(reach_px(layout), layout.stride)


@dataclass(frozen=True, slots=True)
class Span:
    """One tile along one axis, in px of the padded frame: [start, stop) is run, [own_start, own_stop) is kept."""

    start: int
    stop: int
    own_start: int
    own_stop: int

    def parts(self, stride: int = 1) -> tuple[slice, slice, slice]:
        """In units of `stride` px: what is run, what of the frame is owned, and where that lies in the tile."""
        start, stop, own_start, own_stop = (
            at // stride for at in (self.start, self.stop, self.own_start, self.own_stop)
        )
        return slice(start, stop), slice(own_start, own_stop), slice(own_start - start, own_stop - start)


def spans(size_px: int, tile_px: int, halo_px: int, stride: int) -> list[Span]:
    """The fewest tiles of one size, at most `tile_px`, that cover `size_px`; all numbers multiples of `stride`.

    Tiles at the rim begin at the rim, whose zero padding is the network's own; the last ones move inwards where
    the division leaves a rest, and so are of the same size. What is kept has a whole halo on its inner sides.
    """
    if size_px <= tile_px:
        return [Span(0, size_px, 0, size_px)]
    n = -(-(size_px - 2 * halo_px) // (tile_px - 2 * halo_px))
    side = _up(-(-(size_px + 2 * halo_px * (n - 1)) // n), stride)
    starts = [min(i * (side - 2 * halo_px), size_px - side) for i in range(n)]
    seams = [0, *(start + halo_px for start in starts[1:]), size_px]
    return [Span(starts[i], starts[i] + side, seams[i], seams[i + 1]) for i in range(n)]


def _up(px: int, stride: int) -> int:
    return -(-px // stride) * stride


class TiledEngine:
    """core.contracts.Engine around another one: frames above a fixed area are cut, smaller ones go through.

    Maps and features are put together from what each tile owns, so every pixel, and every localization, comes from
    one tile; the next frame's tiles take their part, halo included, of the whole frame's features. The cutting
    depends on frame size, layout and configuration alone, never on the memory at hand: a replay gives the same bytes.
    """

    def __init__(
        self, inner: Engine, layout: NetworkConfig, tile_px: int | None = None, halo_px: int | None = None
    ) -> None:
        """`tile_px`: largest side, halo included; None: automatic. `halo_px`: a thinner, inexact halo; None: exact.

        Raises EngineError for a tile that keeps less than a halo's width of what it runs.
        """
        self.name, self.precision, self.layout, self._inner = inner.name, inner.precision, layout, inner
        exact = exact_halo_px(layout)
        self.halo_px = exact if halo_px is None else min(_up(halo_px, layout.stride), exact)
        self._is_automatic = tile_px is None
        self._tile_px = (TILE_PX if tile_px is None else tile_px) // layout.stride * layout.stride
        smallest = 3 * self.halo_px  # an inner tile keeps a ninth of what it runs then
        if self._tile_px < smallest:
            raise EngineError(
                f"engine.tile_px: {tile_px} is too small for this network, whose tiles overlap by {self.halo_px} px "
                f"on each side; expected at least {smallest}, 0 for no tiles, or leave it out"
            )
        self._shape: tuple[int, int] | None = None
        self._rows: list[Span] = []
        self._columns: list[Span] = []

    @property
    def is_tiled(self) -> bool:
        """Whether frames of the size that was started with are cut."""
        return len(self._rows) * len(self._columns) > 1

    @property
    def description(self) -> str:
        """Such as "2 x 2 tiles of 1112 x 1112 px, halo 88 px", or "untiled"."""
        if not self.is_tiled:
            return "untiled"
        height, width = (axis[0].stop - axis[0].start for axis in (self._rows, self._columns))
        return f"{len(self._rows)} x {len(self._columns)} tiles of {height} x {width} px, halo {self.halo_px} px"

    def start(self, height_px: int, width_px: int) -> None:
        """Decide on the tiles and compile for their one size; raises EngineError."""
        whole = self._is_automatic and height_px * width_px <= LARGEST_UNTILED_PX
        fits = not (height_px % self.layout.stride or width_px % self.layout.stride)  # else refused by the inner one
        side = max(height_px, width_px) if whole or not fits else self._tile_px
        self._rows, self._columns = (
            spans(size, side, self.halo_px, self.layout.stride) for size in (height_px, width_px)
        )
        self._inner.start(*(axis[0].stop - axis[0].start for axis in (self._rows, self._columns)))
        self._shape = (height_px, width_px)

    def infer(self, frames_adu: Array, features: Array) -> tuple[Array, Array]:
        """Frames (B, H, W) in ADU after features (2, C, h, w) -> maps (B, 10, H, W), features (2, C, h, w).

        Raises EngineError for another shape or type than started with.
        """
        if not self.is_tiled or self._shape is None:
            return self._inner.infer(frames_adu, features)
        self._check("frames", frames_adu, (len(frames_adu), *self._shape))
        self._check("features", features, (2, *self.layout.feature_shape(*self._shape)))
        maps = np.empty((len(frames_adu), N_MAPS, *self._shape), np.float32)
        for b in range(len(frames_adu)):
            features = self._one(frames_adu[b : b + 1], features, maps[b])
        return maps, features

    def zero_features(self) -> Array:
        """(2, C, h, w) zeros of the whole frame for the first call."""
        if self._shape is None:
            return self._inner.zero_features()  # refuses
        return np.zeros((2, *self.layout.feature_shape(*self._shape)), np.float32)

    def _one(self, frame_adu: Array, features: Array, maps: Array) -> Array:
        """Fill the maps (10, H, W) of one step; gives the features of the last two frames."""
        carried = np.empty_like(features)
        carried[0] = features[1]
        for row, column in self._tiles():
            here, own, kept = zip(row.parts(), column.parts(), strict=True)
            tile_maps, tile_features = self._inner.infer(frame_adu[:, *here], self._cut(features, row, column))
            maps[:, *own] = tile_maps[0][:, *kept]
            _, own, kept = zip(*(span.parts(self.layout.feature_stride) for span in (row, column)), strict=True)
            carried[1][:, *own] = tile_features[1][:, *kept]
        return carried

    def _cut(self, features: Array, row: Span, column: Span) -> Array:
        here = (span.parts(self.layout.feature_stride)[0] for span in (row, column))
        return features[:, :, *here]

    def _tiles(self) -> Iterator[tuple[Span, Span]]:
        return ((row, column) for row in self._rows for column in self._columns)

    def _check(self, what: str, array: Array, expected: tuple[int, ...]) -> None:
        if array.shape != expected or array.dtype != np.float32:
            raise EngineError(f"{self.name}: {what} are {array.dtype} {array.shape}, expected float32 {expected}")
