"""The standard evaluation of a bundle: fixed scenes, freshly simulated, through the fitter that runs live."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rtdecode.analysis.evaluate import Judged, Rules, judge, score_of
from rtdecode.analysis.honesty import QUANTITIES, errors, quantities
from rtdecode.core.camera import Camera
from rtdecode.core.config import DetectionConfig, EngineConfig
from rtdecode.core.errors import BundleError
from rtdecode.core.frames import Frame, FrameInfo, Roi
from rtdecode.core.localizations import EMITTER_DTYPE, Emitters, Localizations
from rtdecode.fit.bundle import ModelBundle
from rtdecode.fit.engines import REFERENCE, build
from rtdecode.fit.fitter import Fitter
from rtdecode.physics.camera import adu_from_photons
from rtdecode.physics.crlb import Bounds, crlb
from rtdecode.physics.psf import Psf, load_psf
from rtdecode.physics.render import expected_frames
from rtdecode.physics.simulate import PhotonConfig, SimulationConfig, simulate_clips
from rtdecode.physics.structures import Field

Frames = NDArray[np.uint16]
Report = Callable[[str], None]

BACKGROUND = 90.0  # photons per pixel in every scene
Z_NM = (-700.0, 700.0)
SHAPE_PX = (64, 64)
ISOLATED_SHAPE_PX = (40, 40)  # holds the whole PSF, at 0.4 times the cost
BOUND_EDGES_NM = (0.0, 15.0, 30.0, 60.0, np.inf)
SEED = (20160823, 1, 640, 90)
"""More words follow. A training seeds with two (its seed and the iteration), so no scene can occur in one."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is simulated; the default keeps the error of recall and Jaccard below 0.01."""

    frames: dict[float, int] = field(default_factory=lambda: {0.2: 1400, 1.0: 400, 2.0: 250})  # by density per um²
    isolated: int = 400  # emitters of each kind
    empty: int = 200  # frames
    seed: int = 0  # other numbers: other scenes of the same kind, to choose a threshold on or to see the spread


@dataclass(frozen=True, slots=True)
class Isolated:
    """Emitters alone in the field: each on for `frames_on` whole frames between empty ones, at random z."""

    photons: float
    frames_on: int


ISOLATED = {
    "one_frame": Isolated(5000, 1),
    "three_frames": Isolated(5000, 3),
    "dim": Isolated(1500, 1),
    "bright": Isolated(20000, 1),
}


def evaluate_bundle(
    bundle: ModelBundle,
    engine: EngineConfig = EngineConfig(),
    plan: Plan = Plan(),
    report: Report = lambda _: None,
    psf: Psf | None = None,
) -> dict[str, Any]:
    """Measure `bundle` on training-notes §2's conditions; a nested dict of plain numbers for its card.

    Uniform positions, z +-700 nm, 6000 +- 2500 photons per full frame, mean on-time 2 frames, so that partial
    exposures occur; background 90; the bundle's own camera and, unless another `psf` is given, its own PSF. Emitters
    of 100 photons and more count. A 2D PSF: z is neither matched nor judged, and left out of the figures. Bounds are
    the camera's (EM gain's excess noise included). Raises BundleError, EngineError.
    """
    began = time.monotonic()
    simulated = psf or load_psf(bundle.psf_path)
    _check_psf(bundle, simulated)

    def fit(frames: Frames) -> Localizations:
        return fit_frames(bundle, frames, engine)

    densities, isolated = {}, {}
    for density, n_frames in plan.frames.items():
        report(f"{n_frames} frames at {density:g} emitters per um²")
        densities[f"{density:g}"] = density_score(fit, simulated, bundle.camera, density, n_frames, plan.seed)
    for name, kind in ISOLATED.items():
        report(f"{plan.isolated} isolated emitters of {kind.photons:g} photons, on for {kind.frames_on} frames")
        isolated[name] = isolated_score(fit, simulated, bundle.camera, kind, plan.isolated, plan.seed)
    report(f"{plan.empty} empty frames")
    return {
        "conditions": _conditions(engine, plan.seed, simulated),
        "density_per_um2": densities,
        "isolated": isolated,
        "empty": empty_score(fit, simulated, bundle.camera, plan.empty, plan.seed),
        "seconds": round(time.monotonic() - began, 1),
    }


def _check_psf(bundle: ModelBundle, psf: Psf) -> None:
    if bundle.tells_z != psf.tells_z:
        words = ("2D", "3D") if psf.tells_z else ("3D", "2D")
        raise BundleError(
            f"{bundle.folder}: a {words[0]} model cannot be judged on a {words[1]} PSF; give one of its kind"
        )
    if not np.allclose(psf.px_nm, bundle.camera.px_nm, rtol=1e-3):
        sizes = [f"{x:g} x {y:g} nm" for x, y in (psf.px_nm, bundle.camera.px_nm)]
        raise BundleError(
            f"{bundle.folder}: the PSF is for pixels of {sizes[0]}, the model for {sizes[1]}; give its own"
        )


def fit_frames(
    bundle: ModelBundle,
    frames: Frames,
    engine: EngineConfig = EngineConfig(),
    detection: DetectionConfig | None = None,
) -> Localizations:
    """Localizations of (n, H, W) consecutive frames, numbered from 0, by the fitter that runs live."""
    roi = Roi(0, 0, width_px=frames.shape[2], height_px=frames.shape[1])
    fitter = Fitter(bundle, build(engine, bundle), roi, detection=detection)
    found = []
    for index, pixels in enumerate(frames):
        found += [f.localizations for f in fitter.push(Frame(FrameInfo(index, 0, 0), pixels))]
    return Localizations.concatenate(found + [f.localizations for f in fitter.finish()])


def rules_for(psf: Psf, field: Field | None = None) -> Rules:
    """The usual ones, without z where the PSF does not tell it."""
    return Rules(dims=3 if psf.tells_z else 2, field=field)


def density_score(
    fit: Callable[[Frames], Localizations], psf: Psf, camera: Camera, density: float, n_frames: int, seed: int = 0
) -> dict[str, Any]:
    """Score at one density (emitters per um² and frame), with recall by bound."""
    frames, emitters = density_movie(psf, camera, density, n_frames, seed)
    rules = rules_for(psf, Field.of_shape(*SHAPE_PX, camera.px_nm))
    judged = judge(emitters, fit(frames), frames=range(n_frames), rules=rules)
    bounds = bounds_of(psf, camera, judged.emitters, SHAPE_PX)
    return {**score_of(judged).as_dict(), "recall_by_bound_nm": recall_by_bound(judged, bounds)}


def density_movie(psf: Psf, camera: Camera, density: float, n_frames: int, seed: int = 0) -> tuple[Frames, Emitters]:
    """(n, 64, 64) ADU and its truth."""
    config = SimulationConfig(
        shape_px=SHAPE_PX,
        density_um2=(density, density),
        photons=PhotonConfig(mean=6000.0, sd=2500.0),
        z_nm=Z_NM,
        lifetime_frames=(2.0, 2.0),
        background=(BACKGROUND, BACKGROUND),
    )
    clips = simulate_clips(psf, camera, config, 1, n_frames, _rng(seed, int(density * 1000)))
    return clips.frames_adu[0], clips.emitters


def isolated_score(
    fit: Callable[[Frames], Localizations], psf: Psf, camera: Camera, kind: Isolated, n: int, seed: int = 0
) -> dict[str, Any]:
    """Errors of isolated emitters over their bound; of those on for longer, in the middle frame."""
    frames, emitters = isolated_movie(psf, camera, kind, n, seed)
    middle = emitters[kind.frames_on // 2 :: kind.frames_on]
    judged = judge(middle, fit(frames), frames=middle["frame_index"], rules=rules_for(psf))
    score = score_of(judged).as_dict()
    return {
        "photons": kind.photons,
        "frames_on": kind.frames_on,
        "recall": score["recall"],
        "localizations_per_emitter": len(judged.localizations) / max(1, len(judged.emitters)),
        "photon_ratio": score["photon_ratio"],
        **errors_over_bound(judged, bounds_of(psf, camera, judged.emitters, ISOLATED_SHAPE_PX)),
    }


def isolated_movie(psf: Psf, camera: Camera, kind: Isolated, n: int, seed: int = 0) -> tuple[Frames, Emitters]:
    """ADU frames (1 + n (frames_on + 1), 40, 40), and truth (n * frames_on) in the order of frames."""
    rng = _rng(seed, int(kind.photons), kind.frames_on)
    emitters = np.empty((n, kind.frames_on), EMITTER_DTYPE)
    emitters["frame_index"] = 1 + np.arange(n)[:, None] * (kind.frames_on + 1) + np.arange(kind.frames_on)
    for name, centre, px_nm in (
        ("x_nm", ISOLATED_SHAPE_PX[1] / 2, camera.px_nm[0]),
        ("y_nm", ISOLATED_SHAPE_PX[0] / 2, camera.px_nm[1]),
    ):
        emitters[name] = (centre + rng.uniform(-2, 2, (n, 1))) * px_nm
    emitters["z_nm"], emitters["photons"] = rng.uniform(*Z_NM, (n, 1)), kind.photons
    n_frames = 1 + n * (kind.frames_on + 1)
    light = expected_frames(psf, emitters.ravel(), 0, n_frames, ISOLATED_SHAPE_PX, camera.px_nm)
    return adu_from_photons(camera, light + np.float32(BACKGROUND), rng), emitters.ravel()


def empty_score(
    fit: Callable[[Frames], Localizations], psf: Psf, camera: Camera, n_frames: int, seed: int = 0
) -> dict[str, int]:
    """Localizations where there is nothing to find."""
    frames, _ = density_movie(psf, camera, 0.0, n_frames, seed)
    return {"frames": n_frames, "false_positives": len(fit(frames))}


def bounds_of(
    psf: Psf, camera: Camera, emitters: Emitters, shape: tuple[int, int], background: ArrayLike = BACKGROUND
) -> Bounds:
    """Single-frame bounds of each emitter as if it were alone; `background` in photons per pixel, one or (N,)."""
    position = (emitters["x_nm"], emitters["y_nm"], emitters["z_nm"])
    return crlb(psf, camera, *position, emitters["photons"], background, shape)


def recall_by_bound(judged: Judged, bounds: Bounds) -> dict[str, dict[str, float | None]]:
    """Recall, and share of all emitters, where the radial bound lies between two BOUND_EDGES_NM."""
    which = np.digitize(bounds.radial_nm, BOUND_EDGES_NM[1:-1])
    out: dict[str, dict[str, float | None]] = {}
    for k, (low, high) in enumerate(pairwise(BOUND_EDGES_NM)):
        here = which == k
        name = f"{low:g}-{high:g}" if np.isfinite(high) else f"above {low:g}"
        recall = float(judged.found[here].mean()) if here.any() else None
        out[name] = {"recall": recall, "share": float(here.mean()) if len(here) else None}
    return out


def errors_over_bound(judged: Judged, bounds: Bounds, z_range_nm: tuple[float, float] = Z_NM) -> dict[str, Any]:
    """Errors over bounds for x, y, z, photons: of all pairs and of five parts of the z range; neither z in 2D.

    `rmse_over_bound` is the RMSE in units of each emitter's own bound; `total_over_total` the RMSE in nm over the
    root mean square of the bounds in nm, in which the emitters far from focus weigh most.
    """
    rows, asked = judged.pairs[:, 0], quantities(judged)
    error = errors(judged)  # (K, 4)
    bound = np.column_stack([bounds.x_nm, bounds.y_nm, bounds.z_nm, bounds.photons])[rows]  # (K, 4)
    z_nm = judged.emitters["z_nm"][rows]
    edges = np.linspace(*z_range_nm, 6)
    parts = [
        {"z_nm": [float(low), float(high)], **_ratios(error, bound, asked, (z_nm >= low) & (z_nm < high))}
        for low, high in pairwise(edges if judged.dims == 3 else [])
    ]
    everywhere = np.ones(len(rows), bool)
    whole = [np.sqrt((v**2).mean(axis=0, keepdims=True)) if len(rows) else v for v in (error, bound)]  # (1, 4)
    total = _ratios(whole[0], whole[1], asked)
    return {"rmse_over_bound": _ratios(error, bound, asked, everywhere), "total_over_total": total, "by_z": parts}


def _ratios(
    error: NDArray[np.float64],
    bound: NDArray[np.float64],
    asked: tuple[str, ...],
    rows: NDArray[np.bool_] | slice = slice(None),
) -> dict[str, float | None]:
    columns = [QUANTITIES.index(name) for name in asked]
    chosen = (error[:, columns] / bound[:, columns])[rows]
    if not len(chosen):
        return dict.fromkeys(asked)
    return dict(zip(asked, np.sqrt((chosen**2).mean(axis=0)).tolist(), strict=True))


def _conditions(engine: EngineConfig, seed: int, psf: Psf) -> dict[str, Any]:
    return {
        "seed": seed,
        "psf": psf.summary(),
        "z_nm": list(Z_NM) if psf.tells_z else None,
        "photons_per_frame": "6000 +- 2500",
        "background": BACKGROUND,
        "mean_on_time_frames": 2.0,
        "min_photons": Rules().min_photons,
        "tolerance_nm": [Rules().lateral_nm, Rules().axial_nm] if psf.tells_z else [Rules().lateral_nm],
        "matching": Rules().method,
        "frame_px": list(SHAPE_PX),
        "engine": engine.use,
        "precision": engine.precision or REFERENCE,
    }


def _rng(*which: int) -> np.random.Generator:
    return np.random.default_rng((*SEED, *which))


def print_scores(scores: dict[str, Any]) -> None:
    """The result of `evaluate_bundle` as tables on the terminal."""
    from rich.console import Console

    console = Console()
    for table in (_density_table(scores), _isolated_table(scores)):
        console.print(table)
    empty = scores["empty"]
    console.print(f"{empty['false_positives']} false positives in {empty['frames']} empty frames")


def _density_table(scores: dict[str, Any]) -> Any:
    from rich.table import Table

    conditions, densities = scores["conditions"], scores["density_per_um2"]
    title = f"{conditions['photons_per_frame']} photons, background {conditions['background']:g}, "
    title += "z +-700 nm" if conditions["z_nm"] else "2D"
    table = Table("emitters per um² and frame", title=title)
    for density in densities:
        table.add_column(density, justify="right")
    for name, (key, digits) in _ROWS.items():
        if not conditions["z_nm"] and any(word in key for word in _OF_Z):
            continue
        table.add_row(name, *(_shown(one[key], digits) for one in densities.values()))
    bins = [list(one["recall_by_bound_nm"].items()) for one in densities.values()]
    for same_bin in zip(*bins, strict=True):
        table.add_row(f"recall, bound {same_bin[0][0]} nm", *(_shown(part["recall"], 3) for _, part in same_bin))
    return table


_ROWS = {
    "Jaccard": ("jaccard", 3),
    "precision": ("precision", 3),
    "recall": ("recall", 3),
    "RMSE lateral, nm": ("rmse_lateral_nm", 1),
    "RMSE axial, nm": ("rmse_axial_nm", 1),
    "efficiency lateral": ("efficiency_lateral", 3),
    "efficiency axial": ("efficiency_axial", 3),
    "efficiency 3D": ("efficiency_3d", 3),
    "z-score variance x": ("z_score_variance_x", 2),
    "z-score variance y": ("z_score_variance_y", 2),
    "z-score variance z": ("z_score_variance_z", 2),
    "z-score variance photons": ("z_score_variance_photons", 2),
    "photons found / true": ("photon_ratio", 3),
}
"""Row of the table: key of the score, digits."""
_OF_Z = ("axial", "3d", "variance_z")
"""In the keys that have no number in 2D."""


def _isolated_table(scores: dict[str, Any]) -> Any:
    from rich.table import Table

    table = Table(title="isolated emitters; RMSE over the single-frame bound: in each one's own / of all nm")
    axes = "xyz" if scores["conditions"]["z_nm"] else "xy"
    for name in ("photons", "frames on", "recall", "found each", "photon ratio", *axes):
        table.add_column(name, justify="right")
    for one in scores["isolated"].values():
        table.add_row(
            f"{one['photons']:g}",
            str(one["frames_on"]),
            *(_shown(one[name]) for name in ("recall", "localizations_per_emitter", "photon_ratio")),
            *(f"{_shown(one['rmse_over_bound'][a], 2)} / {_shown(one['total_over_total'][a], 2)}" for a in axes),
        )
    return table


def _shown(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
