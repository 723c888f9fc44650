"""One graph for a device, made of a bundle's model.onnx without torch: raw ADU and features in, rows out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtdecode.core.camera import Camera
from rtdecode.core.errors import EngineError
from rtdecode.fit.bundle import DetectionThresholds, ModelBundle
from rtdecode.fit.detector_graph import append_detector
from rtdecode.fit.device import N_ROW, crowding_windows
from rtdecode.fit.graph_precision import conversion_chain, converted
from rtdecode.fit.onnx_building import Builder, add_input, checked, drop_unused, import_onnx, set_outputs, sort_nodes

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto

INPUTS = ("frames_adu", "features", "baseline_adu", "e_per_adu", "inside")
OUTPUTS = ("rows", "candidates", "new_features")


def device_graph(
    bundle: ModelBundle,
    precision: str,
    slots: int,
    groups: int = 1,
    detection: DetectionThresholds | None = None,
    raw_uint16: bool = False,
    with_maps: bool = False,
    quantized: Path | None = None,
) -> ModelProto:
    """The graph `frames_adu, features, baseline_adu, e_per_adu, inside -> rows, candidates, new_features[, maps]`.

    frames_adu (B, 1, H, W) float32, or with `raw_uint16` uint8 (B, H, W, 2), the bytes of little-endian uint16 (no
    runtime here takes uint16, and half the bytes cross the bus); baseline_adu, e_per_adu, inside (1, 1, H, W), see
    `device.Inputs`; rows and candidates as Detector. "int8" takes `quantized`, the bundle's graph with symmetric
    QuantizeLinear and DequantizeLinear at its convolutions and float32 between them. Raises EngineError.
    """
    if (precision == "int8") != (quantized is not None):
        raise EngineError(
            f"precision {precision} with the quantized graph {quantized}: int8 needs one, others take none"
        )
    model = converted(load(quantized or bundle.onnx_path), "fp32" if quantized else precision)
    take_camera_maps(model.graph, bundle.camera)
    if raw_uint16:
        _take_bytes(model.graph)
    height, width = (model.graph.input[0].type.tensor_type.shape.dim[k] for k in ((1, 2) if raw_uint16 else (2, 3)))
    sides: list[int | str] = [height.dim_param, width.dim_param]
    add_input(model.graph, "inside", "FLOAT", [1, 1, *sides])
    append_detector(
        model.graph,
        "maps",
        "inside",
        detection or bundle.detection,
        slots,
        groups,
        crowding_windows(bundle),
        bundle.tells_z,
    )
    features = next(output for output in model.graph.output if output.name == "new_features")
    shape = [dim.dim_param or dim.dim_value for dim in features.type.tensor_type.shape.dim]
    outputs: dict[str, tuple[str, list[int | str]]] = {
        "rows": ("FLOAT", ["frames", groups, slots, N_ROW]),
        "candidates": ("INT32", ["frames", groups]),
        "new_features": ("FLOAT", shape),
    }
    set_outputs(model.graph, outputs | ({"maps": ("FLOAT", ["frames", 10, *sides])} if with_maps else {}))
    sort_nodes(model.graph)
    drop_unused(model.graph)
    return checked(model)


def take_camera_maps(graph: GraphProto, camera: Camera) -> None:
    """Put inputs `baseline_adu` and `e_per_adu` (1, 1, H, W) in the place of the camera's two constants.

    The constants must be those of `camera`: ((adu - baseline) e_per_adu) k - offset. Raises EngineError.
    """
    subtract, scale, _ = conversion_chain(graph.node)
    baseline, gain = (_number(graph, node.input[1]) for node in (subtract, scale))
    if abs(baseline - camera.baseline_adu) > 1e-5 * max(1.0, camera.baseline_adu):
        raise EngineError(f"the graph subtracts {baseline:g} ADU, the bundle's camera has {camera.baseline_adu:g}")
    dims = graph.input[0].type.tensor_type.shape.dim
    sides: list[int | str] = [dims[2].dim_param, dims[3].dim_param]
    for name in ("baseline_adu", "e_per_adu"):
        add_input(graph, name, "FLOAT", [1, 1, *sides])
    b = Builder(graph, "camera/")
    subtract.input[1] = "baseline_adu"
    scale.input[1] = b.op("Mul", "e_per_adu", b.floats(gain / camera.e_per_adu))


def _take_bytes(graph: GraphProto) -> None:
    """`frames_adu` as bytes: low + 256 high in float32, which is exact."""
    subtract = conversion_chain(graph.node)[0]
    dims = graph.input[0].type.tensor_type.shape.dim
    shape: list[int | str] = [dims[0].dim_param, dims[2].dim_param, dims[3].dim_param, 2]
    others = list(graph.input)[1:]
    del graph.input[:]
    add_input(graph, "frames_adu", "UINT8", shape)
    graph.input.extend(others)
    b = Builder(graph, "bytes/")
    parts = b.op("Mul", b.op("Cast", "frames_adu", to=1), b.floats([1.0, 256.0]))
    subtract.input[0] = b.op("Unsqueeze", b.op("ReduceSum", parts, b.integers([3]), keepdims=0), b.integers([1]))


def load(path: Path) -> ModelProto:
    """A graph from disk; raises EngineError."""
    onnx = import_onnx()
    try:
        return onnx.load(str(path))
    except Exception as error:  # protobuf and OS errors
        raise EngineError(f"{path}: cannot be read as an ONNX graph: {error}") from error


def _number(graph: GraphProto, name: str) -> float:
    found: list[Any] = [item for item in graph.initializer if item.name == name]
    if not found:
        raise EngineError(f"the graph's camera conversion uses {name}, which is no constant: not a block graph")
    return float(import_onnx().numpy_helper.to_array(found[0]))
