"""Which localization belongs to which emitter: per frame, within a tolerance, each used once."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from rtdecode.core.localizations import Emitters, Localizations

Method = Literal["optimal", "greedy"]
Pairs = NDArray[np.intp]
"""(K, 2): row of the emitter, row of the localization; sorted by emitter."""
F8 = NDArray[np.float64]


def match(
    emitters: Emitters,
    localizations: Localizations,
    *,
    lateral_nm: float = 250.0,
    axial_nm: float = 500.0,
    method: Method = "optimal",
    dims: Literal[2, 3] = 3,
) -> Pairs:
    """Pairs (K, 2) of (emitter row, localization row) in the same frame and within both tolerances (inclusive).

    The distance of a pair is Euclidean in nm over x, y, z (`dims` 3) or x, y (2: z and `axial_nm` are not looked at).
    "optimal": as many pairs as possible, and of those the smallest sum of distances (Hungarian algorithm).
    "greedy": the closest pair first, then the closest of what is left (DECODE's way, decode-method §8).
    Rows whose position is not finite pair with nothing.
    """
    rows, columns, distance = _admissible(
        _positions(emitters, dims), _positions(localizations, dims), lateral_nm, axial_nm
    )
    chosen = _greedy(rows, columns, distance) if method == "greedy" else _optimal(rows, columns, distance)
    pairs = np.column_stack([rows[chosen], columns[chosen]]).astype(np.intp)
    return pairs[np.argsort(pairs[:, 0], kind="stable")]


def _positions(table: Emitters | Localizations, dims: int) -> F8:
    """(N, 4) frame, x, y, z; z is 0 in 2D."""
    names = ("frame_index", "x_nm", "y_nm", "z_nm")
    columns = [getattr(table, n) if isinstance(table, Localizations) else table[n] for n in names]
    columns[3] = columns[3] if dims == 3 else np.zeros(len(table))
    return np.column_stack(columns).astype(np.float64)


def _admissible(
    emitters: F8, localizations: F8, lateral_nm: float, axial_nm: float
) -> tuple[NDArray[np.intp], NDArray[np.intp], F8]:
    """(emitter row, localization row, distance) of every pair that may be matched.

    One KD-tree for all frames: the frame is a third axis on which neighbours lie ten tolerances apart.
    """
    far = 10.0 * lateral_nm + 1.0
    rows = np.flatnonzero(np.isfinite(emitters).all(axis=1))
    columns = np.flatnonzero(np.isfinite(localizations).all(axis=1))
    trees = [cKDTree(t[k][:, [1, 2, 0]] * [1, 1, far]) for t, k in ((emitters, rows), (localizations, columns))]
    near = trees[0].sparse_distance_matrix(trees[1], lateral_nm * (1 + 1e-9) + 1e-9, output_type="ndarray")
    row, column = rows[near["i"]], columns[near["j"]]
    error = localizations[column] - emitters[row]  # (P, 4)
    lateral = np.hypot(error[:, 1], error[:, 2])
    allowed = (lateral <= lateral_nm) & (np.abs(error[:, 3]) <= axial_nm) & (error[:, 0] == 0)
    distance = np.hypot(lateral, error[:, 3])
    order = np.lexsort((column[allowed], row[allowed]))  # the answer must not depend on the tree's order
    return row[allowed][order], column[allowed][order], distance[allowed][order]


def _greedy(rows: NDArray[np.intp], columns: NDArray[np.intp], distance: F8) -> NDArray[np.intp]:
    """Which of the admissible pairs are taken when the closest goes first."""
    used_rows: set[int] = set()
    used_columns: set[int] = set()
    chosen = []
    for k in np.argsort(distance, kind="stable").tolist():
        row, column = int(rows[k]), int(columns[k])
        if row not in used_rows and column not in used_columns:
            used_rows.add(row)
            used_columns.add(column)
            chosen.append(k)
    return np.array(chosen, np.intp)


def _optimal(rows: NDArray[np.intp], columns: NDArray[np.intp], distance: F8) -> NDArray[np.intp]:
    """Which pairs an optimal assignment takes, solved for each connected group by itself: groups are small."""
    if not len(rows):
        return np.empty(0, np.intp)
    _, row = np.unique(rows, return_inverse=True)
    _, column = np.unique(columns, return_inverse=True)
    n_rows, n = int(row.max()) + 1, int(row.max()) + int(column.max()) + 2
    graph = coo_matrix((np.ones(len(row)), (row, column + n_rows)), shape=(n, n))
    group = connected_components(graph, directed=False)[1][row]  # (P,)
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    parts = np.split(order, starts[1:])
    return np.concatenate([p if len(p) == 1 else _assign(row, column, distance, p) for p in parts])


def _assign(row: NDArray[np.intp], column: NDArray[np.intp], distance: F8, pairs: NDArray[np.intp]) -> NDArray[np.intp]:
    """Those of the `pairs` of one group that the assignment takes."""
    rows, at_row = np.unique(row[pairs], return_inverse=True)
    columns, at_column = np.unique(column[pairs], return_inverse=True)
    # A forbidden pair costs more than all allowed ones together: the number of pairs comes first.
    forbidden = float(distance[pairs].sum()) + 1.0
    cost = np.full((len(rows), len(columns)), forbidden)
    which = np.full(cost.shape, -1, np.intp)
    cost[at_row, at_column], which[at_row, at_column] = distance[pairs], pairs
    taken = which[linear_sum_assignment(cost)]
    return np.asarray(taken[taken >= 0])
