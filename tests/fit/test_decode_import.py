"""DECODE's weights give DECODE's answer through our bundle and engine; what is no DECODE model is refused by name."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from decode_reference import PARAM_RUN, decode_maps, random_weights  # noqa: E402

from rtdecode.cli.app import run  # noqa: E402
from rtdecode.core.errors import BundleError, ConfigError  # noqa: E402
from rtdecode.core.frames import Frame, FrameInfo, Roi  # noqa: E402
from rtdecode.fit import engines  # noqa: E402
from rtdecode.fit.bundle import ModelBundle  # noqa: E402
from rtdecode.fit.decode_configuration import read_decode_run  # noqa: E402
from rtdecode.fit.decode_weights import decode_network  # noqa: E402
from rtdecode.fit.export import map_scales  # noqa: E402
from rtdecode.fit.fitter import Fitter  # noqa: E402

OURS = ("p", "phot", "y", "x", "z", "phot_sig", "y_sig", "x_sig", "z_sig", "bg")
"""DECODE's names of our ten maps: our x is its y."""


def write_run(folder: Path, **changes: Any) -> Path:
    """param_run.yaml, with `Section__key=value` changed, or the key left out where the value is ..."""
    fields = copy.deepcopy(PARAM_RUN)
    for name, value in changes.items():
        *sections, key = name.split("__")
        part = fields
        for section in sections:
            part = part[section]
        if value is ...:
            del part[key]
        else:
            part[key] = value
    path = folder / "param_run.yaml"
    path.write_text(yaml.safe_dump(fields))
    return path


def write_weights(folder: Path, weights: Any, legacy: bool = False) -> Path:
    path = folder / "model_0.pt"
    torch.save(weights, path, _use_new_zipfile_serialization=not legacy)
    return path


def frames_adu(seed: int, height: int = 24, width: int = 16) -> np.ndarray:
    random = np.random.default_rng(seed)
    photons = random.gamma(1.0, 150.0, (3, height, width)) + (random.random((3, height, width)) < 0.05) * 2000
    return np.rint(398.6 + photons * 0.95 * 100 / 5).astype(np.float32)


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    """12 features, by the command."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("decode")
    param_run, weights = write_run(folder), write_weights(folder, random_weights(12))
    assert run(["import-decode", str(weights), str(param_run), "--out", str(folder / "imported")]) == 0
    return ModelBundle.load(folder / "imported")


def engine_maps(bundle: ModelBundle, frames: np.ndarray) -> np.ndarray:
    """(10, H, W) of the middle one of three frames (3, H, W)."""
    from rtdecode.core.config import EngineConfig

    engine = engines.build(EngineConfig(use="onnxruntime", threads=1), bundle)
    engine.start(*frames.shape[1:])
    maps, _ = engine.infer(frames, engine.zero_features())
    return maps[2]


@pytest.mark.parametrize("seed", [1, 2])
def test_the_bundles_engine_gives_decodes_maps(imported: ModelBundle, seed: int) -> None:
    frames = frames_adu(seed)
    expected = decode_maps(random_weights(12), frames, PARAM_RUN)
    found = engine_maps(imported, frames)
    for k, (name, scale) in enumerate(zip(OURS, map_scales(imported.scaling), strict=True)):
        assert float(np.abs(found[k] - expected[name]).max()) < 1e-4 * scale, (
            name
        )  # weights are loud: float32 itself differs by 4e-5
    assert expected["p"].min() == pytest.approx(3.35e-4, rel=2e-3)  # the clamp was reached at both ends
    assert expected["p"].max() == pytest.approx(0.99966, rel=1e-4)
    assert np.abs(expected["x"] - expected["y"]).mean() > 0.05  # x for y would have been seen


GOLDEN: dict[str, list[float]] = {
    "p": [0.00033535, 0.00033535, 0.999665], "phot": [30815.8, 27257.2, 27462.9],
    "x": [-0.999999, -1.0, -0.908485], "y": [-0.723001, 0.999998, -0.999874], "z": [960.0, -960.0, 959.984],
    "phot_sig": [10901.4, 1989.79, 73401.3], "x_sig": [0.00487048, 2.97188, 2.25931],
    "y_sig": [2.99315, 3.00098, 0.066637], "z_sig": [195.389, 2880.13, 2255.58], "bg": [219.224, 166.557, 239.698],
}  # fmt: skip
"""What DECODE itself (0.10.1dev1, 4c0f38c: its SigmaMUNet and its rescaling) gives for `random_weights(12)` and
`frames_adu(1)` at the pixels below; the whole maps were the same as `decode_maps`, to the last bit."""
AT = ((3, 2), (11, 9), (20, 14))


def test_the_reference_is_decodes_own_answer(imported: ModelBundle) -> None:
    """Neither it nor the bundle was only held against our reading of DECODE."""
    reference, found = decode_maps(random_weights(12), frames_adu(1), PARAM_RUN), engine_maps(imported, frames_adu(1))
    for k, (name, scale) in enumerate(zip(OURS, map_scales(imported.scaling), strict=True)):
        for (row, column), value in zip(AT, GOLDEN[name], strict=True):
            assert reference[name][row, column] == pytest.approx(value, abs=1e-4 * float(scale))
            assert found[k][row, column] == pytest.approx(value, abs=1e-4 * float(scale)), name


def test_a_2d_model_of_decode_gives_z_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Attribute 3 disabled: DECODE sets z to 0 and its sigma to 0.1 of z_max (96 nm); all else is as without."""
    param_run = write_run(tmp_path, HyperParameter__disabled_attributes=3)
    weights = write_weights(tmp_path, random_weights(4))
    assert run(["import-decode", str(weights), str(param_run), "--out", str(tmp_path / "flat")]) == 0
    assert "2D: z was disabled" in capsys.readouterr().out
    found = engine_maps(ModelBundle.load(tmp_path / "flat"), frames_adu(1))
    expected = decode_maps(random_weights(4), frames_adu(1), PARAM_RUN)
    assert np.abs(found[4]).max() == 0
    np.testing.assert_allclose(found[8], 96.0, rtol=1e-5)
    np.testing.assert_allclose(found[3], expected["x"], atol=1e-4)
    assert np.abs(expected["z"]).max() > 100


def test_kernels_are_not_transposed(imported: ModelBundle) -> None:
    """Transposed kernels without renaming, the other way to swap axes, answer for the transposed frame."""
    frames = frames_adu(3)
    turned = {
        name: values.transpose(2, 3).contiguous() if values.ndim == 4 else values
        for name, values in random_weights(12).items()
    }
    right = decode_maps(random_weights(12), frames, PARAM_RUN)
    wrong = decode_maps(turned, frames, PARAM_RUN)
    of_turned_frames = decode_maps(turned, np.ascontiguousarray(frames.transpose(0, 2, 1)), PARAM_RUN)
    np.testing.assert_allclose(of_turned_frames["x"].T, right["x"], atol=1e-4)
    assert np.abs(wrong["x"] - right["x"]).mean() > 0.05
    np.testing.assert_allclose(engine_maps(imported, frames)[3], right["x"], atol=1e-4)


def test_published_size_gives_the_same_answer(tmp_path: Path) -> None:
    """48 features, 77 tensors, 2,199,418 trainable numbers; without the export, which takes long at this size."""
    from rtdecode.fit.network import physical_maps

    weights, frames = random_weights(48, seed=5), frames_adu(5, 16, 16)
    assert len(weights) == 77
    assert sum(values.numel() for values in weights.values()) == 2_199_418 + 1
    given = read_decode_run(write_run(tmp_path))
    network = decode_network(write_weights(tmp_path, weights), "elu")
    photons = given.our_camera.photons(frames)
    scaled = torch.tensor((photons - given.our_scaling.input_offset) / given.our_scaling.input_scale)
    with torch.no_grad():
        found = physical_maps(network(scaled[None])[0], given.our_scaling)[0].numpy()
    expected = decode_maps(weights, frames, PARAM_RUN)
    for k, (name, scale) in enumerate(zip(OURS, map_scales(given.our_scaling), strict=True)):
        assert float(np.abs(found[k] - expected[name]).max()) < 1e-4 * scale, name


def test_card_says_what_decode_said_with_axes_swapped(imported: ModelBundle) -> None:
    card = imported.card
    camera = card.camera
    assert camera.px_nm == (117.0, 127.0)  # px_size [127, 117] begins with the rows
    assert (camera.baseline_adu, camera.e_per_adu, camera.em_gain) == (398.6, 5.0, 100.0)
    assert (camera.qe, camera.read_noise_e, camera.spurious_e) == (0.95, 58.8, 0.0015)
    assert list(card.scaling.model_dump().values()) == [110.0, 140.0, 31000.0, 960.0, 240.0]
    assert card.ranges.photons == (100.0, 13000.0)
    assert card.ranges.background == (20.0, 200.0)
    assert card.ranges.z_nm == (-800.0, 800.0)
    assert card.ranges.density_per_um2[1] == pytest.approx(25 / (40 * 0.127 * 40 * 0.117))
    assert (card.detection.peak, card.detection.accept, card.detection.readout) == (0.1, 0.1, "peak")
    assert yaml.safe_load(imported.train_path.read_text()) == PARAM_RUN


def test_it_localizes(imported: ModelBundle) -> None:
    """Positions of a run: x along the columns in 117 nm, at the pixel that DECODE's p names."""
    from rtdecode.core.config import EngineConfig

    frames = frames_adu(4)
    expected = decode_maps(random_weights(12), frames, PARAM_RUN)
    fitter = Fitter(imported, engines.build(EngineConfig(use="onnxruntime", threads=1), imported), Roi(0, 0, 16, 24))
    found = [one for t in range(3) for one in fitter.push(Frame(FrameInfo(t, 0, 0), frames[t]))]
    middle = next(one for one in found if one.info.index == 1).localizations
    row, column = np.unravel_index(np.argmax(expected["p"] > 0.9), expected["p"].shape)
    x_nm, y_nm = (column + expected["y"][row, column]) * 117.0, (row + expected["x"][row, column]) * 127.0
    distance = np.hypot(middle.x_nm - x_nm, middle.y_nm - y_nm)
    assert distance.min() < 0.05


@pytest.mark.parametrize("legacy", [False, True])
def test_both_file_formats_of_torch_are_read(tmp_path: Path, legacy: bool) -> None:
    weights = random_weights(4)
    network = decode_network(write_weights(tmp_path, weights, legacy), "relu")
    assert network.config.features == 4
    assert network.config.activation == "relu"
    base = network.state_dict()["context_net.base.2.weight"]
    torch.testing.assert_close(base, weights["unet_union.base.2.weight"])


class Opened:
    """What a pickle could do on opening."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path(self.trace),)

    def __init__(self, trace: str) -> None:
        self.trace = trace


@pytest.mark.parametrize("legacy", [False, True])
def test_pickled_objects_are_refused_and_not_run(tmp_path: Path, legacy: bool) -> None:
    trace = tmp_path / "was run"
    path = write_weights(tmp_path, {**random_weights(4), "extra": Opened(str(trace))}, legacy)
    with pytest.raises(BundleError, match=r"model_0.pt holds more than tensors.*Save the weights alone"):
        decode_network(path, "elu")
    assert not trace.exists()


def _without(weights: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in weights.items() if key != name}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda w: _without(w, "mt_heads.3.out_conv.bias"), r"missing: mt_heads.3.out_conv.bias"),
        (lambda w: {**w, "unet_shared.base.1.weight": torch.ones(4)}, r"not of it: unet_shared.base.1.weight"),
        (lambda w: {**w, "unet_union.base.2.bias": torch.ones(17)}, r"base.2.bias is \(17,\), expected \(16,\)"),
        (lambda w: {**w, "unet_shared.out_conv.weight": torch.ones(6, 4, 1, 1)}, "initial_features 4 and inter_.* 6"),
        (lambda w: {**w, "sigma_eps": torch.tensor([0.01])}, "sigma_eps is .*another version of DECODE"),
        (lambda w: {**w, "unet_union.base.2.bias": torch.full((16,), torch.nan)}, "not finite in unet_union.base.2"),
        (lambda w: {"model": w, "step": 3}, "found a dict of model, step; take model_0.pt.*not the checkpoint"),
        (lambda w: [1.0], "expected DECODE's state dict .* found list"),
        (lambda w: {}, "unet_shared.encoder.0.0.weight or .* is missing"),
    ],
)
def test_wrong_weights_are_named(tmp_path: Path, change: Any, said: str) -> None:
    with pytest.raises(BundleError, match=said):
        decode_network(write_weights(tmp_path, change(random_weights(4))), "elu")


def test_files_that_are_none_of_torchs(tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_text("no weights")
    (tmp_path / "empty.pt").touch()
    whole = write_weights(tmp_path, random_weights(4)).read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])
    for name in ("text.pt", "empty.pt", "cut.pt", "none.pt"):
        with pytest.raises(BundleError, match=name):
            decode_network(tmp_path / name, "elu")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"Scaling__phot_max": ..., "Scaling__z_max": None}, r"key 'Scaling.phot_max' is missing[\s\S]*Scaling.z_max"),
        ({"Camera__px_size": ...}, r"key 'Camera.px_size' is missing[\s\S]*the param_run.yaml that DECODE wrote"),
        ({"Camera": ...}, "key 'Camera' is missing"),
        ({"Camera__em_gain": 0.0}, "em_gain: .*em_gain is empty"),
        ({"Camera__mirror_dim": -1}, r"Camera.mirror_dim' is -1: DECODE mirrors each frame .* mirror the recordings"),
        ({"HyperParameter__disabled_attributes": [0, 3]}, r"disabled_attributes' is \[0, 3\]; taken over is 3"),
        ({"Camera__convert2photons": False}, "Camera.convert2photons"),
        ({"HyperParameter__arch_param__norm": "GroupNorm"}, "HyperParameter.arch_param.norm.*GroupNorm"),
        ({"HyperParameter__arch_param__pool_mode": "MaxPool"}, "arch_param.pool_mode.*MaxPool"),
        ({"HyperParameter__channels_in": 1}, "channels_in"),
        ({"Simulation__emitter_av": None}, "exactly one of density and emitter_av"),
    ],
)
def test_wrong_configurations_are_named(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        read_decode_run(write_run(tmp_path, **changes))


def test_scmos_and_constant_background_and_density_by_pixel(tmp_path: Path) -> None:
    given = read_decode_run(
        write_run(
            tmp_path, Camera__em_gain=None, Camera__read_sigma=1.5, Camera__spur_noise=0.0, Simulation__bg_uniform=90,
            Simulation__density=0.01, Simulation__emitter_av=None,
        )
    )  # fmt: skip
    assert given.our_camera.em_gain is None
    assert given.our_camera.read_noise_e == 1.5
    assert given.ranges.background == (90.0, 90.0)
    assert given.ranges.density_per_um2 == (0.0, pytest.approx(0.01 / (0.127 * 0.117)))
