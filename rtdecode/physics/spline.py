"""Cubic B-spline kernels: sum PSFs into frames, evaluate one PSF and its derivatives."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

F4 = NDArray[np.float32]
F8 = NDArray[np.float64]


@numba.njit(cache=True, nogil=True, inline="always")  # type: ignore[untyped-decorator]
def _weights(t: float, order: int, w: F8) -> None:
    """The four cubic B-spline weights (order 0) or their derivatives (order 1) at fraction t of a cell."""
    s = 1.0 - t
    if order == 0:
        w[0] = s * s * s / 6.0
        w[1] = (4.0 - 6.0 * t * t + 3.0 * t * t * t) / 6.0
        w[2] = (4.0 - 6.0 * s * s + 3.0 * s * s * s) / 6.0
        w[3] = t * t * t / 6.0
    else:
        w[0] = -s * s / 2.0
        w[1] = (-4.0 * t + 3.0 * t * t) / 2.0
        w[2] = (4.0 * s - 3.0 * s * s) / 2.0
        w[3] = t * t / 2.0


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _mix_slices(coefficients: F4, uz: float, order: int, w: F8, mixed: F4) -> None:
    """Blend the four slices around uz (in slices) into `mixed` (Y, X); mirrored at the ends of the table."""
    n_z, n_y, n_x = coefficients.shape
    cell = min(max(int(np.floor(uz)), 0), n_z - 2)
    _weights(uz - cell, order, w)
    k = np.empty(4, np.int64)
    for m in range(4):
        k[m] = abs(cell - 1 + m)
        if k[m] > n_z - 1:
            k[m] = 2 * (n_z - 1) - k[m]
    w0, w1, w2, w3 = np.float32(w[0]), np.float32(w[1]), np.float32(w[2]), np.float32(w[3])
    a, b, c, d = coefficients[k[0]], coefficients[k[1]], coefficients[k[2]], coefficients[k[3]]
    for i in range(n_y):
        for j in range(n_x):
            mixed[i, j] = w0 * a[i, j] + w1 * b[i, j] + w2 * c[i, j] + w3 * d[i, j]


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _add_one(
    frame: F4, mixed: F4, y: float, x: float, weight: float, order_y: int, order_x: int, w: F8, rows: F4
) -> None:
    """Add weight * spline(mixed) at (y, x) px to `frame`; pixels beyond the table get nothing."""
    n_y, n_x = mixed.shape
    cy, cx = n_y // 2, n_x // 2  # table index of the emitter's own position
    i0, j0 = int(np.ceil(y - cy)), int(np.ceil(x - cx))  # first frame pixel inside the table
    i1, j1 = (
        min(frame.shape[0], int(np.floor(y + n_y - 1 - cy)) + 1),
        min(frame.shape[1], int(np.floor(x + n_x - 1 - cx)) + 1),
    )
    top, left = max(i0, 0), max(j0, 0)
    if top >= i1 or left >= j1:
        return
    uy, ux = top - y + cy, left - x + cx  # table position of the first pixel; later ones are whole steps away
    ky, kx = int(np.floor(uy)), int(np.floor(ux))
    _weights(ux - kx, order_x, w)
    w0, w1, w2, w3 = np.float32(w[0]), np.float32(w[1]), np.float32(w[2]), np.float32(w[3])
    n_rows, n_columns = i1 - top, j1 - left
    first, last = ky - 1, ky + 2 + n_rows - 1  # table rows that are needed
    for k in range(first, last + 1):
        for j in range(n_columns):
            rows[k - first, j] = np.float32(0.0)
        if 0 <= k < n_y:
            for j in range(n_columns):
                m = kx + j
                value = np.float32(0.0)
                if m >= 1 and m + 2 < n_x:
                    value = w0 * mixed[k, m - 1] + w1 * mixed[k, m] + w2 * mixed[k, m + 1] + w3 * mixed[k, m + 2]
                else:
                    if 0 <= m - 1 < n_x:
                        value += w0 * mixed[k, m - 1]
                    if 0 <= m < n_x:
                        value += w1 * mixed[k, m]
                    if 0 <= m + 1 < n_x:
                        value += w2 * mixed[k, m + 1]
                    if 0 <= m + 2 < n_x:
                        value += w3 * mixed[k, m + 2]
                rows[k - first, j] = value
    _weights(uy - ky, order_y, w)
    w0, w1 = np.float32(w[0] * weight), np.float32(w[1] * weight)
    w2, w3 = np.float32(w[2] * weight), np.float32(w[3] * weight)
    for i in range(n_rows):
        for j in range(n_columns):
            frame[top + i, left + j] += (
                w0 * rows[i, j] + w1 * rows[i + 1, j] + w2 * rows[i + 2, j] + w3 * rows[i + 3, j]
            )


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def add_spots(
    frames: F4,
    frame_number: NDArray[np.int64],
    y_px: F8,
    x_px: F8,
    slice_position: F8,
    weight: F8,
    coefficients: F4,
    order_z: int,
    order_y: int,
    order_x: int,
) -> None:
    """Add N spots to `frames` (n, H, W) in place; frame_number, positions (px, slices) and weights are (N,).

    `order` 1 takes the derivative along that axis of the *table*: the derivative with respect to the
    emitter's y or x is its negative. About 3 µs for each spot at 37 x 37 px.
    """
    n_y, n_x = coefficients.shape[1:]
    mixed = np.empty((n_y, n_x), np.float32)
    rows = np.empty((n_y + 4, n_x + 4), np.float32)
    w = np.empty(4, np.float64)
    for n in range(len(frame_number)):
        _mix_slices(coefficients, slice_position[n], order_z, w, mixed)
        _add_one(frames[frame_number[n]], mixed, y_px[n], x_px[n], weight[n], order_y, order_x, w, rows)


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def value_and_slopes(
    coefficients: F4, y_px: float, x_px: float, slice_position: float, out: F4, mixed: F4, rows: F4, w: F8
) -> None:
    """Fill `out` (4, n, n) with one spot in a patch: value, and derivatives by the emitter's x, y (px), and slice.

    Scratch that the caller keeps: mixed (Y, X), rows (Y + 4, X + 4), w (4,).
    """
    out[:] = np.float32(0.0)
    _mix_slices(coefficients, slice_position, 0, w, mixed)
    _add_one(out[0], mixed, y_px, x_px, 1.0, 0, 0, w, rows)
    _add_one(out[1], mixed, y_px, x_px, -1.0, 0, 1, w, rows)
    _add_one(out[2], mixed, y_px, x_px, -1.0, 1, 0, w, rows)
    _mix_slices(coefficients, slice_position, 1, w, mixed)
    _add_one(out[3], mixed, y_px, x_px, 1.0, 0, 0, w, rows)
