"""The judge: movies of scenes that no training draws, through bundles and a single-emitter fit, to figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rtdecode.analysis import honesty
from rtdecode.analysis.evaluate import Judged, judge, score_of
from rtdecode.analysis.single_fit import SingleEmitterFit
from rtdecode.core.camera import Camera
from rtdecode.core.config import DetectionConfig, EngineConfig
from rtdecode.core.localizations import Localizations
from rtdecode.fit.bundle import PSF, ModelBundle, RecommendedFilter
from rtdecode.physics.judge_scenes import Movie, SceneConfig, flash_movie, lone_movie, structure_movie
from rtdecode.physics.psf import Psf, load_psf
from rtdecode.physics.structures import Field
from rtdecode.train.benchmark_config import BenchmarkConfig
from rtdecode.train.score import Frames, Report, bounds_of, errors_over_bound, fit_frames, recall_by_bound, rules_for

F8 = NDArray[np.float64]
Figures = dict[str, Any]

Z_BINS = 7
PHOTON_EDGES = (100.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0, 16000.0, math.inf)
BACKGROUND_BINS = 4
SUBPIXEL_BINS = 10
CHANCE_UM2 = 1.0  # at 4 per um^2 a guess anywhere lies within 250 and 500 nm of an emitter more often than not
TAKE_SIGNAL, TAKE_LONE, TAKE_FLASH = 1_000_000, 2_000_000, 3_000_000  # densities take what is below


@dataclass(frozen=True, slots=True)
class Contestant:
    """A name on the tables. `fit` gives localizations down to a low probability; `accept` is what counts."""

    name: str
    fit: Callable[[Frames], Localizations]
    accept: float
    recommended: RecommendedFilter
    about: Figures

    def accepted(self, found: Localizations) -> Localizations:
        """Those that it would report; in float32, as the fitter compares."""
        return found[found.probability >= np.float32(self.accept)]


@dataclass(frozen=True, slots=True)
class Bench:
    """One PSF and camera, and whoever is judged on them."""

    psf: Psf
    camera: Camera
    contestants: tuple[Contestant, ...]

    def bounds_of(self, movie: Movie, judged: Judged) -> Any:
        """Single-frame bounds of what counts, with the background that lies below each."""
        below = movie.background_at(judged.emitters, self.camera.px_nm)
        return bounds_of(self.psf, self.camera, judged.emitters, movie.background.shape, below)


def run_benchmark(
    config: BenchmarkConfig, bundles: Sequence[ModelBundle], report: Report = lambda _: None
) -> dict[str, Figures]:
    """Figures of each contestant by name, plain numbers and None; see the module's functions for each part.

    On a PSF that tells no z (2D) z is neither matched nor judged: its figures are None or left out.

    Bundles with the same PSF and camera see the same movies and share one floor. Raises BundleError,
    CalibrationError, EngineError.
    """
    out: dict[str, Figures] = {}
    for bench in benches_of(config, bundles):
        for contestant in bench.contestants:
            out[contestant.name] = {"about": contestant.about}
        for name, part in _PARTS.items():
            for contestant, figures in part(config, bench, report):
                out[contestant.name][name] = figures
        for contestant in bench.contestants:
            _pool_reliability(out[contestant.name])
    return out


def benches_of(config: BenchmarkConfig, bundles: Sequence[ModelBundle]) -> list[Bench]:
    """Bundles by PSF and camera, in the order given, each with its floor; names that stand twice get numbers."""
    groups: dict[tuple[str, str], list[tuple[str, ModelBundle]]] = {}
    for name, bundle in zip(_unique([b.name for b in bundles]), bundles, strict=True):
        key = (bundle.card.files.get(PSF, ""), bundle.camera.model_dump_json())
        groups.setdefault(key, []).append((name, bundle))
    benches = []
    for number, group in enumerate(groups.values(), start=1):
        first = group[0][1]
        psf, camera = load_psf(first.psf_path), first.camera
        found = [_of_bundle(bundle, name, config) for name, bundle in group]
        if config.floor:
            name = "single-emitter fit" if len(groups) == 1 else f"single-emitter fit {number}"
            found.append(floor_of(psf, camera, first.card.recommended_filter, name))
        benches.append(Bench(psf, camera, tuple(found)))
    return benches


def floor_of(psf: Psf, camera: Camera, recommended: RecommendedFilter, name: str) -> Contestant:
    """The least-squares fit: one emitter for each maximum."""
    about = {"kind": "weighted least squares, one emitter for each maximum"}
    return Contestant(name, SingleEmitterFit(psf, camera), 0.0, recommended, about)


def _of_bundle(bundle: ModelBundle, name: str, config: BenchmarkConfig) -> Contestant:
    accept = bundle.detection.accept
    lowest = DetectionConfig(accept=min(config.lowest_probability, accept) or None)
    engine: EngineConfig = config.engine

    def fit(frames: Frames) -> Localizations:
        return fit_frames(bundle, frames, engine, lowest)

    about = {"kind": "bundle", "identity": bundle.sha256, "accept": accept, "engine": engine.model_dump()}
    return Contestant(name, fit, accept, bundle.card.recommended_filter, about)


def densities(config: BenchmarkConfig, bench: Bench, report: Report) -> Iterable[tuple[Contestant, Figures]]:
    """By density: score, sigmas, recall by bound, and by z, photons and background of the emitters."""
    figures: dict[str, Figures] = {c.name: {} for c in bench.contestants}
    for wanted in config.densities:
        report(f"{wanted.frames} frames at {wanted.per_um2:g} emitters per um²")
        take = round(wanted.per_um2 * 1000)
        movie = structure_movie(bench.psf, bench.camera, config.scene, wanted.per_um2, wanted.frames, config.seed, take)
        for contestant in bench.contestants:
            figures[contestant.name][f"{wanted.per_um2:g}"] = _of_movie(config.scene, bench, movie, contestant)
    return [(c, figures[c.name]) for c in bench.contestants]


def _of_movie(scene: SceneConfig, bench: Bench, movie: Movie, contestant: Contestant) -> Figures:
    everything = contestant.fit(movie.frames_adu)
    candidates = _judged(bench, movie, everything)
    judged = _judged(bench, movie, contestant.accepted(everything))
    bounds = bench.bounds_of(movie, judged)
    below = movie.background_at(judged.emitters, bench.camera.px_nm)
    curve = honesty.reliability(candidates.localizations.probability, honesty.truths(candidates))
    return {
        **score_of(judged).as_dict(),
        "sigma": honesty.sigma_calibration(judged),
        "recall_by_bound_nm": recall_by_bound(judged, bounds),
        "by_z_nm": binned(judged, judged.emitters["z_nm"], _closed(np.linspace(*scene.z_nm, Z_BINS + 1)))
        if bench.psf.tells_z
        else [],
        "by_photons": binned(judged, judged.emitters["photons"], PHOTON_EDGES),
        "by_background": binned(judged, below, _edges(below, BACKGROUND_BINS)),
        "reliability": curve,
        "calibration_error": honesty.calibration_error(curve),
    }


def binned(judged: Judged, of_emitter: ArrayLike, edges: ArrayLike) -> list[Figures]:
    """Recall and RMSE (lateral, radial; axial) of the emitters whose value lies between two edges."""
    values, rows = np.asarray(of_emitter, np.float64), judged.pairs[:, 0]
    error = judged.errors_nm()
    out = []
    for low, high in pairwise(np.asarray(edges, np.float64)):
        here, pair = (values >= low) & (values < high), (values[rows] >= low) & (values[rows] < high)
        out.append({
            "from": float(low), "to": float(high) if math.isfinite(high) else None, "n": int(here.sum()),
            "recall": float(judged.found[here].mean()) if here.any() else None,
            "rmse_lateral_nm": _rms(np.hypot(error[pair, 0], error[pair, 1])),
            "rmse_axial_nm": _rms(error[pair, 2]),
        })  # fmt: skip
    return out


def signals(config: BenchmarkConfig, bench: Bench, report: Report) -> Iterable[tuple[Contestant, list[Figures]]]:
    """The score at each brightness and background."""
    figures: dict[str, list[Figures]] = {c.name: [] for c in bench.contestants}
    pairs = [(p, b) for p in config.signal.photons_mean for b in config.signal.background]
    for number, (photons, level) in enumerate(pairs):
        report(f"{config.signal.frames} frames with {photons:g} photons on average over a background of {level:g}")
        spread = config.scene.photons_spread / config.scene.photons_mean * photons
        background = config.scene.background.model_copy(update={"level": level})
        changed = {"photons_mean": photons, "photons_spread": spread, "background": background}
        scene = config.scene.model_copy(update=changed)
        size = (config.signal.per_um2, config.signal.frames, config.seed, TAKE_SIGNAL + number)
        movie = structure_movie(bench.psf, bench.camera, scene, *size)
        for contestant in bench.contestants:
            judged = _judged(bench, movie, contestant.accepted(contestant.fit(movie.frames_adu)))
            at = {"photons_mean": photons, "background_level": level}
            figures[contestant.name].append({**at, **score_of(judged).as_dict()})
    return [(c, figures[c.name]) for c in bench.contestants]


def isolated(config: BenchmarkConfig, bench: Bench, report: Report) -> Iterable[tuple[Contestant, Figures]]:
    """Lone emitters: errors over bounds, splits, sigmas, and bias of x, y, z, photons against place, z, photons."""
    scene = config.scene.model_copy(update={"z_nm": config.isolated.z_nm, "background": config.isolated.background})
    seen: dict[str, list[tuple[Judged, F8]]] = {c.name: [] for c in bench.contestants}
    figures: dict[str, Figures] = {c.name: {} for c in bench.contestants}
    for number, photons in enumerate(config.isolated.photons):
        report(f"{config.isolated.emitters} lone emitters of {photons:g} photons")
        seed = seed_of(config.seed, TAKE_LONE + number)
        movie = lone_movie(bench.psf, bench.camera, scene, photons, config.isolated.emitters, seed)
        for contestant in bench.contestants:
            found = contestant.accepted(contestant.fit(movie.frames_adu))
            judged = judge(movie.emitters, found, frames=movie.emitters["frame_index"], rules=rules_for(bench.psf))
            bounds = bench.bounds_of(movie, judged)
            figures[contestant.name][f"{photons:g}"] = _of_lone(judged, bounds, config.isolated.z_nm)
            bound = np.column_stack([bounds.x_nm, bounds.y_nm, bounds.z_nm, bounds.photons])[judged.pairs[:, 0]]
            seen[contestant.name].append((judged, bound))
    return [
        (c, {"by_photons": figures[c.name], "bias": _biases(seen[c.name], config.isolated.z_nm, bench.camera.px_nm)})
        for c in bench.contestants
    ]


def _of_lone(judged: Judged, bounds: Any, z_nm: tuple[float, float]) -> Figures:
    score = score_of(judged).as_dict()
    return {
        **honesty.copies(judged),
        "photon_ratio": score["photon_ratio"],
        **errors_over_bound(judged, bounds, z_nm),
        "sigma": honesty.sigma_calibration(judged),
    }


def _biases(seen: list[tuple[Judged, F8]], z_nm: tuple[float, float], px_nm: tuple[float, float]) -> Figures:
    """Of all lone emitters together, each weighted by its bound; photons relative to the truth."""
    truth = np.concatenate([judged.emitters[judged.pairs[:, 0]] for judged, _ in seen])
    error = np.concatenate([honesty.errors(judged) for judged, _ in seen])  # (K, 4)
    bound = np.concatenate([bound for _, bound in seen])
    for column in (error, bound):
        column[:, 3] /= truth["photons"]
    weight = np.where(np.isfinite(bound), 1.0 / np.maximum(bound, 1e-12) ** 2, 0.0)
    levels = np.unique(truth["photons"])
    z_edges, pixel_edges = np.linspace(*z_nm, 9), np.linspace(-0.5, 0.5, SUBPIXEL_BINS + 1)
    known = tuple(honesty.QUANTITIES.index(name) for name in honesty.quantities(seen[0][0]))
    against: dict[str, tuple[F8, ArrayLike, tuple[int, ...]]] = {
        "x_in_pixel": (honesty.in_pixel(truth["x_nm"], px_nm[0]), pixel_edges, (0, 2)),
        "y_in_pixel": (honesty.in_pixel(truth["y_nm"], px_nm[1]), pixel_edges, (1, 2)),
        "z_nm": (truth["z_nm"].astype(np.float64), z_edges, (0, 1, 2, 3)),
        "photons": (truth["photons"].astype(np.float64), np.append(levels * 0.999, np.inf), (0, 1, 2, 3)),
    }
    out: Figures = {}
    for name, (where, edges, columns) in against.items():
        if name == "z_nm" and 2 not in known:
            continue
        out[name] = {}
        for i in (i for i in columns if i in known):
            bins = honesty.bias(error[:, i], where, edges, weight[:, i])
            out[name][honesty.QUANTITIES[i]] = {**honesty.bias_summary(bins), "bins": _plain_edges(bins)}
    return out


def uniformity(config: BenchmarkConfig, bench: Bench, report: Report) -> Iterable[tuple[Contestant, Figures]]:
    """Places within the pixel of what the recommended filter leaves, one pixel away from the rim."""
    figures: dict[str, Figures] = {c.name: {} for c in bench.contestants}
    for number, density in enumerate(config.grid.densities):
        area_um2 = Field.of_shape(*config.scene.shape_px, bench.camera.px_nm).area_um2
        n_frames = max(4, math.ceil(config.grid.localizations / (density * area_um2)))
        report(f"{n_frames} frames of flashes at {density:g} per um²")
        seed = seed_of(config.seed, TAKE_FLASH + number)
        movie = flash_movie(bench.psf, bench.camera, config.scene, density, n_frames, seed)
        for contestant in bench.contestants:
            found = filtered(contestant.accepted(contestant.fit(movie.frames_adu)), contestant.recommended)
            found = found[_inner(movie, bench.camera.px_nm, found)]
            figures[contestant.name][f"{density:g}"] = honesty.grid_artefact(found, bench.camera.px_nm)
    return [(c, figures[c.name]) for c in bench.contestants]


def filtered(found: Localizations, recommended: RecommendedFilter) -> Localizations:
    """What a bundle's recommended filter leaves."""
    kept = np.ones(len(found), bool)
    if (most := recommended.sigma_xy_max_nm) is not None:
        kept &= (found.sigma_x_nm <= most) & (found.sigma_y_nm <= most)
    if (most := recommended.sigma_z_max_nm) is not None:
        kept &= found.sigma_z_nm <= most
    return found[kept]


_PARTS: dict[str, Callable[[BenchmarkConfig, Bench, Report], Iterable[tuple[Contestant, Any]]]] = {
    "density_per_um2": densities,
    "signal_background": signals,
    "isolated": isolated,
    "grid": uniformity,
}


def summary_of(figures: Figures, config: BenchmarkConfig) -> Figures:
    """What a bundle's card keeps of its figures: without the bins."""
    kept = ("n_emitters", "jaccard", "precision", "recall", "rmse_lateral_nm", "rmse_axial_nm", "efficiency_lateral",
            "efficiency_axial", "efficiency_3d", "calibration_error", "sigma")  # fmt: skip
    return {
        "seed": config.seed,
        "density_per_um2": {d: {k: one[k] for k in kept} for d, one in figures["density_per_um2"].items()},
        "isolated": {
            n: {k: one[k] for k in ("recall", "split", "photon_ratio", "rmse_over_bound", "total_over_total")}
            for n, one in figures["isolated"]["by_photons"].items()
        },
        "bias": {
            where: {q: {k: b[k] for k in ("rms", "largest", "largest_se")} for q, b in of.items()}
            for where, of in figures["isolated"]["bias"].items()
        },
        "grid": {
            d: {axis: {k: v for k, v in one.items() if k != "histogram"} for axis, one in axes.items()}
            for d, axes in figures["grid"].items()
        },
        "reliability": figures["reliability"],
    }


def _judged(bench: Bench, movie: Movie, found: Localizations) -> Judged:
    height, width = movie.background.shape
    rules = rules_for(bench.psf, Field.of_shape(height, width, bench.camera.px_nm))
    return judge(movie.emitters, found, frames=range(len(movie.frames_adu)), rules=rules)


def _pool_reliability(figures: Figures) -> None:
    """One curve over the densities up to CHANCE_UM2 (all where there is none), and its calibration error."""
    by_density = figures["density_per_um2"]
    sparse = [density for density in by_density if float(density) <= CHANCE_UM2] or list(by_density)
    curves = [by_density[density]["reliability"] for density in sparse]
    cells: dict[int, list[Figures]] = {}
    for curve in curves:
        for cell in curve:
            cells.setdefault(min(int(cell["stated"] * 10), 9), []).append(cell)
    pooled = []
    for _, same in sorted(cells.items()):
        n = sum(cell["n"] for cell in same)
        pooled.append({k: sum(cell[k] * cell["n"] for cell in same) / n for k in ("stated", "true")} | {"n": n})
    figures["reliability"] = pooled
    figures["calibration_error"] = honesty.calibration_error(pooled)


def _inner(movie: Movie, px_nm: tuple[float, float], found: Localizations) -> NDArray[np.bool_]:
    """At least one whole pixel away from the rim, so that every place within a pixel has the same share."""
    height, width = movie.background.shape
    x, y = found.x_nm / px_nm[0], found.y_nm / px_nm[1]
    return np.asarray((x >= 0.5) & (x < width - 1.5) & (y >= 0.5) & (y < height - 1.5))


def seed_of(seed: int, take: int) -> int:
    """Of one movie: `take` is TAKE_LONE or TAKE_FLASH and the number of the brightness or density."""
    return int(np.random.SeedSequence((seed, take)).generate_state(1)[0])


def _edges(values: F8, n: int) -> F8:
    """Of n bins with the same share of the values each."""
    if not len(values):
        return np.array([0.0, 1.0])
    return _closed(np.unique(np.quantile(values, np.linspace(0, 1, n + 1))))


def _closed(edges: F8) -> F8:
    """The same edges, of which the last is in the last bin."""
    return np.append(edges[:-1], np.nextafter(edges[-1], np.inf))


def _rms(values: F8) -> float | None:
    """None of nothing, and of z in 2D."""
    return float(np.sqrt(np.mean(values**2))) if len(values) and np.isfinite(values).all() else None


def _plain_edges(bins: list[Figures]) -> list[Figures]:
    return [b | {"to": b["to"] if math.isfinite(b["to"]) else None} for b in bins]


def _unique(names: list[str]) -> list[str]:
    return [n if names.count(n) == 1 else f"{n} {names[: i + 1].count(n)}" for i, n in enumerate(names)]
