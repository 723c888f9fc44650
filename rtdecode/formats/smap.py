"""SMAP's `*_3dcal.mat`, read (MATLAB v5 to v7.3) and written (v7): tricubic coefficients of each cell to our samples.

Layout (decode-method §4.2, SMAP's Spline3D_interp): struct SXY, field cspline: `coeff` X x Y x Z x 64 single, often
inside a 1 x 1 cell; dimension 0 = image rows; coefficient 16 a + 4 b + c belongs to d2^a d1^b d0^c, where d0, d1, d2
are the fractions of a cell along dimensions 0, 1, 2. `x0` is the centre sample counted from 1. A z in nm stands at
slice `z0` - z / `dz`, counted from 0 although SMAP notes it from 1, and both SMAP and DECODE take it so: larger z is
an earlier slice. We turn the slices round and keep the meaning of z, so that a model gives SMAP's and DECODE's z.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtdecode.core.errors import CalibrationError
from rtdecode.physics.psf import Psf, SplinePsf, spline_of

F8 = NDArray[np.float64]
_HDF5 = b"\x89HDF\r\n\x1a\n"
_FRACTIONS = np.array([0.0, 1 / 3, 2 / 3, 1.0])


def read_smap(path: Path, px_nm: tuple[float, float] | None = None) -> SplinePsf:
    """PSF of a `*_3dcal.mat`; px_nm (x, y) None: what the file states. z, light and scale are SMAP's.

    Raises CalibrationError for a foreign or damaged file and for one that holds several PSFs.
    """
    tree = _tree(path)
    cspline = _cspline(path, tree)
    coeff = np.asarray(_single(path, "coeff", cspline), np.float64)
    if coeff.ndim != 4 or coeff.shape[3] != 64 or coeff.shape[0] != coeff.shape[1]:
        raise _foreign(path, f"cspline.coeff of shape {coeff.shape}", "(N - 1, N - 1, slices - 1, 64)")
    dz_nm, z0 = (_number(path, cspline, name) for name in ("dz", "z0"))
    if dz_nm <= 0:
        raise _foreign(path, f"cspline.dz = {dz_nm:g}", "a positive slice distance in nm")
    samples = _middled(_samples(coeff), _number(path, cspline, "x0", coeff.shape[0] // 2 + 1) - 1, path)
    pixels = px_nm or _stated_px_nm(tree)
    if pixels is None:
        raise CalibrationError(f"{path}: states no pixel size; give --px-nm")
    backwards = np.ascontiguousarray(samples[::-1], np.float32)
    return SplinePsf.from_samples(backwards, dz_nm, len(samples) - 1 - z0, pixels)


def write_smap(path: Path, psf: Psf) -> None:
    """Write `psf` as SMAP and DECODE read it (MATLAB v7); a Gaussian is sampled every 10 nm."""
    from scipy.io import savemat

    spline = spline_of(psf)
    n_z = len(spline.coefficients)
    cell = np.empty((1, 1), object)
    cell[0, 0] = _coefficients(spline)
    z0 = n_z - 1 - spline.z0_index
    cspline = {"coeff": cell, "dz": spline.dz_nm, "z0": z0, "x0": float(spline.roi_px // 2 + 1), "mirror": 0.0}
    um = np.array(spline.px_nm) / 1000
    parameters = {"dz": spline.dz_nm, "fminmax": [1.0, float(n_z)], "ROIxy": float(spline.roi_px),
                  "cam_pixelsize_um": um}  # fmt: skip
    everywhere = [-np.inf, np.inf]
    sxy = {"cspline": cspline, "Xrange": everywhere, "Yrange": everywhere, "EMon": False}
    savemat(path, {"SXY": sxy, "parameters": parameters}, do_compression=True)


def _samples(coeff: F8) -> F8:
    """(Z, N, N) values at whole pixels: of the first corner of each cell, and of the last cells' far corners."""
    x, y, z, _ = coeff.shape
    c = coeff.reshape(x, y, z, 4, 4, 4)  # powers along dimensions 2, 1, 0
    samples = np.empty((x + 1, y + 1, z + 1))
    samples[:-1, :-1, :-1] = c[..., 0, 0, 0]
    samples[-1, :-1, :-1] = c[-1, :, :, 0, 0].sum(-1)
    samples[:-1, -1, :-1] = c[:, -1, :, 0, :, 0].sum(-1)
    samples[:-1, :-1, -1] = c[:, :, -1, :, 0, 0].sum(-1)
    samples[-1, -1, :-1] = c[-1, -1, :, 0].sum((-2, -1))
    samples[-1, :-1, -1] = c[-1, :, -1, :, 0].sum((-2, -1))
    samples[:-1, -1, -1] = c[:, -1, -1, :, :, 0].sum((-2, -1))
    samples[-1, -1, -1] = c[-1, -1, -1].sum()
    return samples.transpose(2, 0, 1)


def _coefficients(psf: SplinePsf) -> NDArray[np.float32]:
    """(N - 1, N - 1, Z - 1, 64) of the cells, slices turned round: the spline is cubic there, so this is exact."""
    n, n_z = psf.roi_px, len(psf.coefficients)
    powers = np.linalg.inv(_FRACTIONS[:, None] ** np.arange(4))  # values at 0, 1/3, 2/3, 1 to powers
    fine = _thirds(psf)[::-1].transpose(1, 2, 0)  # rows, columns, slices, each at thirds
    blocks = np.lib.stride_tricks.sliding_window_view(fine, (4, 4, 4))[::3, ::3, ::3]
    exact = np.einsum("xyzijk,ci,bj,ak->xyzabc", blocks, powers, powers, powers, optimize=True)
    return np.asfortranarray(exact.reshape(n - 1, n - 1, n_z - 1, 64), np.float32)


def _thirds(psf: SplinePsf) -> F8:
    """(3 Z - 2, 3 N - 2, 3 N - 2) values of the spline at every third of a slice and pixel."""
    from scipy.interpolate import CubicSpline

    values = psf.samples().astype(np.float64)
    for axis, n in enumerate(values.shape):
        # The B-spline with mirrored ends is the cubic spline with flat ends.
        flat = CubicSpline(np.arange(n), values, axis=axis, bc_type="clamped")
        values = flat(np.arange(3 * n - 2) / 3)
    return values


def _middled(samples: F8, centre: float, path: Path) -> F8:
    """Rows and columns cut so that sample `centre` is the middle of an odd side."""
    n = samples.shape[1]
    half = int(min(centre, n - 1 - centre))
    if centre != int(centre) or half < 3:
        raise _foreign(path, f"cspline.x0 = {centre + 1:g} in {n} samples", "a whole number near their middle")
    cut = slice(int(centre) - half, int(centre) + half + 1)
    return samples[:, cut, cut]


def _cspline(path: Path, tree: Mapping[str, Any]) -> Mapping[str, Any]:
    sxy = tree.get("SXY", tree)  # fit3Dcspline's own files have cspline at the top
    found = _single(path, "cspline", sxy) if isinstance(sxy, Mapping) else _one(path, sxy, "SXY").get("cspline")
    if not isinstance(found, Mapping):
        raise _foreign(path, f"the variables {sorted(tree)}", "a struct SXY with a field cspline")
    return found


def _single(path: Path, name: str, struct: Mapping[str, Any]) -> Any:
    if name not in struct:
        raise _foreign(path, f"the fields {sorted(struct)}", f"a field {name}")
    return _one(path, struct[name], name)


def _one(path: Path, value: Any, name: str) -> Any:
    """What is in a cell or struct array, which must have one element."""
    if not isinstance(value, list):
        return value
    if len(value) != 1:
        raise CalibrationError(
            f"{path}: {name} holds {len(value)} PSFs (channels, or parts of the field), a model is trained for one; "
            "save the wanted one alone in MATLAB: SXY = SXY(1)"
        )
    return _one(path, value[0], name)


def _number(path: Path, struct: Mapping[str, Any], name: str, default: float | None = None) -> float:
    if name not in struct and default is not None:
        return default
    value = np.asarray(_single(path, name, struct)).ravel()
    if value.size != 1 or not np.isfinite(float(value[0])):
        raise _foreign(path, f"cspline.{name} = {value[:3]}", "one number")
    return float(value[0])


def _stated_px_nm(tree: Mapping[str, Any]) -> tuple[float, float] | None:
    parameters = tree.get("parameters")
    um = parameters.get("cam_pixelsize_um") if isinstance(parameters, Mapping) else None
    if um is None or np.size(um) == 0:
        return None
    sides = np.asarray(um, float).ravel() * 1000
    return float(sides[0]), float(sides[-1])


def _tree(path: Path) -> dict[str, Any]:
    """Structs as dicts, cells and struct arrays as lists, numbers as arrays in MATLAB's order of dimensions."""
    try:
        with path.open("rb") as file:
            head = file.read(1024)
        if head[:8] == _HDF5 or head[512:520] == _HDF5:
            return _tree_of_hdf5(path)
        from scipy.io import loadmat

        found = loadmat(path, variable_names=["SXY", "cspline", "parameters"])
    except CalibrationError:
        raise
    except Exception as error:  # scipy raises many kinds for damaged bytes
        raise CalibrationError(f"{path}: cannot be read as a MATLAB file: {error}") from error
    return {name: _plain(value) for name, value in found.items() if not name.startswith("__")}


def _plain(value: Any) -> Any:
    """scipy's structured and object arrays as dicts and lists."""
    if not isinstance(value, np.ndarray):
        return value
    if value.dtype.names:
        structs = [{name: _plain(element[name]) for name in value.dtype.names} for element in value.ravel(order="F")]
        return structs[0] if len(structs) == 1 else structs
    if value.dtype == object:
        return [_plain(element) for element in value.ravel(order="F")]
    return value


def _tree_of_hdf5(path: Path) -> dict[str, Any]:
    try:
        import h5py
    except ImportError as error:
        raise CalibrationError(f'{path}: a v7.3 file needs h5py: pip install "rtdecode[formats]"') from error
    with h5py.File(path, "r") as file:
        return {name: _of_hdf5(file, file[name]) for name in ("SXY", "cspline", "parameters") if name in file}


def _of_hdf5(file: Any, node: Any) -> Any:
    """MATLAB writes arrays transposed, cells and struct arrays as references into #refs#."""
    import h5py

    if isinstance(node, h5py.Group):
        fields = {name: _of_hdf5(file, node[name]) for name in node}
        several = [
            v for name, v in fields.items() if _is_references(node[name], "MATLAB_class" not in node[name].attrs)
        ]
        if several and len(several) == len(fields):  # a struct array: every field a list of its elements' values
            return [dict(zip(fields, element, strict=True)) for element in zip(*fields.values(), strict=True)]
        return fields
    if _is_references(node, True):
        return [_of_hdf5(file, file[reference]) for reference in node[()].ravel()]
    if node.attrs.get("MATLAB_empty", 0):
        return np.zeros(0)
    return np.asarray(node[()]).T


def _is_references(node: Any, wanted: bool) -> bool:
    import h5py

    return wanted and isinstance(node, h5py.Dataset) and h5py.check_ref_dtype(node.dtype) is not None


def _foreign(path: Path, found: str, expected: str) -> CalibrationError:
    return CalibrationError(f"{path}: found {found}, expected {expected}: is this SMAP's *_3dcal.mat?")
