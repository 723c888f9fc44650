"""A few lines to append nodes to an ONNX graph in the order of the formulas; needs `onnx`, not torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rtdecode.core.errors import EngineError
from rtdecode.core.extras import install

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto


def import_onnx() -> Any:
    """The module `onnx`; raises EngineError that says how to get it."""
    try:
        import onnx
    except ImportError as error:
        raise EngineError(f"onnx is not installed ({error}); {install('gpu')}") from error
    return onnx


class Builder:
    """Appends nodes and constants to `graph`; every new name begins with `prefix`."""

    def __init__(self, graph: GraphProto, prefix: str) -> None:
        self._graph, self._prefix, self._count = graph, prefix, 0
        self._onnx = import_onnx()

    def op(self, kind: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        """Append one node, give the name of its output."""
        output = name or self._fresh()
        self._graph.node.append(self._onnx.helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def ops(self, kind: str, *inputs: str, outputs: int, **attributes: Any) -> list[str]:
        """Append one node of several outputs."""
        names = [self._fresh() for _ in range(outputs)]
        self._graph.node.append(self._onnx.helper.make_node(kind, list(inputs), names, **attributes))
        return names

    def floats(self, value: Any) -> str:
        """A float32 constant."""
        return self._constant(np.asarray(value, np.float32))

    def integers(self, value: Any) -> str:
        """An int64 constant."""
        return self._constant(np.asarray(value, np.int64))

    def _constant(self, array: np.ndarray[Any, Any]) -> str:
        name = self._fresh()
        self._graph.initializer.append(self._onnx.numpy_helper.from_array(array, name))
        return name

    def _fresh(self) -> str:
        self._count += 1
        return f"{self._prefix}{self._count}"


def add_input(graph: GraphProto, name: str, kind: str, shape: list[int | str]) -> None:
    """Declare a graph input; `kind` as in TensorProto: FLOAT, UINT8."""
    helper, tensor = import_onnx().helper, import_onnx().TensorProto
    graph.input.append(helper.make_tensor_value_info(name, getattr(tensor, kind), shape))


def set_outputs(graph: GraphProto, outputs: dict[str, tuple[str, list[int | str]]]) -> None:
    """Name -> (type, shape): these are the outputs from now on."""
    helper, tensor = import_onnx().helper, import_onnx().TensorProto
    del graph.output[:]
    for name, (kind, shape) in outputs.items():
        graph.output.append(helper.make_tensor_value_info(name, getattr(tensor, kind), shape))


def sort_nodes(graph: GraphProto) -> None:
    """Nodes in an order in which each input is made before it is used; stable. Raises EngineError for a cycle."""
    known = {value.name for value in [*graph.input, *graph.initializer]} | {""}
    waiting, ordered = list(graph.node), []
    while waiting:
        late = []
        for node in waiting:
            if all(name in known for name in node.input):
                ordered.append(node)
                known.update(node.output)
            else:
                late.append(node)
        if len(late) == len(waiting):
            raise EngineError(f"ONNX graph: nobody makes {sorted(set(late[0].input) - known)}; the surgery is wrong")
        waiting = late
    del graph.node[:]
    graph.node.extend(ordered)


def drop_unused(graph: GraphProto) -> None:
    """Leave out constants that no node reads."""
    used = {name for node in graph.node for name in node.input}
    kept = [item for item in graph.initializer if item.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def checked(model: ModelProto) -> ModelProto:
    """The model, after ONNX's own full check; raises EngineError."""
    onnx = import_onnx()
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # checker and shape inference have no common root
        raise EngineError(f"ONNX's checker refuses the graph that was made for the device: {error}") from error
    return model
