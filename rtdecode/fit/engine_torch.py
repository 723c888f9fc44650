"""PyTorch in fp32: the reference that other engines are held against; needs the [train] extra."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rtdecode.core.errors import EngineError
from rtdecode.core.extras import install
from rtdecode.fit.blocks import Array, CpuEngine
from rtdecode.fit.bundle import ModelBundle

if TYPE_CHECKING:
    from rtdecode.fit.block_graph import BlockGraph


class TorchEngine(CpuEngine):
    """Runs the bundle's weights (not its graph). `threads` sets torch's number for the whole process."""

    name = "torch"

    def __init__(self, bundle: ModelBundle, precision: str = "fp32", threads: int = 0) -> None:
        super().__init__(bundle.network)
        if precision != "fp32":
            raise EngineError(f"torch: the reference runs in fp32 only, {precision!r} was asked for")
        self.precision = precision
        self._graph = _load(bundle, threads)

    def _compile(self, height_px: int, width_px: int) -> None:
        """Nothing to do: eager torch takes any size."""

    def _run(self, frame_adu: Array, features: Array) -> tuple[Array, Array]:
        import torch

        with torch.inference_mode():
            maps, new_features = self._graph(torch.tensor(frame_adu), torch.tensor(features))
        return maps.numpy(), new_features.numpy()


def _load(bundle: ModelBundle, threads: int) -> BlockGraph:
    try:
        import torch
        from safetensors.torch import load_file

        from rtdecode.fit.block_graph import BlockGraph
        from rtdecode.fit.network import Network
    except ImportError as error:
        raise EngineError(f"torch is not installed ({error}); {install('train')}") from error
    if threads:
        torch.set_num_threads(threads)
    network = Network(bundle.network).eval()
    try:
        network.load_state_dict(load_file(str(bundle.weights_path)), strict=True)
    except Exception as error:  # safetensors and torch raise several types
        raise EngineError(f"torch: {bundle.weights_path} does not fit {bundle.network}: {error}") from error
    graph = BlockGraph(network, bundle.camera, bundle.scaling)
    graph.eval()
    return graph
