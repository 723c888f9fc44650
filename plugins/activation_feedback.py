"""Hold the density of emitters in a band by one device property: activation power or pulse length."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr, model_validator

from rtdecode.core.actions import Action, SetProperty
from rtdecode.core.contracts import Progress
from rtdecode.core.localizations import Localizations
from rtdecode.core.yaml_files import StrictModel

_SIDE = 4096  # squares of the occupied area; positions beyond are not looked at
_SAME = 0.005  # changes of the property below this share are not worth an action
_RESPONSES = (0.2, 5.0)  # of log density to log property: believed bounds of a sample's answer
_LEARN = 0.3  # of a new answer in the estimate


class ActivationFeedback(StrictModel):
    """Keep `band` = [lowest, highest] localizations per um² and frame by setting `device`.`property`.

    In YAML: `policies: [{use: "plugins/activation_feedback.py:ActivationFeedback", device: Laser405, property:
    Power, start: 1, minimum: 0.1, maximum: 20, band: [0.3, 0.6]}]`.
    `dry_run: true` (the default) sets nothing: what it would have set stands in the run's events (`state`). To act,
    set it false, and the run needs `control: {mode: act, allowed: [...]}` with this property and its own limits.
    Every `every_frames` camera frames it multiplies the property, by a PI rule on the logarithms: at most by
    `max_factor` or its inverse, never beyond `minimum` and `maximum`, not at all inside the band. The source puts
    the property back when the run ends.
    """

    device: str
    property: str
    start: float  # what the property is when the run begins: policies cannot read devices
    minimum: Annotated[float, Field(gt=0)]
    maximum: float
    band: tuple[float, float]
    every_frames: Annotated[int, Field(ge=10)] = 500
    max_factor: Annotated[float, Field(gt=1, le=10)] = 1.5
    integral: Annotated[float, Field(ge=0, le=2)] = 0.6  # of the error's logarithm, at an answer of 1
    proportional: Annotated[float, Field(ge=0, le=2)] = 0.2  # of the error's change
    self_tuning: bool = True  # divide both by the answer of the density that was seen so far
    area: Literal["field", "occupied"] = "field"
    square_nm: Annotated[float, Field(ge=100)] = 500.0  # of the occupied area
    dry_run: bool = True
    _value: float = PrivateAttr(0.0)
    _count: int = PrivateAttr(0)
    _window: int = PrivateAttr(0)
    _fitted_before: int = PrivateAttr(0)
    _density: float = PrivateAttr(math.nan)
    _error: float = PrivateAttr(0.0)  # logarithm of wanted over found, at the last update
    _step: float = PrivateAttr(0.0)  # logarithm of the last factor
    _answer: float = PrivateAttr(1.0)
    _verdict: str = PrivateAttr("the first window is not over")
    _squares: NDArray[np.bool_] = PrivateAttr(default_factory=lambda: np.zeros((0, 0), bool))

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if not self.minimum <= self.start <= self.maximum:
            raise ValueError(
                f"start {self.start:g} must lie within minimum {self.minimum:g} and maximum {self.maximum:g}"
            )
        if not 0 < self.band[0] < self.band[1]:
            raise ValueError(f"band {list(self.band)} must be two growing numbers above 0")
        return self

    def model_post_init(self, context: object, /) -> None:
        """Ready to be asked."""
        self._value = self.start

    def update(self, localizations: Localizations, progress: Progress) -> Sequence[Action]:
        """Called with whole frames in order; updates fall on multiples of `every_frames` camera frames."""
        numbers = localizations.frame_index // self.every_frames
        actions = list[Action]()
        while progress.last_frame_index // self.every_frames > self._window:
            self._add(localizations, numbers == self._window)
            actions += self._close(progress)
        self._add(localizations, numbers == self._window)
        return actions

    def state(self) -> dict[str, float | str]:
        """Found, wanted, set."""
        return {
            "density_um2_frame": round(self._density, 4),
            "property_value": round(self._value, 6),
            "answer": round(self._answer, 2),
            "verdict": ("dry run: " if self.dry_run else "") + self._verdict,
        }

    def _add(self, found: Localizations, inside: NDArray[np.bool_]) -> None:
        self._count += int(np.count_nonzero(inside))
        if self.area == "occupied" and inside.any():
            self._occupy(found.x_nm[inside], found.y_nm[inside])

    def _occupy(self, x_nm: NDArray[np.float32], y_nm: NDArray[np.float32]) -> None:
        column, row = x_nm / self.square_nm + 1, y_nm / self.square_nm + 1  # half a pixel lies left of 0
        good = (column >= 0) & (row >= 0) & (column < _SIDE) & (row < _SIDE)
        if good.any():
            at = row[good].astype(np.int64), column[good].astype(np.int64)
            missing = [max(0, int(a.max()) + 1 - n) for a, n in zip(at, self._squares.shape, strict=True)]
            self._squares = np.pad(self._squares, [(0, 16 + m if m else 0) for m in missing])
            self._squares[at] = True

    def _close(self, progress: Progress) -> list[Action]:
        """The window is over: measure, learn, set."""
        fitted, self._fitted_before = progress.frames_fitted - self._fitted_before, progress.frames_fitted
        count, self._count, self._window = self._count, 0, self._window + 1
        if fitted <= 0:
            self._verdict = "no frame was fitted in the last window: nothing is changed"
            return []
        return self._control(count, fitted * self._area_um2(progress.field_um2))

    def _area_um2(self, field_um2: float) -> float:
        occupied = float(np.count_nonzero(self._squares)) * (self.square_nm / 1000) ** 2
        return min(occupied, field_um2) if self.area == "occupied" and occupied > 0 else field_um2

    def _control(self, count: int, frames_um2: float) -> list[Action]:
        density = max(count, 0.5) / frames_um2  # none at all is taken for half a localization: a logarithm is needed
        if self.self_tuning:
            self._learn(density)
        self._density = density
        if self.band[0] <= density <= self.band[1]:
            self._error, self._step, self._verdict = 0.0, 0.0, "in the band"
            return []
        error = math.log(math.sqrt(self.band[0] * self.band[1]) / density)
        step = (self.integral * error + self.proportional * (error - self._error)) / self._answer
        self._error = error
        return self._set(min(max(step, -math.log(self.max_factor)), math.log(self.max_factor)))

    def _learn(self, density: float) -> None:
        """How the density answered to the last step, in logarithms; 1 where it follows in proportion."""
        if abs(self._step) > 0.05 and math.isfinite(self._density):
            seen = math.log(density / self._density) / self._step
            self._answer += _LEARN * (min(max(seen, _RESPONSES[0]), _RESPONSES[1]) - self._answer)

    def _set(self, step: float) -> list[Action]:
        wanted = min(max(self._value * math.exp(step), self.minimum), self.maximum)
        self._step = math.log(wanted / self._value)
        if abs(self._step) < _SAME:
            self._verdict = f"{'below' if self._error > 0 else 'above'} the band, at the property's limit"
            return []
        self._value = wanted
        self._verdict = f"{'below' if self._error > 0 else 'above'} the band: set to {wanted:.6g}"
        return [] if self.dry_run else [SetProperty(self.device, self.property, wanted)]
