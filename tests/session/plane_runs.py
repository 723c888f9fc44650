"""A volume in small: tubes through several planes, each plane a finished run with its own known displacement."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rtdecode.core.camera import Camera
from rtdecode.core.config import RunConfig
from rtdecode.core.localizations import LOCALIZATION_DTYPE, Localizations
from rtdecode.physics.structures import Field, tubes
from rtdecode.session.report import close_run
from rtdecode.stages.outcome import Outcome
from rtdecode.stages.run_record import IMPORTED, RunRecord, versions
from rtdecode.streams.log import LogWriter, make_commits
from rtdecode.streams.run_folder import RunFolder

PX_NM = 100.0
SHAPE = (64, 64)
SPACING_NM, DEPTH_NM = 500.0, 400.0
DISPLACED_NM = np.array([(0, 0), (40, -25), (10, 30), (-35, 5)], float)  # of what each plane sees, x and y
N_FRAMES = 2000


def molecules(seed: int = 3) -> NDArray[np.float64]:
    """(N, 3) nm on tubes that run through all planes."""
    high = SPACING_NM * (len(DISPLACED_NM) - 1) + DEPTH_NM
    points = np.asarray(tubes(Field(), seed=seed, z_range_nm=(-DEPTH_NM, high)), np.float64)
    return points[Field().holds(points)]


def plane_localizations(
    sample: NDArray[np.float64], plane: int, per_frame: float, n_frames: int = N_FRAMES, seed: int = 0
) -> Localizations:
    """What plane `plane` sees of the sample, z counted from its focus; sigma about 15 nm, in z 33."""
    rng = np.random.default_rng((seed, plane))
    relative = sample - (0, 0, plane * SPACING_NM)
    near = relative[np.abs(relative[:, 2]) < DEPTH_NM]
    place = near[rng.integers(0, len(near), round(per_frame * n_frames))]
    sigma = 15.0 * np.exp(rng.normal(0, 0.3, len(place)))
    records = np.zeros(len(place), LOCALIZATION_DTYPE)
    records["frame_index"] = np.sort(rng.integers(0, n_frames, len(place)))
    seen = place + rng.normal(0, 1, place.shape) * sigma[:, None] * (1, 1, 2.2)
    records["x_nm"], records["y_nm"] = (seen[:, :2] + DISPLACED_NM[plane % len(DISPLACED_NM)]).T
    records["z_nm"] = seen[:, 2]
    records["sigma_x_nm"] = records["sigma_y_nm"] = sigma
    records["sigma_z_nm"], records["photons"], records["probability"] = 2.2 * sigma, 3000, 1
    return Localizations.from_records(records)


def write_run(path: Path, found: Localizations, n_frames: int = N_FRAMES, x0_px: int = 0) -> RunFolder:
    """A finished run folder with these localizations, frames ascending."""
    camera = Camera(px_nm=(PX_NM, PX_NM), baseline_adu=0, e_per_adu=1, read_noise_e=0)
    config = RunConfig.model_validate(
        {"source": {"use": IMPORTED}, "model": IMPORTED, "camera": camera.model_dump(), "check": False, "out": path}
    )
    record = RunRecord(
        **config.model_dump(), origin="test", model_name=IMPORTED, model_sha256="0" * 64, versions=versions()
    )
    folder = RunFolder.create(path, record.as_yaml())
    log = LogWriter.open(path)
    counts = np.bincount(found.frame_index, minlength=n_frames)
    log.append(make_commits(np.arange(n_frames), n_localizations=counts), found)
    log.close()
    place = {"x0_px": x0_px, "y0_px": 0, "width_px": SHAPE[1], "height_px": SHAPE[0], "binning": 1}
    folder.append_event("session", "source", None, **place, dtype="none", expected=n_frames, can_wait=True)
    close_run(folder, Outcome.completed())
    return folder


def write_planes(base: Path, per_frame: float = 8.0, seed: int = 0) -> NDArray[np.float64]:
    """Runs plane0, plane1, ... in `base`; the molecules they are of."""
    sample = molecules()
    for plane in range(len(DISPLACED_NM)):
        write_run(base / f"plane{plane}", plane_localizations(sample, plane, per_frame, seed=seed))
    return sample
