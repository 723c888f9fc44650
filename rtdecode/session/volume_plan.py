"""What makes a volume of finished runs: planes with their place on the stage, registration, drift, filter."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from rtdecode.core.quality import QualityFilter
from rtdecode.core.ranges import NotNegativeRange, Range
from rtdecode.core.yaml_files import StrictModel, load_yaml

VOLUME_JSON = "volume.json"  # in the run folder of a volume: plan, planes with their places, coordinates
FURTHEST_NM = 4e6
"""Positions are float32: at 4 mm they are kept to 0.25 nm; whoever has more counts from nearer by."""

_Place = Annotated[float, Field(ge=-FURTHEST_NM, le=FURTHEST_NM)]


class Plane(StrictModel):
    """One finished run, and where its focal plane lay."""

    run: Path  # run folder; from the plan's own folder where it is not absolute
    z_nm: _Place | None = None  # on the stage; None: by plane_spacing_nm
    offset_nm: tuple[_Place, _Place] = (0.0, 0.0)  # added to x and y, known from elsewhere


class Channel(StrictModel):
    """The planes of one colour; every channel becomes a run folder of its own, in the same coordinates."""

    planes: Annotated[tuple[Plane, ...], Field(min_length=1)]
    offset_nm: tuple[_Place, _Place, _Place] = (0.0, 0.0, 0.0)  # added to x, y, z: its chromatic shift, taken off


class Limits(StrictModel):
    """What localizations must pass, as `rtdecode export` has it."""

    sigma_xy_nm: Annotated[float, Field(gt=0)] | None = None
    sigma_z_nm: Annotated[float, Field(gt=0)] | None = None
    probability: Annotated[float, Field(ge=0, le=1)] | None = None
    photons: NotNegativeRange | None = None

    @property
    def quality(self) -> QualityFilter:
        """The same, as the filter."""
        return QualityFilter(self.sigma_xy_nm, self.sigma_z_nm, self.probability, self.photons)


class VolumePlan(StrictModel):
    """A plan: `planes`, or `channels` of planes by name; the rest holds for all of them."""

    planes: tuple[Plane, ...] = ()
    channels: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")], Channel] = Field(default_factory=dict)
    plane_spacing_nm: float | None = None  # from each plane to the next in the list; negative: downwards
    first_z_nm: _Place = 0.0  # of the first plane, with plane_spacing_nm
    step_xy_nm: tuple[float, float] = (0.0, 0.0)  # added to x, y at each next plane: a scan oblique to the optical axis
    z_sign: Literal[1, -1] = 1  # -1: the stage's z runs against the model's (stage number up, focus down in the sample)
    z_factor: Annotated[float, Field(gt=0, le=2)] = 1.0  # on the model's z: below 1 for a focal shift in water
    z_range_nm: Range | None = None  # of the model's z: what a plane may tell; None: what its model was trained for
    register_by: Literal["none", "overlap"] = Field(default="none", alias="register")
    register_axes: Literal["xy", "xyz"] = "xy"  # xyz: the planes' z follow what the overlap says, too
    register_reach_nm: Annotated[float, Field(ge=50, le=1000)] = 250.0  # largest offset between neighbours, x and y
    take_off_drift: bool = False  # as `rtdecode drift` measured it in each run
    filter: Literal["recommended", "none"] | Limits = "recommended"  # recommended: each run's model's own limits

    @model_validator(mode="after")
    def _whole(self) -> VolumePlan:
        if bool(self.planes) == bool(self.channels):
            raise ValueError("expected either 'planes' or 'channels'")
        if self.plane_spacing_nm == 0:
            raise ValueError("plane_spacing_nm 0: expected another distance between the planes")
        for name, channel in self.by_channel.items():
            self._check_heights(f"channel '{name}': " if name else "", channel.planes)
        return self

    def _check_heights(self, where: str, planes: tuple[Plane, ...]) -> None:
        for n, plane in enumerate(planes, 1):
            if (plane.z_nm is None) == (self.plane_spacing_nm is None):
                found = "both" if plane.z_nm is not None else "neither"
                raise ValueError(f"{where}plane {n}: expected z_nm or plane_spacing_nm of the plan, found {found}")
        if self.plane_spacing_nm and abs(self.first_z_nm + len(planes) * self.plane_spacing_nm) > FURTHEST_NM:
            raise ValueError(f"{where}the last plane lies beyond {FURTHEST_NM:g} nm; count first_z_nm from nearer by")
        if len({plane.run for plane in planes}) < len(planes):
            raise ValueError(f"{where}one run stands there twice; each plane needs a run of its own")

    @property
    def by_channel(self) -> dict[str, Channel]:
        """Channels by name; planes without a channel under the name ''."""
        return self.channels or {"": Channel(planes=self.planes)}

    def heights_nm(self, planes: tuple[Plane, ...]) -> list[float]:
        """Stage z of each plane."""
        spaced = (self.first_z_nm + k * (self.plane_spacing_nm or 0.0) for k in count())
        return [z if plane.z_nm is None else plane.z_nm for plane, z in zip(planes, spaced, strict=False)]

    def offsets_nm(self, planes: tuple[Plane, ...]) -> list[tuple[float, float]]:
        """What is known to be added to x and y of each plane."""
        step = self.step_xy_nm
        return [(p.offset_nm[0] + k * step[0], p.offset_nm[1] + k * step[1]) for k, p in enumerate(planes)]


def load_plan(path: Path) -> VolumePlan:
    """Read a plan; its runs' paths count from its folder. Raises ConfigError with file, line and key."""
    plan, base = load_yaml(path, VolumePlan), path.resolve().parent

    def found(planes: tuple[Plane, ...]) -> tuple[Plane, ...]:
        return tuple(plane.model_copy(update={"run": base / plane.run}) for plane in planes)

    channels = {name: part.model_copy(update={"planes": found(part.planes)}) for name, part in plan.channels.items()}
    return plan.model_copy(update={"planes": found(plan.planes), "channels": channels})
