"""A model bundle: one folder that can be mailed, with everything a model means, and a hash of every file."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.resources import files as package_files
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import Field

from rtdecode.core.camera import Camera
from rtdecode.core.errors import BundleError, ConfigError
from rtdecode.core.ranges import NotNegativeRange, Range
from rtdecode.core.yaml_files import StrictModel, parse_yaml, safe_load, yaml_fault
from rtdecode.fit.calibration import Calibration
from rtdecode.fit.layout import NetworkConfig
from rtdecode.fit.scaling import Scaling

FORMAT = "rtdecode-bundle"
FORMAT_VERSION = 1
CARD, WEIGHTS, GRAPH, PSF, TRAIN = (
    "bundle.yaml",
    "weights.safetensors",
    "model.onnx",
    "psf.safetensors",
    "train.yaml",
)
REQUIRED = (WEIGHTS, GRAPH, TRAIN)
"""Files that every bundle has beside its card; psf.safetensors may be missing in a bundle made for tests."""

Threshold = Annotated[float, Field(ge=0, le=1)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]  # never a path


class TrainingRanges(StrictModel):
    """What the network saw in training, (lowest, highest); beyond them its answers mean little."""

    photons: NotNegativeRange  # detected photons of an emitter in a frame
    background: NotNegativeRange  # photons per pixel
    density_per_um2: NotNegativeRange  # emitters per square micrometre and frame
    z_nm: Range


AnyModel = TypeVar("AnyModel", bound=StrictModel)


class DetectionThresholds(StrictModel):
    """Thresholds of decode-method §6.2: `peak` its step 1, `split` its step 3, `accept` its step 5; and `readout`.

    `peak` and `split` are held against the network's own p, `accept` against the calibrated one if there is one.
    """

    peak: Threshold = 0.1
    accept: Threshold = 0.5
    split: Threshold = 0.6
    readout: Literal["peak", "fused"] = "peak"
    """Where a detection's position, photons and sigmas are read: its own pixel alone, as DECODE does, or the
    mixture of its 3x3 pixels, as this project's trainings ask for (docs/decisions/0007)."""


class RecommendedFilter(StrictModel):
    """Localizations with a larger sigma are better left out of a picture; None: no bound."""

    sigma_xy_max_nm: Annotated[float, Field(gt=0)] | None = None
    sigma_z_max_nm: Annotated[float, Field(gt=0)] | None = None


class BundleCard(StrictModel):
    """`bundle.yaml`. `files` and `identity` stand last, so that a card cut short lacks them."""

    format: Literal["rtdecode-bundle"] = "rtdecode-bundle"
    version: int = FORMAT_VERSION
    name: str
    description: str
    network: NetworkConfig
    scaling: Scaling
    camera: Camera
    psf: dict[str, Any]  # free summary; the PSF itself is psf.safetensors
    ranges: TrainingRanges
    detection: DetectionThresholds
    recommended_filter: RecommendedFilter
    calibration: Calibration | None = None  # None: probabilities and sigmas are the network's own
    versions: dict[str, str]  # of rtdecode and torch that made it
    scores: dict[str, Any] = Field(default_factory=dict)  # measured, nested numbers; not part of the identity
    files: dict[FileName, Sha256]
    identity: str = ""  # sha256 of all that defines the answers

    def computed_identity(self) -> str:
        """sha256 over every field but name, description and scores: what two equal models share.

        Only of fields that the card states: one that a later program adds changes no older bundle's identity. No
        calibration is the same whether the card says so or is too old to.
        """
        ignored = {"name", "description", "scores", "identity"} | ({"calibration"} if not self.calibration else set())
        fields = self.model_dump(mode="json", exclude=ignored, exclude_unset=True)
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class ModelBundle:
    """A verified bundle on disk; needs neither torch nor onnx."""

    folder: Path
    card: BundleCard

    @classmethod
    def load(cls, path_or_name: str | Path) -> ModelBundle:
        """The bundle in this folder, or the shipped one of this name, with every hash checked.

        Raises BundleError: nothing there, not a bundle, newer than this program, wrong key, file missing,
        cut short or changed.
        """
        folder = _find(path_or_name)
        card = _read_card(folder / CARD)
        for name, expected in card.files.items():
            _check_file(folder / name, expected)
        return cls(folder, card)

    @property
    def name(self) -> str:
        """Name on the card, for people."""
        return self.card.name

    @property
    def network(self) -> NetworkConfig:
        """Shape of the network."""
        return self.card.network

    @property
    def scaling(self) -> Scaling:
        """The five numbers between physical and network units."""
        return self.card.scaling

    @property
    def camera(self) -> Camera:
        """The camera it was trained for; its conversion is inside the graph."""
        return self.card.camera

    @property
    def detection(self) -> DetectionThresholds:
        """Thresholds that suit this model."""
        return self.card.detection

    @property
    def tells_z(self) -> bool:
        """Whether its PSF does; a bundle whose does not (2D) gives z 0 and states no sigma of it (0)."""
        return self.card.psf.get("depth_nm", 0.0) is not None  # None: a Gaussian as wide at every z

    @property
    def calibration(self) -> Calibration | None:
        """What its probabilities and sigmas are worth; None: not measured, they are taken as they are."""
        return self.card.calibration

    @property
    def sha256(self) -> str:
        """Identity of the whole: changes with any file or number that changes an answer, not with scores."""
        return self.card.identity

    @property
    def onnx_path(self) -> Path:
        """The graph that engines run."""
        return self.folder / GRAPH

    @property
    def weights_path(self) -> Path:
        """The weights, for training on and for the torch engine."""
        return self.folder / WEIGHTS

    @property
    def train_path(self) -> Path:
        """The training's configuration."""
        return self.folder / TRAIN

    @property
    def psf_path(self) -> Path:
        """The PSF it was trained with; raises BundleError where the bundle has none."""
        if PSF not in self.card.files:
            raise BundleError(f"{self.folder}: this bundle holds no {PSF}; nothing can be simulated for it")
        return self.folder / PSF

    def write_scores(self, scores: Mapping[str, Any]) -> ModelBundle:
        """Put measured scores (nested numbers) on the card; the identity stays. Raises BundleError."""
        return self._rewrite(self.card.model_copy(update={"scores": _plain(scores)}))

    def write_detection(self, detection: DetectionThresholds, recommended: RecommendedFilter) -> ModelBundle:
        """Put other thresholds on the card, found after training; the identity changes. Raises BundleError."""
        update = {"detection": _stated(detection), "recommended_filter": _stated(recommended)}
        return self._rewrite(self.card.model_copy(update=update))

    def write_calibration(
        self, calibration: Calibration, detection: DetectionThresholds, scores: Mapping[str, Any]
    ) -> ModelBundle:
        """Put a calibration on the card, the thresholds that go with it, and what is still true of the scores.

        The identity changes. Raises BundleError.
        """
        update = {"calibration": calibration, "detection": _stated(detection), "scores": _plain(scores)}
        return self._rewrite(self.card.model_copy(update=update))

    def without_calibration(self) -> ModelBundle:
        """The same model as its network states it, in memory only."""
        return replace(self, card=self.card.model_copy(update={"calibration": None}))

    def _rewrite(self, card: BundleCard) -> ModelBundle:
        sealed = _seal(card)
        try:
            _write_atomically(self.folder / CARD, _card_text(sealed))
        except OSError as error:
            raise BundleError(f"{self.folder / CARD}: cannot be written: {error}") from error
        return replace(self, card=sealed)


def save_bundle(folder: Path, card: BundleCard, contents: Mapping[str, bytes], overwrite: bool = False) -> ModelBundle:
    """Write a bundle: `contents` are its files by name; hashes and identity on the card are filled in here.

    The folder appears whole or not at all. An existing one is replaced only with `overwrite` and only if it
    is a bundle. Raises BundleError.
    """
    if missing := [name for name in REQUIRED if name not in contents]:
        raise BundleError(f"{folder}: a bundle needs {', '.join(REQUIRED)}; not given: {', '.join(missing)}")
    if folder.exists() and not (overwrite and (folder / CARD).is_file()):
        raise BundleError(f"{folder} exists already; choose another folder, or overwrite a bundle on purpose")
    hashes = {name: hashlib.sha256(contents[name]).hexdigest() for name in sorted(contents)}
    plain = {"files": hashes, "scores": _plain(card.scores), "psf": _plain(card.psf)}
    sealed = _seal(_stated(card.model_copy(update=plain)))
    try:
        _write_folder(folder, {**contents, CARD: _card_text(sealed).encode()})
    except OSError as error:
        raise BundleError(f"{folder}: the bundle cannot be written: {error}") from error
    return ModelBundle.load(folder)


def shipped_bundles() -> dict[str, Path]:
    """Name -> folder of the bundles that come with the program."""
    models = Path(str(package_files("rtdecode"))) / "models"
    return {path.parent.name: path.parent for path in sorted(models.glob(f"*/{CARD}"))}


def _find(path_or_name: str | Path) -> Path:
    """A folder with a card wins over a shipped name, since a path can always be written to tell them apart."""
    folder, shipped = Path(path_or_name), shipped_bundles()
    if (folder / CARD).is_file():
        return folder
    if str(path_or_name) in shipped:
        return shipped[str(path_or_name)]
    names = ", ".join(shipped) or "none"
    if not folder.exists():
        raise BundleError(f"no model at {folder} and no shipped one of that name (shipped: {names})")
    raise BundleError(f"{folder} is not a model bundle: expected a folder with {CARD} (shipped: {names})")


def _read_card(path: Path) -> BundleCard:
    try:
        text = path.read_text(encoding="utf-8")
        raw = safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(f"{path}: not a readable bundle card: {error}") from error
    except yaml.YAMLError as error:
        raise BundleError(f"{path}: not a readable bundle card: not valid YAML{yaml_fault(error)}") from error
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        raise BundleError(f"{path} is not the card of a model bundle: its first key must be 'format: {FORMAT}'")
    if isinstance(raw.get("version"), int) and raw["version"] > FORMAT_VERSION:
        raise BundleError(
            f"{path}: bundle format {raw['version']}, this program reads up to {FORMAT_VERSION}; update rtdecode"
        )
    return _check_card(text, path)


def _check_card(text: str, path: Path) -> BundleCard:
    try:
        card = parse_yaml(text, BundleCard, str(path))
    except ConfigError as error:
        raise BundleError(str(error)) from error
    if missing := [name for name in REQUIRED if name not in card.files]:
        raise BundleError(f"{path}: the card lists no {', '.join(missing)}: it is cut short or was changed")
    if card.identity != card.computed_identity():
        raise BundleError(
            f"{path} was changed after it was made (its identity does not fit its fields). The graph has the "
            "camera and scaling inside, so editing the card cannot change them: export again, or give a camera "
            "and thresholds in the run's configuration"
        )
    return card


def _check_file(path: Path, expected: str) -> None:
    if not path.is_file():
        raise BundleError(f"{path} is missing from the bundle; copy the whole folder again")
    found = _sha256(path)
    if found != expected:
        raise BundleError(
            f"{path} is cut short or was changed ({path.stat().st_size} bytes, sha256 {found[:12]}..., "
            f"the card says {expected[:12]}...); copy the bundle again"
        )


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error}") from error


def _seal(card: BundleCard) -> BundleCard:
    return card.model_copy(update={"identity": card.computed_identity()})


def _stated(model: AnyModel) -> AnyModel:
    """The same model with defaults written out, so that a card keeps its meaning when defaults change."""
    return type(model).model_validate(model.model_dump(mode="json"))


def _card_text(card: BundleCard) -> str:
    fields = card.model_dump(mode="json", exclude_unset=True)
    return yaml.safe_dump(fields, sort_keys=False, allow_unicode=True, width=110)


def _plain(value: Any) -> Any:
    """Numbers of numpy and of pydantic models as YAML can hold them."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.item() if hasattr(value, "item") else value


def _write_folder(folder: Path, contents: Mapping[str, bytes]) -> None:
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name, content in contents.items():
        (partial / name).write_bytes(content)
    if folder.exists():
        shutil.rmtree(folder)
    partial.replace(folder)


def _write_atomically(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
