"""SMAP's `*_3dcal.mat` as MATLAB writes it, v7 by scipy and v7.3 byte layout by h5py; coefficients from the formula."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

F8 = NDArray[np.float64]


def smap_psf(rows: int = 13, slices: int = 21) -> F8:
    """(rows, columns, slices) as MATLAB holds the average bead: wide along dimension 0 in early slices, off-centre."""
    i, j, k = np.mgrid[0:rows, 0:rows, 0:slices].astype(float)
    half, middle = rows // 2, slices // 2
    wide0, wide1 = 1.6 + 0.06 * (middle - k), 1.6 - 0.06 * (middle - k)
    psf = np.exp(-((i - half - 0.3) ** 2) / (2 * wide0**2) - (j - half + 0.2) ** 2 / (2 * wide1**2))
    return np.asarray(psf / psf[:, :, middle].sum())


def smap_coefficients(psf: F8) -> F8:
    """Spline3D_interp: up to thirds by a not-a-knot spline, then for each cell 64 equations solved as it does."""
    fine = psf
    for axis, n in enumerate(psf.shape):
        fine = CubicSpline(np.arange(n), fine, axis=axis)(np.arange(3 * n - 2) / 3)
    thirds = np.arange(4) / 3
    equations = np.zeros((64, 64))
    for i in range(4):
        for j in range(4):
            for k in range(4):
                powers = [thirds[i] ** a * thirds[j] ** b * thirds[k] ** c
                          for a in range(4) for b in range(4) for c in range(4)]  # fmt: skip
                equations[i * 16 + j * 4 + k] = powers
    solve = np.linalg.inv(equations)
    coeff = np.zeros((*(n - 1 for n in psf.shape), 64))
    for at in np.ndindex(*coeff.shape[:3]):
        cell = fine[tuple(slice(3 * n, 3 * n + 4) for n in at)]
        coeff[at] = solve @ cell.ravel(order="F")  # reshape(temp, [64, 1]): dimension 0 runs fastest
    return coeff


def decode_value(coeff: F8, at: tuple[float, float, float]) -> float:
    """SplinePSF's evaluation: f(u0, u1, u2) = sum of coeff[floor u, c] d2^(c / 16) d1^(c / 4 % 4) d0^(c % 4)."""
    cell = [int(np.floor(u)) for u in at]
    d0, d1, d2 = (u - c for u, c in zip(at, cell, strict=True))
    powers = [d2 ** (c // 16) * d1 ** (c // 4 % 4) * d0 ** (c % 4) for c in range(64)]
    return float(coeff[cell[0], cell[1], cell[2]] @ powers)


def cspline_of(psf: F8, z0: int, dz_nm: float) -> dict[str, Any]:
    coeff = smap_coefficients(psf).astype(np.float32)
    return {"coeff": coeff, "dz": dz_nm, "z0": float(z0), "x0": float(psf.shape[0] // 2 + 1), "mirror": 0.0}


def write_v7(path: Path, cspline: dict[str, Any], *, cell: bool, um: list[float] | None, parts: int = 1) -> None:
    """`save(file, 'SXY', 'parameters', '-v7')`; several parts: SXY is a struct array over the field."""
    from scipy.io import savemat

    field = dict(cspline)
    if cell:
        field["coeff"] = np.empty((1, 1), object)
        field["coeff"][0, 0] = cspline["coeff"]
    one = {"cspline": field, "posind": [1.0, 1.0], "EMon": 1.0}
    sxy: Any = one
    if parts > 1:
        sxy = np.empty((1, parts), [(name, object) for name in one])
        for n in range(parts):
            sxy[0, n] = tuple(one.values())
    stated = {} if um is None else {"parameters": {"cam_pixelsize_um": um, "dz": cspline["dz"]}}
    savemat(path, {"SXY": sxy, **stated})


def write_v73(path: Path, cspline: dict[str, Any], *, cell: bool, um: list[float] | None, parts: int = 1) -> None:
    """The same with '-v7.3': 512 bytes of text before the HDF5, arrays transposed, cells as references into #refs#."""
    import h5py

    with h5py.File(path, "w", userblock_size=512) as file:
        refs = file.create_group("#refs#")
        sxy = _struct(file, "SXY")
        targets = [_struct(refs, f"p{n}") for n in range(parts)] if parts > 1 else [_struct(sxy, "cspline")]
        for target in targets:
            _fill(target, refs, cspline, cell)
        if parts > 1:
            sxy.create_dataset("cspline", data=np.array([[t.ref] for t in targets], h5py.ref_dtype))
        else:
            _array(sxy, "posind", np.array([[1.0, 1.0]]))
        if um is not None:
            _array(_struct(file, "parameters"), "cam_pixelsize_um", np.array([um]))
    head = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM"
    with path.open("r+b") as raw:
        raw.write(head)


def _fill(target: Any, refs: Any, cspline: dict[str, Any], cell: bool) -> None:
    import h5py

    for name, value in cspline.items():
        if name != "coeff" or not cell:
            _array(target, name, np.atleast_2d(value))
        else:
            held = _array(refs, f"c{len(refs)}", value)
            one = target.create_dataset(name, data=np.array([[held.ref]], h5py.ref_dtype))
            one.attrs["MATLAB_class"] = np.bytes_("cell")


def _struct(parent: Any, name: str) -> Any:
    group = parent.create_group(name)
    group.attrs["MATLAB_class"] = np.bytes_("struct")
    return group


def _array(parent: Any, name: str, values: NDArray[Any]) -> Any:
    made = parent.create_dataset(name, data=values.T)
    made.attrs["MATLAB_class"] = np.bytes_("single" if values.dtype == np.float32 else "double")
    return made
