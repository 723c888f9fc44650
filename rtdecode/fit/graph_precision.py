"""A bundle's fp32 graph with its convolutions in bf16 or fp16: camera conversion and physical units stay fp32.

TensorRT 11 builds strongly typed networks only: the precision is what the ONNX says (engines.md §4d).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rtdecode.core.errors import EngineError
from rtdecode.fit.onnx_building import Builder, checked, drop_unused, import_onnx, sort_nodes

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

BF16_OPSET = 23  # bf16 Conv and Elu exist from 22
FLOAT = 1  # TensorProto.FLOAT
KEPT_INPUTS = {
    "Resize": (1, 2, 3),
    "Reshape": (1,),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Expand": (1,),
    "Pad": (1, 3),
}
"""Inputs that are sizes or scales, whatever the precision of what flows."""


def converted(model: ModelProto, precision: str) -> ModelProto:
    """A copy whose network runs in "bf16" (opset 23) or "fp16" (opset as it was); "fp32": the copy alone.

    Low precision is every node on a way from the scaled frames or the carried features to a convolution; inputs and
    outputs stay float32. Raises EngineError for another precision or a graph that is not a block graph.
    """
    if precision not in ("fp32", "bf16", "fp16"):
        raise EngineError(f"precision {precision!r} is not one of fp32, bf16, fp16")
    onnx = import_onnx()
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    if precision == "fp32":
        return copy
    tensor = onnx.TensorProto
    _Lowering(copy, tensor.BFLOAT16 if precision == "bf16" else tensor.FLOAT16).apply()
    if precision == "bf16":
        _raise_opset(copy, BF16_OPSET)
    return checked(copy)


class _Lowering:
    """One pass over one graph; names of low values are the old ones, casts stand at the walls."""

    def __init__(self, model: ModelProto, kind: int) -> None:
        self._onnx = import_onnx()
        inferred = self._onnx.shape_inference.infer_shapes(model, data_prop=True).graph
        values = [*inferred.value_info, *inferred.input, *inferred.output]
        self._types = {value.name: value.type.tensor_type.elem_type for value in values}
        self._constants = {item.name: item for item in model.graph.initializer}
        self._types |= {name: item.data_type for name, item in self._constants.items()}
        self._graph, self._kind = model.graph, kind
        self._low = _network_nodes(model.graph.node)
        self._cast: dict[tuple[str, int], str] = {}
        self._builder = Builder(model.graph, "precision/")

    def apply(self) -> None:
        made_low = {name for k in self._low for name in self._graph.node[k].output if self._types.get(name) == FLOAT}
        self._rename_outputs(made_low)
        for k, node in enumerate(list(self._graph.node)):
            kept = KEPT_INPUTS.get(node.op_type, ()) if k in self._low else ()
            for place, name in enumerate(node.input):
                if self._types.get(name) != FLOAT or place in kept:
                    continue
                if k in self._low and name not in made_low:
                    node.input[place] = self._as(name, self._kind)
                elif k not in self._low and name in made_low:
                    node.input[place] = self._as(name, FLOAT)
        del self._graph.value_info[:]
        sort_nodes(self._graph)
        drop_unused(self._graph)

    def _rename_outputs(self, made_low: set[str]) -> None:
        """A graph output that a low node makes becomes its float32 cast, under the output's name."""
        for output in [value.name for value in self._graph.output if value.name in made_low]:
            inner = f"precision/{output}"
            for node in self._graph.node:
                for names in (node.input, node.output):
                    for place, name in enumerate(names):
                        if name == output:
                            names[place] = inner
            made_low.remove(output)
            made_low.add(inner)
            self._types[inner] = FLOAT
            self._builder.op("Cast", inner, name=output, to=FLOAT)
            self._cast[inner, FLOAT] = output

    def _as(self, name: str, kind: int) -> str:
        if (name, kind) not in self._cast:
            if name in self._constants:
                self._cast[name, kind] = self._constant(name, kind)
            else:
                self._cast[name, kind] = self._builder.op("Cast", name, to=kind)
        return self._cast[name, kind]

    def _constant(self, name: str, kind: int) -> str:
        helper = self._onnx.helper
        array = self._onnx.numpy_helper.to_array(self._constants[name])
        low = array.astype(helper.tensor_dtype_to_np_dtype(kind))
        if not np.isfinite(low.astype(np.float32)).all():
            raise EngineError(f"{name}: a weight lies beyond this precision's range; use bf16 or fp32")
        fresh = f"precision/{name}"
        self._graph.initializer.append(helper.make_tensor(fresh, kind, array.shape, low.tobytes(), raw=True))
        return fresh


def conversion_chain(nodes: Any) -> list[NodeProto]:
    """The three nodes that turn `frames_adu` into the network's input; raises EngineError for another graph."""
    chain, value = [], "frames_adu"
    for kind in ("Sub", "Mul", "Sub"):
        users = [node for node in nodes if value in node.input]
        if len(users) != 1 or users[0].op_type != kind or users[0].input[0] != value:
            raise EngineError(
                f"this graph does not begin with Sub, Mul, Sub on frames_adu (found {[u.op_type for u in users]} on "
                f"{value}): it is not a bundle's block graph, or one of a newer exporter; export it again"
            )
        chain.append(users[0])
        value = users[0].output[0]
    return chain


def _network_nodes(nodes: Any) -> set[int]:
    """Indices of nodes on a way from the scaled frames or `features` to a convolution."""
    chain = conversion_chain(nodes)
    downstream, reached = {"features", chain[-1].output[0]}, set()
    for k, node in enumerate(nodes):
        if not downstream.isdisjoint(node.input):
            downstream.update(node.output)
            reached.add(k)
    needed: set[str] = set()
    low: set[int] = set()
    for k in range(len(nodes) - 1, -1, -1):
        if k in reached and (nodes[k].op_type == "Conv" or not needed.isdisjoint(nodes[k].output)):
            low.add(k)
            needed.update(nodes[k].input)
    return low


def _raise_opset(model: ModelProto, version: int) -> None:
    """The operators of a block graph mean the same from 18 to 23, which adds types; the checker looks after."""
    for opset in model.opset_import:
        if opset.domain == "":
            opset.version = max(opset.version, version)
    model.ir_version = max(model.ir_version, 10)
