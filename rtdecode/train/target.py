"""Clips to tensors: scaled network input, and the emitters of the inner frames as flat lists of targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rtdecode.core.camera import Camera
from rtdecode.fit.scaling import Scaling
from rtdecode.physics.simulate import Clips


@dataclass(frozen=True, slots=True)
class Targets:
    """Truth of S supervised frames with N emitters in all, in network units."""

    sample: Tensor  # (N,) int64, which of the S frames
    units: Tensor  # (N, 4) photons / photons_max, x px, y px, z / z_max
    background: Tensor  # (S, H, W) photons / background_max
    count: Tensor  # (S,) emitters in each frame


@dataclass(frozen=True, slots=True)
class Batch:
    """Network input (B, T, H, W) and the targets of its B * (T - 2) inner frames."""

    frames: Tensor
    targets: Targets

    @classmethod
    def joined(cls, parts: Sequence[Batch]) -> Batch:
        """One batch of the clips of several, in their order."""
        if len(parts) == 1:
            return parts[0]
        targets = [part.targets for part in parts]
        firsts = np.cumsum([0, *(len(one.count) for one in targets)])  # supervised frames before each part
        sample = torch.cat([one.sample + int(first) for one, first in zip(targets, firsts, strict=False)])
        rest = (torch.cat([getattr(one, name) for one in targets]) for name in ("units", "background", "count"))
        return cls(torch.cat([part.frames for part in parts]), Targets(sample, *rest))

    def on(self, device: torch.device) -> Batch:
        """The same on a device; from pinned memory the copy does not hold up the caller."""
        moved = (getattr(self.targets, name).to(device, non_blocking=True) for name in Targets.__slots__)
        return Batch(self.frames.to(device, non_blocking=True), Targets(*moved))

    def pinned(self) -> Batch:
        """The same in memory that a GPU can fetch by itself."""
        return Batch(
            self.frames.pin_memory(), Targets(*(getattr(self.targets, name).pin_memory() for name in Targets.__slots__))
        )


def make_batch(clips: Clips, camera: Camera, scaling: Scaling, min_photons: float) -> Batch:
    """Scale frames, corrected by their maps where they have some; list the emitters of inner frames.

    Emitters below `min_photons` in that frame are left out.
    """
    frames = (camera.photons(clips.frames_adu, clips.maps) - scaling.input_offset) / scaling.input_scale
    n_clips, n_frames = clips.frames_adu.shape[:2]
    clip, t = np.divmod(clips.emitters["frame_index"], n_frames)
    kept = (t >= 1) & (t <= n_frames - 2) & (clips.emitters["photons"] >= min_photons)
    emitters, inner = clips.emitters[kept], n_frames - 2
    sample = clip[kept] * inner + t[kept] - 1
    units = np.column_stack(
        [
            emitters["photons"] / scaling.photons_max,
            emitters["x_nm"] / camera.px_nm[0],
            emitters["y_nm"] / camera.px_nm[1],
            emitters["z_nm"] / scaling.z_max_nm,
        ]
    )
    background = np.repeat(clips.background / scaling.background_max, inner, axis=0)  # (S, H, W)
    count = np.bincount(sample, minlength=n_clips * inner)
    return Batch(
        torch.from_numpy(frames.astype(np.float32)),
        Targets(
            torch.from_numpy(sample.astype(np.int64)),
            torch.from_numpy(units.astype(np.float32)),
            torch.from_numpy(background.astype(np.float32)),
            torch.from_numpy(count.astype(np.float32)),
        ),
    )
