"""A trained network as ONNX graph and bundle, held against torch before anyone may use it."""

from __future__ import annotations

import copy
import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rtdecode import __version__
from rtdecode.core.camera import Camera
from rtdecode.core.errors import BundleError, EngineError
from rtdecode.fit.block_graph import BlockGraph
from rtdecode.fit.bundle import (
    GRAPH,
    PSF,
    TRAIN,
    WEIGHTS,
    BundleCard,
    DetectionThresholds,
    ModelBundle,
    RecommendedFilter,
    TrainingRanges,
    save_bundle,
)
from rtdecode.fit.engine_onnxruntime import open_session
from rtdecode.fit.layout import NetworkConfig
from rtdecode.fit.network import Network
from rtdecode.fit.scaling import Scaling

OPSET = 18  # the highest that ONNX Runtime, OpenVINO and TensorRT all read (engines.md §5)
PARITY_BLOCKS = ((1, 1, 1), (3, 2, 3), (2, 5, 2), (5, 3, 4))
"""Frames, rows and columns (in strides) of the blocks a graph must agree on with torch."""
INPUTS, OUTPUTS = ("frames_adu", "features"), ("maps", "new_features")
TOLERANCE = 1e-4  # of each map's scale


def export_bundle(
    folder: Path,
    network: Network,
    *,
    name: str,
    description: str,
    camera: Camera,
    scaling: Scaling,
    ranges: TrainingRanges,
    train_yaml: str,
    psf_path: Path | None = None,
    psf_summary: Mapping[str, Any] | None = None,
    detection: DetectionThresholds | None = None,
    recommended_filter: RecommendedFilter | None = None,
    scores: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> ModelBundle:
    """Write the bundle of a network: weights, graph (checked against torch), PSF, training configuration.

    Raises BundleError (folder taken, PSF unreadable) and EngineError (graph differs from the network).
    """
    card = BundleCard(
        name=name,
        description=description,
        network=network.config,
        scaling=scaling,
        camera=camera,
        psf=dict(psf_summary or {}),
        ranges=ranges,
        detection=detection or DetectionThresholds(),
        recommended_filter=recommended_filter or RecommendedFilter(),
        versions={"rtdecode": __version__, "torch": str(torch.__version__)},
        scores=dict(scores or {}),
        files={},
    )
    contents = {WEIGHTS: weights_bytes(network), GRAPH: _graph_bytes(network, camera, scaling)}
    contents |= {TRAIN: train_yaml.encode()} | ({PSF: _read(psf_path)} if psf_path else {})
    return save_bundle(folder, card, contents, overwrite)


def weights_bytes(network: Network) -> bytes:
    """The weights as safetensors, fp32, names as in `Network.state_dict`."""
    from safetensors.torch import save

    weights = {key: value.detach().float().cpu().contiguous() for key, value in network.state_dict().items()}
    return bytes(save(weights))


def export_onnx(network: Network, camera: Camera, scaling: Scaling, path: Path) -> None:
    """Write the block graph: `frames_adu` (B, 1, H, W), `features` (2, C, h, w) -> `maps`, `new_features`.

    float32; B, H and W are free, H and W in multiples of the stride; camera and scaling inside; opset 18.
    Not checked here: `check_parity`. Raises EngineError.
    """
    graph = BlockGraph(_cpu_copy(network), camera, scaling).eval()
    try:
        _quiet_export(graph, _example(network.config, camera, scaling, (3, 2, 3), 0), network.config, path)
        _strip(path)
    except Exception as error:  # the exporter's errors have no common root
        raise EngineError(f"torch.onnx cannot export this network: {error}") from error


def check_parity(path: Path, network: Network, camera: Camera, scaling: Scaling, seed: int = 1) -> float:
    """Largest difference of ONNX Runtime from the network over fresh random blocks, in units of each map's scale.

    Both are held against float64: on random input a trained network may be so steep that rounding alone moves its maps
    by more than the 1e-4 that are allowed otherwise. Raises EngineError where the graph is off by more, and by more
    than four times what torch's own fp32 is. Why always: given the same tensor twice as example input, the exporter
    aliases the two and writes a file that passes onnx.checker and is wrong (engines.md §5).
    """
    single = BlockGraph(_cpu_copy(network), camera, scaling).eval()
    double, session = copy.deepcopy(single).double(), open_session(path, 0)
    worst = 0.0
    for block, shape in enumerate(PARITY_BLOCKS):
        example = _example(network.config, camera, scaling, shape, seed + block)
        with torch.inference_mode():
            exact = [tensor.numpy() for tensor in double(*(tensor.double() for tensor in example))]
            rounded = [tensor.numpy() for tensor in single(*example)]
        inputs = {name: tensor.numpy() for name, tensor in zip(INPUTS, example, strict=True)}
        found = _difference(exact, session.run(list(OUTPUTS), inputs), scaling)
        allowed = max(TOLERANCE, 4 * _difference(exact, rounded, scaling))
        if not found <= allowed:
            raise EngineError(
                f"{path}: the exported graph differs from the network by {found:.2g} of the maps' scale "
                f"(allowed {allowed:.2g}); do not use it"
            )
        worst = max(worst, found)
    return worst


def map_scales(scaling: Scaling) -> NDArray[np.float32]:
    """(10,) physical size of one network unit in each map."""
    photons, z = scaling.photons_max, scaling.z_max_nm
    return np.array([1, photons, 1, 1, z, photons, 1, 1, z, scaling.background_max], np.float32)


def _graph_bytes(network: Network, camera: Camera, scaling: Scaling) -> bytes:
    with tempfile.TemporaryDirectory(prefix="rtdecode-export-") as folder:
        path = Path(folder) / GRAPH
        export_onnx(network, camera, scaling, path)
        check_parity(path, network, camera, scaling)
        return path.read_bytes()


def _cpu_copy(network: Network) -> Network:
    """fp32 on the CPU, whatever the training runs on; the training's own network is left alone."""
    twin = copy.deepcopy(network)
    twin.to("cpu", torch.float32)
    twin.eval()
    return twin


def _example(
    layout: NetworkConfig, camera: Camera, scaling: Scaling, block: tuple[int, int, int], seed: int
) -> tuple[Tensor, Tensor]:
    """Random ADU over the network's working range, and distinct random features; `block` as PARITY_BLOCKS."""
    random = torch.Generator().manual_seed(seed)
    frames, height, width = block[0], block[1] * layout.stride, block[2] * layout.stride
    scaled = 3.0 * torch.rand(frames, 1, height, width, generator=random) ** 3  # mostly background
    photons = scaled * scaling.input_scale + scaling.input_offset
    adu = camera.baseline_adu + (photons * camera.qe + camera.spurious_e) * camera.adu_per_photon / camera.qe
    features = torch.randn(2, *layout.feature_shape(height, width), generator=random)
    return adu.round(), features


def _quiet_export(graph: BlockGraph, example: tuple[Tensor, Tensor], layout: NetworkConfig, path: Path) -> None:
    rows, columns = torch.export.Dim("rows", min=1), torch.export.Dim("columns", min=1)
    frame, feature = layout.stride, layout.stride // layout.feature_stride
    shapes = (
        {0: torch.export.Dim("frames", min=1), 2: frame * rows, 3: frame * columns},
        {2: feature * rows, 3: feature * columns},
    )
    with warnings.catch_warnings(), _quiet("torch.onnx"):
        warnings.simplefilter("ignore")  # torch's own deprecations, and equal axes sharing one name
        program = torch.onnx.export(
            graph,
            example,
            dynamo=True,
            dynamic_shapes=shapes,
            opset_version=OPSET,
            input_names=INPUTS,
            output_names=OUTPUTS,
            verbose=False,
        )
        assert program is not None  # only with dynamo=False
        program.save(str(path), external_data=False)


@contextmanager
def _quiet(logger_name: str) -> Iterator[None]:
    """The exporter warns of every torchvision operator that it does not find."""
    logger = logging.getLogger(logger_name)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _strip(path: Path) -> None:
    """Drop what the exporter notes at every node: stack traces with paths of this machine, and their weight."""
    import onnx

    model = onnx.load(str(path))
    graph = model.graph
    for item in (model, graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        del item.metadata_props[:]
        item.ClearField("doc_string")
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))


def _difference(reference: list[Any], found: list[Any], scaling: Scaling) -> float:
    """Largest absolute difference of maps in their scales and of features in their rms; inf if not finite."""
    if not all(np.isfinite(array).all() for array in [*reference, *found]):
        return float("inf")
    maps = np.abs(found[0] - reference[0]).max(axis=(0, 2, 3)) / map_scales(scaling)
    features = np.abs(found[1] - reference[1]).max() / max(1.0, float(reference[1].std()))
    return float(max(maps.max(), features))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: the PSF of the bundle cannot be read: {error}") from error
