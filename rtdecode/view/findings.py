"""What others found out about a run, as its folder tells: policies' estimates, resolution, drift, the model's ranges.

From events.jsonl the `state` of each policy; from drift.csv and resolution.json what analysis measured.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rtdecode.core.drift import Drift
from rtdecode.core.errors import RtdecodeError
from rtdecode.core.quality import QualityFilter
from rtdecode.core.yaml_files import safe_load
from rtdecode.streams.drift_file import NAME as DRIFT
from rtdecode.streams.drift_file import read_drift

MOST_POINTS = 2_000  # of a curve; then every second one goes
CARD, RESOLUTION = "bundle.yaml", "resolution.json"


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
    measured_drift: Drift | None = None
    _is_measured: bool = False  # the resolution, by analysis: a policy's own figure then stands back
    _seen: dict[str, int] = field(default_factory=dict)  # when the files were written

    def hear(self, event: Mapping[str, Any]) -> bool:
        """Take one event; True when it told something."""
        kind, at = event.get("kind"), event.get("frame_index")
        state = event.get("state")
        if kind != "state" or not isinstance(at, int) or not isinstance(state, dict):
            return False
        policy = str(event.get("policy", ""))
        self.policies[policy] = state
        self.coverage.add(at, state.get("coverage"), state.get("lower"), state.get("upper"))
        if not self._is_measured:
            self.resolution.add(at, state.get("resolution_nm"))
        return True

    def look(self, run_dir: Path) -> bool:
        """Read the files of analysis where they are new; True when one was. What cannot be read counts as not there."""
        changed = False
        for name, take in ((DRIFT, self._take_drift), (RESOLUTION, self._take_resolution)):
            path = run_dir / name
            try:
                written = path.stat().st_mtime_ns
                if self._seen.get(name) != written:
                    self._seen[name] = written
                    take(path)
                    changed = True
            except (OSError, ValueError, TypeError, KeyError, RtdecodeError):
                continue
        return changed

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

    def _take_drift(self, path: Path) -> None:
        self.measured_drift = found = read_drift(path)
        for k, axis in enumerate("xyz"):
            trend = self.drift[axis] = Trend(f"Drift {axis}", "nm")
            if axis == "z" and not found.shift_nm[:, 2].any():
                continue
            for frame, shift in zip(found.frame, found.shift_nm[:, k], strict=True):
                trend.add(round(float(frame)), float(shift))

    def _take_resolution(self, path: Path) -> None:
        found = json.loads(path.read_text(encoding="utf-8"))
        trend, self._is_measured = Trend(self.resolution.name, "nm"), True
        for frame, nm in found["trend"]:
            trend.add(int(frame), nm)
        interval = found.get("interval_nm")
        if trend.value and interval:
            trend.low[-1], trend.high[-1] = float(interval[0]), float(interval[1])
        self.resolution = trend


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
    named = {name: card["ranges"].get(name) for name in ("photons", "background", "z_nm", "density_per_um2")}
    found = {name: (float(pair[0]), float(pair[1])) for name, pair in named.items() if pair}
    return {name: pair for name, pair in found.items() if pair[1] > pair[0]}


def _recommended(card: Mapping[str, Any]) -> QualityFilter | None:
    limits = card.get("recommended_filter")
    if not limits:
        return None
    return QualityFilter(limits.get("sigma_xy_max_nm"), limits.get("sigma_z_max_nm"))


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
