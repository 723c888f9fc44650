"""How right drift, grouping and resolution are on simulations, and what they cost: the tables of docs/analysis.md.

python tools/measure_analysis.py                  # all but --fitted, some minutes
python tools/measure_analysis.py drift --fitted   # also of frames through the shipped model: minutes more
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable, Iterator

import numpy as np

from rtdecode.analysis.drift import estimate_drift
from rtdecode.analysis.frc import ring_correlation
from rtdecode.analysis.grouping import grouped
from rtdecode.analysis.resolution import resolution
from rtdecode.core.drift import Drift
from rtdecode.core.localizations import Localizations
from rtdecode.core.quality import QualityFilter
from rtdecode.fit.bundle import ModelBundle
from rtdecode.physics.judge_scenes import SceneConfig, filaments, molecules_of, render_movie
from rtdecode.physics.localization_scenes import blinking_field, blinking_molecules, drifting_tubes, slow_drift
from rtdecode.physics.psf import load_psf
from rtdecode.physics.structures import Field, switch
from rtdecode.train.score import fit_frames

N_FRAMES, SEEDS = 6000, range(1, 6)
Truth = Callable[[np.ndarray], np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=["drift", "group", "resolution"])
    parser.add_argument("--fitted", action="store_true", help="drift of frames that the shipped model has fitted")
    given = parser.parse_args()
    parts = {"drift": lambda: measure_drift(given.fitted), "group": measure_groups, "resolution": measure_resolution}
    for name in given.what:
        parts[name]()


def measure_drift(fitted: bool) -> None:
    print("\ndrift, RMS over all frames, mean taken off, nm; x / y / z; lateral: both together", flush=True)
    for per_frame in (20, 3, 1):
        scenes = [drifting_tubes(N_FRAMES, per_frame, seed) for seed in SEEDS]
        _drift_rows(f"{per_frame} localizations a frame", scenes, N_FRAMES)
    if fitted:
        for density in (0.2, 1.0):
            _drift_rows(f"fitted frames, {density:g} per um²", [_fitted(density, seed) for seed in (1, 2, 3)], 3000)
    found, truth = drifting_tubes(10_000, 100, 1)
    began = time.monotonic()
    drift = estimate_drift(found)
    took = time.monotonic() - began
    print(f"{len(found):,} localizations in {len(drift)} blocks: {took:.0f} s, {_rms_words(drift, truth, 10_000)}")


def _drift_rows(words: str, scenes: list[tuple[Localizations, Truth]], n_frames: int) -> None:
    for name, looks in (("live", 0), ("finished", 2)):
        began = time.monotonic()
        drifts = [estimate_drift(found, looks=looks) for found, _ in scenes]
        took = (time.monotonic() - began) / len(scenes)
        rms = np.array([_rms(d, truth, n_frames) for d, (_, truth) in zip(drifts, scenes, strict=True)])
        stated = np.median([np.median(d.sigma_nm[1:], axis=0) for d in drifts], axis=0)
        lateral, spans = np.hypot(rms[:, 0], rms[:, 1]), [f"{v.min():.1f}-{v.max():.1f}" for v in rms.T]
        print(
            f"{words}, {name}: {' / '.join(spans)}, lateral {lateral.min():.1f}-{lateral.max():.1f}; stated of "
            f"a block {' / '.join(f'{v:.1f}' for v in stated)}; {took:.1f} s",
            flush=True,
        )


def _rms(drift: Drift, truth: Truth, n_frames: int) -> np.ndarray:
    error = drift.at(np.arange(n_frames)) - truth(np.arange(n_frames))
    return np.asarray((error - error.mean(axis=0)).std(axis=0))


def _rms_words(drift: Drift, truth: Truth, n_frames: int) -> str:
    return " / ".join(f"{v:.1f}" for v in _rms(drift, truth, n_frames)) + " nm"


def _fitted(density_um2: float, seed: int, n_frames: int = 3000) -> tuple[Localizations, Truth]:
    """Tubes, filaments and clusters that drift, as frames through the shipped model and its filter."""
    bundle, scene = ModelBundle.load("astigmatic-light"), SceneConfig()
    field = Field.of_shape(*scene.shape_px, bundle.camera.px_nm)
    emitters = switch(
        molecules_of(scene, field, seed), n_frames, density_um2, field, scene.switching, seed=seed, min_photons=50
    )
    for name, shift in zip(("x_nm", "y_nm", "z_nm"), slow_drift(emitters["frame_index"], n_frames).T, strict=True):
        emitters[name] += shift
    movie = render_movie(
        load_psf(bundle.psf_path), bundle.camera, emitters, n_frames, scene.shape_px, scene.background, seed
    )
    limits = bundle.card.recommended_filter
    quality = QualityFilter(limits.sigma_xy_max_nm, limits.sigma_z_max_nm)
    return quality.of(fit_frames(bundle, movie.frames_adu)), lambda frames: slow_drift(frames, n_frames)


def measure_groups() -> None:
    print("\nblinks, mean on-time 2 frames: found / true, groups of one blink, blinks in one piece", flush=True)
    for density in (0.05, 0.2, 1.0, 2.0, 4.0):
        found, blink = blinking_field(1000, density, 1)
        groups = grouped(found)
        both = np.unique(np.column_stack([groups.group, blink]), axis=0)
        pure, whole = ((np.bincount(both[:, k]) == 1).mean() for k in (0, 1))
        print(f"{density:g} per um²: {len(groups) / (blink.max() + 1):.3f}, {pure:.3f}, {whole:.3f}", flush=True)
    found, _ = blinking_field(170_000, 1.0, 1)
    before, began = _peak_gb(), time.monotonic()
    groups = grouped(found)
    took = time.monotonic() - began
    print(
        f"{len(found):,} localizations, {len(groups):,} groups: {took:.1f} s; {_peak_gb():.1f} GB (before {before:.1f})"
    )


def measure_resolution() -> None:
    print("\nFRC over that of two independent acquisitions (mean of 8 pairs), 12 runs; odd and even frames", flush=True)
    molecules = np.asarray(filaments(Field(4000.0, 4000.0), (-300.0, 300.0), seed=3))
    for every, per_molecule in ((1, 1), (4, 3), (4, 1), (16, 3)):
        labels = molecules[::every]
        blinks = per_molecule * len(labels)
        truth = float(np.mean(list(_independent(labels, blinks // 2))))
        runs = [blinking_molecules(labels, blinks, 20_000, seed) for seed in range(12)]
        found = [resolution(run) for run in runs]
        ratio = np.array([one.frc_nm or np.nan for one in found]) / truth
        flattered = np.mean([_odd_even(run) for run in runs]) / truth
        inside = sum(i is not None and i[0] <= truth <= i[1] for i in (one.interval_nm for one in found))
        print(
            f"{len(labels)} labels, {blinks} blinks: truth {truth:.1f} nm; {ratio.mean():.2f} ({ratio.min():.2f} to "
            f"{ratio.max():.2f}), truth in {inside} of 12 intervals; odd/even {flattered:.2f}; density's limit "
            f"{np.mean([one.nyquist_nm for one in found if one.nyquist_nm]):.0f} nm",
            flush=True,
        )
    began = time.monotonic()
    big, _ = drifting_tubes(20_000, 50, 1, step_nm=0)
    made = time.monotonic()
    resolution(big)
    print(f"{len(big):,} localizations: {time.monotonic() - made:.0f} s (made in {made - began:.0f} s)")


def _independent(labels: np.ndarray, blinks: int) -> Iterator[float]:
    for k in range(8):
        images = [_image(blinking_molecules(labels, blinks, 20_000, 1000 + 2 * k + one)) for one in (0, 1)]
        yield ring_correlation(images[0], images[1], 5.0).resolution_nm or np.nan


def _odd_even(run: Localizations) -> float:
    images = [_image(run[run.frame_index % 2 == one]) for one in (0, 1)]
    return ring_correlation(images[0], images[1], 5.0).resolution_nm or np.nan


def _image(found: Localizations) -> np.ndarray:
    """(920, 920) counts in 5 nm, from -300 nm."""
    edges = np.arange(-300.0, 4300.1, 5.0)
    return np.histogram2d(found.y_nm, found.x_nm, (edges, edges))[0]


def _peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


if __name__ == "__main__":
    main()
