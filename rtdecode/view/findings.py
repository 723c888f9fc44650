"""What others found out about a run, as its folder tells: policies' estimates, resolution, drift, the model's ranges.

Read from events.jsonl: `state` of a policy (decide writes it), `resolution` with `nm` and, where known, `low_nm` and
`high_nm`, `drift` with `x_nm`, `y_nm` and, where known, `z_nm`; each with its `frame_index`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rtdecode.core.quality import QualityFilter
from rtdecode.core.yaml_files import safe_load

MOST_POINTS = 2_000  # of a curve; then every second one goes
CARD = "bundle.yaml"


@dataclass(slots=True)
class Trend:
    """A number over the frames of a run, with its interval where it has one (else NaN)."""

    name: str
    unit: str = ""
    frame: list[int] = field(default_factory=list)
    value: list[float] = field(default_factory=list)
    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)

    def add(self, frame: int, value: object, low: object = None, high: object = None) -> None:
        """One more point; what is no number is left out."""
        if not isinstance(value, int | float) or not math.isfinite(value):
            return
        if len(self.frame) >= MOST_POINTS:
            for column in (self.frame, self.value, self.low, self.high):
                del column[1::2]
        self.frame.append(frame)
        self.value.append(float(value))
        self.low.append(_number(low))
        self.high.append(_number(high))

    @property
    def words(self) -> str:
        """The newest value: "94 % (92 to 96)", "31 nm"."""
        if not self.value:
            return ""
        factor, unit = (100.0, " %") if self.unit == "share" else (1.0, f" {self.unit}" if self.unit else "")
        value, low, high = (part * factor for part in (self.value[-1], self.low[-1], self.high[-1]))
        interval = f" ({low:.3g} to {high:.3g})" if math.isfinite(low) and math.isfinite(high) else ""
        return f"{value:.3g}{unit}{interval}"


@dataclass(slots=True)
class Findings:
    """Grows with the events of a run."""

    policies: dict[str, dict[str, Any]] = field(default_factory=dict)  # newest state of each
    coverage: Trend = field(default_factory=lambda: Trend("Coverage", "share"))
    resolution: Trend = field(default_factory=lambda: Trend("Resolution (FRC)", "nm"))
    drift: dict[str, Trend] = field(default_factory=lambda: {axis: Trend(f"Drift {axis}", "nm") for axis in "xyz"})

    def hear(self, event: Mapping[str, Any]) -> bool:
        """Take one event; True when it told something."""
        kind, at = event.get("kind"), event.get("frame_index")
        if kind not in ("state", "resolution", "drift") or not isinstance(at, int):
            return False
        if kind == "state" and isinstance(event.get("state"), dict):
            self._state(str(event.get("policy", "")), at, event["state"])
        elif kind == "resolution":
            self.resolution.add(at, event.get("nm"), event.get("low_nm"), event.get("high_nm"))
        elif kind == "drift":
            for axis, trend in self.drift.items():
                trend.add(at, event.get(f"{axis}_nm"))
        return True

    @property
    def verdicts(self) -> list[str]:
        """What each policy says now, a line each."""
        lines = []
        for name, state in self.policies.items():
            said = str(state.get("verdict", "")) or ", ".join(
                f"{key} {value}" for key, value in list(state.items())[:2]
            )
            target = state.get("target_at_frame")
            when = f"; target at about frame {target:,}" if isinstance(target, int) and said == "not yet" else ""
            lines.append(f"{name}: {said}{when}")
        return lines

    def _state(self, policy: str, at: int, state: dict[str, Any]) -> None:
        self.policies[policy] = state
        self.coverage.add(at, state.get("coverage"), state.get("lower"), state.get("upper"))
        self.resolution.add(at, state.get("resolution_nm"))


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What a run's model was trained for, by the names of a Localizations; nothing where the bundle is gone."""

    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    recommended: QualityFilter | None = None

    @classmethod
    def of_run(cls, run_fields: Mapping[str, Any]) -> ModelCard:
        """Of the model named in run.yaml; empty where it cannot be read, for the viewer shows old runs too."""
        try:
            card = safe_load((Path(str(run_fields["model"])) / CARD).read_text(encoding="utf-8"))
            return cls(_ranges(card), _recommended(card))
        except Exception:  # whatever is wrong with it: last year's run is looked at without its model
            return cls()


def _ranges(card: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    named = {name: card["ranges"].get(name) for name in ("photons", "background", "z_nm")}
    found = {name: (float(pair[0]), float(pair[1])) for name, pair in named.items() if pair}
    return {name: pair for name, pair in found.items() if pair[1] > pair[0]}


def _recommended(card: Mapping[str, Any]) -> QualityFilter | None:
    limits = card.get("recommended_filter")
    if not limits:
        return None
    return QualityFilter(limits.get("sigma_xy_max_nm"), limits.get("sigma_z_max_nm"))


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
