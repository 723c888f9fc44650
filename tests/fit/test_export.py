"""The exported graph: its signature, its size freedom, and a parity check that really refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

import numpy as np  # noqa: E402
from tiny_model import TINY_CAMERA  # noqa: E402

from rtdecode.core.errors import BundleError, EngineError  # noqa: E402
from rtdecode.fit.block_graph import BlockGraph  # noqa: E402
from rtdecode.fit.bundle import ModelBundle  # noqa: E402
from rtdecode.fit.engine_torch import TorchEngine  # noqa: E402
from rtdecode.fit.export import check_parity, export_bundle, export_onnx  # noqa: E402
from rtdecode.fit.layout import NetworkConfig  # noqa: E402
from rtdecode.fit.network import Network  # noqa: E402
from rtdecode.fit.scaling import Scaling  # noqa: E402


def network_of(bundle: ModelBundle) -> Network:
    graph = TorchEngine(bundle)._graph
    assert isinstance(graph, BlockGraph)
    return graph.network


@pytest.mark.parametrize(("which", "stride", "feature"), [("tiny_bundle", 8, 4), ("full_bundle", 4, 4)])
def test_signature_and_size_freedom(request: pytest.FixtureRequest, which: str, stride: int, feature: int) -> None:
    bundle: ModelBundle = request.getfixturevalue(which)
    model = onnx.load(bundle.onnx_path)
    assert [opset.version for opset in model.opset_import] == [18]
    shapes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in [*model.graph.input, *model.graph.output]
    }
    sides = [f"{stride}*rows", f"{stride}*columns"]
    inner = [f"{feature}*rows", f"{feature}*columns"]
    assert shapes == {
        "frames_adu": ["frames", 1, *sides],
        "features": [2, 8, *inner],
        "maps": ["frames", 10, *sides],
        "new_features": [2, 8, *inner],
    }


def test_the_graph_knows_nothing_of_the_machine_it_was_made_on(tiny_bundle: ModelBundle) -> None:
    graph = tiny_bundle.onnx_path.read_bytes()
    assert b"site-packages" not in graph
    assert str(Path(__file__).parents[2]).encode() not in graph


def test_parity_holds_on_blocks_the_export_never_saw(tiny_bundle: ModelBundle) -> None:
    network = network_of(tiny_bundle)
    assert check_parity(tiny_bundle.onnx_path, network, tiny_bundle.camera, tiny_bundle.scaling, seed=77) < 1e-4


def test_parity_refuses_other_weights_camera_and_scaling(tiny_bundle: ModelBundle) -> None:
    path, camera, scaling = tiny_bundle.onnx_path, tiny_bundle.camera, tiny_bundle.scaling
    network = network_of(tiny_bundle)
    with pytest.raises(EngineError, match="differs from the network"):
        check_parity(path, network, camera.model_copy(update={"em_gain": 299.0}), scaling)
    with pytest.raises(EngineError, match="differs from the network"):
        check_parity(path, network, camera, scaling.model_copy(update={"z_max_nm": 901.0}))
    with torch.no_grad():
        network.context_net.base[0].weight += 0.01
    with pytest.raises(EngineError, match="differs from the network"):
        check_parity(path, network, camera, scaling)


def test_the_aliased_export_is_caught(
    tiny_bundle: ModelBundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The neighbours wired wrongly, as by an exporter that took two inputs for one, must not pass."""

    class Swapped(BlockGraph):
        def forward(self, frames_adu: torch.Tensor, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return super().forward(frames_adu, torch.stack([features[1], features[1]]))

    network = network_of(tiny_bundle)
    monkeypatch.setattr("rtdecode.fit.export.BlockGraph", Swapped)
    with pytest.raises(EngineError, match="differs from the network"):
        check_parity(tiny_bundle.onnx_path, network, tiny_bundle.camera, tiny_bundle.scaling)


def test_camera_and_scaling_are_inside(tiny_bundle: ModelBundle) -> None:
    """Golden camera numbers: ADU 200 is 14.998 photons, and the network sees (photons - offset) / scale."""
    seen: list[torch.Tensor] = []
    network = network_of(tiny_bundle)
    graph = BlockGraph(network, TINY_CAMERA, tiny_bundle.scaling)
    network.frame_net.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        graph(torch.full((1, 1, 8, 8), 200.0), torch.zeros(2, 8, 4, 4))
    np.testing.assert_allclose(seen[0].numpy(), (14.998 - 120) / 200, rtol=1e-5)


def test_a_psf_travels_with_the_bundle(
    tiny_bundle: ModelBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rtdecode.fit.export._graph_bytes", lambda *_: tiny_bundle.onnx_path.read_bytes())
    card = tiny_bundle.card

    def export(folder: Path, psf: Path) -> ModelBundle:
        return export_bundle(
            folder,
            network_of(tiny_bundle),
            name="with psf",
            description="",
            camera=card.camera,
            scaling=card.scaling,
            ranges=card.ranges,
            train_yaml="",
            psf_path=psf,
            psf_summary={"kind": "spline", "dz_nm": 10.0},
        )

    with pytest.raises(BundleError, match="PSF of the bundle cannot be read"):
        export(tmp_path / "none", tmp_path / "missing.safetensors")
    (tmp_path / "psf").write_bytes(b"coefficients")
    made = export(tmp_path / "made", tmp_path / "psf")
    assert made.psf_path.read_bytes() == b"coefficients"
    assert made.card.psf == {"kind": "spline", "dz_nm": 10.0}
    assert made.weights_path.read_bytes() == tiny_bundle.weights_path.read_bytes()


@pytest.mark.parametrize("variant", [{"fine": 4}, {"context": "dilated"}])
def test_every_kind_of_network_exports_to_what_torch_computes(tmp_path: Path, variant: dict[str, object]) -> None:
    torch.manual_seed(5)
    network = Network(NetworkConfig(features=8, stem="half", heads="shared", activation="silu", **variant))  # type: ignore[arg-type]
    with torch.no_grad():  # a correction that starts at zero would hide a wrong graph
        for weights in network.heads.parameters():
            weights += 0.1 * torch.randn_like(weights)
    scaling = Scaling.from_ranges(10000, 3000, (90, 150), 750)
    export_onnx(network, TINY_CAMERA, scaling, tmp_path / "model.onnx")
    assert check_parity(tmp_path / "model.onnx", network, TINY_CAMERA, scaling) < 1e-4
