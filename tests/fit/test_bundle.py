"""A bundle on disk: what is written is what is read, and every kind of damage has its own sentence."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from rtdecode.core.errors import BundleError
from rtdecode.fit import bundle as bundle_module
from rtdecode.fit.bundle import DetectionThresholds, ModelBundle, RecommendedFilter, save_bundle, shipped_bundles


@pytest.fixture
def copied(tiny_bundle: ModelBundle, tmp_path: Path) -> Path:
    """A bundle of one's own to damage."""
    return Path(shutil.copytree(tiny_bundle.folder, tmp_path / "copy"))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "file missing": (lambda f: (f / "model.onnx").unlink(), "model.onnx is missing"),
    "graph cut short": (lambda f: cut(f / "model.onnx"), "model.onnx is cut short or was changed"),
    "weights changed": (lambda f: (f / "weights.safetensors").write_bytes(b"x" * 99), "weights.safetensors is cut"),
    "training changed": (lambda f: edit(f / "train.yaml", "3", "4"), "train.yaml is cut short or was changed"),
    "card cut in a hash": (lambda f: cut(f / "bundle.yaml"), "was changed after it was made"),
    "card cut in files": (
        lambda f: (f / "bundle.yaml").write_text(re.sub(r"  train.yaml:[\s\S]*", "", (f / "bundle.yaml").read_text())),
        "lists no weights.safetensors, train.yaml",
    ),
    "card empty": (lambda f: (f / "bundle.yaml").write_text(""), "not the card of a model bundle"),
    "card not text": (lambda f: (f / "bundle.yaml").write_bytes(bytes(range(128, 256))), "not a readable bundle card"),
    "card not yaml": (lambda f: (f / "bundle.yaml").write_text("a: [1"), "not a readable bundle card"),
    "other yaml": (lambda f: (f / "bundle.yaml").write_text("format: tar\n"), "not the card of a model bundle"),
    "newer": (lambda f: edit(f / "bundle.yaml", "version: 1", "version: 2"), "update rtdecode"),
    "wrong key": (
        lambda f: edit(f / "bundle.yaml", "baseline_adu", "baseline_adus"),
        "line 22: unknown key 'camera.baseline_adus'; did you mean 'baseline_adu'",
    ),
    "wrong type": (lambda f: edit(f / "bundle.yaml", "em_gain: 300.0", "em_gain: many"), "key 'camera.em_gain'"),
    "camera edited": (lambda f: edit(f / "bundle.yaml", "em_gain: 300.0", "em_gain: 100.0"), "export again"),
    "file outside": (lambda f: edit(f / "bundle.yaml", "  train.yaml:", "  ../train.yaml:"), "files"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_named(copied: Path, kind: str) -> None:
    damage, sentence = DAMAGE[kind]
    damage(copied)
    with pytest.raises(BundleError, match=sentence):
        ModelBundle.load(copied)


def test_missing_and_foreign_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"no model at .*nowhere"):
        ModelBundle.load(tmp_path / "nowhere")
    with pytest.raises(BundleError, match="is not a model bundle"):
        ModelBundle.load(tmp_path)
    (tmp_path / "bundle.txt").write_text("x")
    with pytest.raises(BundleError, match="is not a model bundle"):
        ModelBundle.load(tmp_path / "bundle.txt")


def test_a_shipped_bundle_is_found_by_name(copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(copied, tmp_path / "package" / "models" / "astig-tiny")
    monkeypatch.setattr(bundle_module, "package_files", lambda _: tmp_path / "package")
    assert list(shipped_bundles()) == ["astig-tiny"]
    assert ModelBundle.load("astig-tiny").folder == tmp_path / "package" / "models" / "astig-tiny"
    with pytest.raises(BundleError, match="shipped: astig-tiny"):
        ModelBundle.load("other")


def test_all_shipped_bundles_load() -> None:
    for name in shipped_bundles():
        assert ModelBundle.load(name).card.scores


def test_scores_do_not_change_the_identity_but_thresholds_do(copied: Path) -> None:
    before = ModelBundle.load(copied)
    scores = {"density 1": {"jaccard": np.float32(0.5), "n": np.int64(7)}, "seeds": (1, 2)}
    scored = before.write_scores(scores)
    assert ModelBundle.load(copied) == scored
    assert scored.card.scores == {"density 1": {"jaccard": 0.5, "n": 7}, "seeds": [1, 2]}
    assert scored.sha256 == before.sha256
    changed = scored.write_detection(DetectionThresholds(peak=0.2), RecommendedFilter(sigma_z_max_nm=60))
    assert ModelBundle.load(copied) == changed
    assert changed.sha256 != before.sha256


def test_a_card_of_an_older_program_keeps_its_identity_and_meaning(copied: Path) -> None:
    card = yaml.safe_load((copied / "bundle.yaml").read_text())
    del card["detection"]["readout"], card["calibration"]  # as if this program had added the fields since
    fields = {key: card[key] for key in card if key not in {"name", "description", "scores", "identity"}}
    card["identity"] = hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
    (copied / "bundle.yaml").write_text(yaml.safe_dump(card, sort_keys=False))
    old = ModelBundle.load(copied)
    assert (old.sha256, old.detection.readout) == (card["identity"], "peak")
    assert ModelBundle.load(old.write_scores({"n": 1}).folder).sha256 == card["identity"]


def test_a_bundle_is_never_written_over_by_accident(tiny_bundle: ModelBundle, copied: Path, tmp_path: Path) -> None:
    contents = {name: (tiny_bundle.folder / name).read_bytes() for name in tiny_bundle.card.files}
    with pytest.raises(BundleError, match="exists already"):
        save_bundle(copied, tiny_bundle.card, contents)
    with pytest.raises(BundleError, match="exists already"):
        save_bundle(tmp_path, tiny_bundle.card, contents, overwrite=True)  # a folder, but no bundle
    again = save_bundle(copied, tiny_bundle.card, contents | {"train.yaml": b"seed: 4\n"}, overwrite=True)
    assert again.train_path.read_text() == "seed: 4\n"
    assert again.sha256 != tiny_bundle.sha256
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy"]


def test_what_a_bundle_lacks_is_said(tiny_bundle: ModelBundle, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"not given: weights\.safetensors, train\.yaml"):
        save_bundle(tmp_path / "new", tiny_bundle.card, {"model.onnx": b""})
    with pytest.raises(BundleError, match=r"no psf\.safetensors"):
        _ = tiny_bundle.psf_path


def test_a_run_needs_neither_torch_nor_onnx(tiny_bundle: ModelBundle) -> None:
    program = """
import sys
sys.modules["torch"] = sys.modules["onnx"] = None
import numpy as np
from rtdecode.core.config import EngineConfig
from rtdecode.core.frames import Frame, FrameInfo, Roi
from rtdecode.fit.bundle import ModelBundle
from rtdecode.fit.engines import build
from rtdecode.fit.fitter import Fitter
bundle = ModelBundle.load(sys.argv[1])
for use in ("openvino", "onnxruntime"):
    fitter = Fitter(bundle, build(EngineConfig(use=use), bundle), Roi(0, 0, 16, 16))
    fitter.push(Frame(FrameInfo(0, 0, 0), np.full((16, 16), 900, np.uint16)))
    print(fitter.finish()[0].fate.name)
"""
    command = [sys.executable, "-c", program, str(tiny_bundle.folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["FITTED", "FITTED"], done.stderr
