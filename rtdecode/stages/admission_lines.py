"""What the admission gate found, kept as signed lines in the bundle's cache; a line that was edited is not believed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rtdecode.analysis.agreement import Limits
from rtdecode.fit.bundle import ModelBundle
from rtdecode.fit.cache import of_bundle, write_whole

NAME = "admissions.jsonl"
VERSION = 2
"""Of what is measured; a change of a figure's meaning makes a new one."""

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Line:
    """One engine's figures; `signature` is the sha256 of all the rest, so that an edit shows. It keeps no secret."""

    keys: dict[str, str]
    figures: dict[str, Any]
    faults: tuple[str, ...]  # empty: admitted
    frames_per_s: float  # while it was measured; 64 x 64 px, detection included
    signature: str = ""

    @classmethod
    def made(cls, keys: dict[str, str], figures: dict[str, Any], faults: tuple[str, ...], per_s: float) -> Line:
        """Signed."""
        line = cls(keys, figures, faults, per_s)
        return replace(line, signature=line.expected_signature())

    @classmethod
    def read(cls, text: str) -> Line | None:
        """None where it is none, or was changed after it was signed."""
        try:
            fields = json.loads(text)
            line = cls(**(fields | {"faults": tuple(fields["faults"])}))
            return line if line.signature == line.expected_signature() else None
        except (ValueError, TypeError, KeyError):
            return None

    def expected_signature(self) -> str:
        """sha256 over keys, figures, faults and rate."""
        fields = asdict(self) | {"signature": ""}
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()

    def text(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    @property
    def words(self) -> str:
        """The figures in a sentence."""
        f = self.figures
        if f["added_lateral_nm"] is None:
            return f"no localization in common with fp32 in {f['n_frames']} frames"
        spoilt = f"; REFUSED: {'; '.join(self.faults)}" if self.faults else ""
        return (
            f"Jaccard {f['jaccard_change_points']:+.2f} points, added error {f['added_lateral_nm']:.2f} nm lateral and "
            f"{f['added_axial_nm']:.2f} nm axial against fp32{spoilt}"
        )


def find(bundle: ModelBundle, keys: Mapping[str, str], tell: Tell = lambda _: None) -> Line | None:
    """The line with exactly these keys, None where there is none that can be believed; `tell` hears of edited ones."""
    found = None
    for number, text in enumerate(_texts(_path(bundle)), 1):
        line = Line.read(text)
        if line is None:
            tell(f"{_path(bundle)}, line {number} was changed after it was signed; the engine is checked again")
        elif line.keys == dict(keys):
            found = line
    return found


def keep(bundle: ModelBundle, line: Line, tell: Tell = lambda _: None) -> None:
    """Put a line there in place of older ones with its keys and of edited ones; `tell` hears where it cannot."""
    others = [known for text in _texts(_path(bundle)) if (known := Line.read(text)) and known.keys != line.keys]
    try:
        write_whole(_path(bundle), "".join(f"{one.text()}\n" for one in [*others, line]))
    except OSError as error:
        tell(f"the check cannot be kept in {_path(bundle)} ({error}); it is made again next time")


def gate_version(limits: Limits, *plan: int) -> str:
    """What is measured, on how many frames (`plan`) and within which limits."""
    text = json.dumps(asdict(limits), sort_keys=True)
    return f"{VERSION} {plan} {hashlib.sha256(text.encode()).hexdigest()[:12]}"


def sha256_of(*paths: Path) -> str:
    """Over the contents of those of the files that there are."""
    digest = hashlib.sha256()
    for path in paths:
        if path.is_file():
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _path(bundle: ModelBundle) -> Path:
    return of_bundle(bundle.sha256) / NAME


def _texts(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
