"""`python -m rtdecode.fit.quantize BUNDLE GRAPH`: a bundle's graph as int8 for OpenVINO, made with NNCF.

A process of its own: NNCF takes seconds to import, brings torch where that is installed, draws bars on the terminal
and by default reports its use to its maker.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rtdecode.fit.bundle import ModelBundle
from rtdecode.fit.engine_openvino import OpenVinoEngine
from rtdecode.fit.graph_scope import in_floating_point
from rtdecode.fit.int8 import SETTINGS
from rtdecode.fit.trial import SHAPE_PX, trial_clips

Sample = dict[str, NDArray[np.float32]]
QUIET = {"NNCF_CI": "1", "CI": "true"}
"""Environment in which NNCF and openvino-telemetry send nothing."""


def quantize(bundle: ModelBundle, graph: Path) -> None:
    """Write the OpenVINO IR `graph` (.xml, with a .bin beside it), of free size as the bundle's ONNX is."""
    import nncf
    import openvino

    model = openvino.Core().read_model(str(bundle.onnx_path))
    samples = list(calibration_samples(bundle))
    quantized = nncf.quantize(
        model,
        nncf.Dataset(samples),
        preset=nncf.QuantizationPreset.MIXED,  # activations are not symmetric behind ELU, ReLU, SiLU
        target_device=nncf.TargetDevice.CPU,
        subset_size=len(samples),
        ignored_scope=nncf.IgnoredScope(names=in_floating_point(model)),
    )
    openvino.save_model(quantized, str(graph), compress_to_fp16=False)


def calibration_samples(bundle: ModelBundle) -> Iterator[Sample]:
    """What the graph meets in a run: simulated frames (1, 1, 64, 64) and the features of the two before each.

    Raises BundleError without a PSF.
    """
    n_clips, n_frames, seed = SETTINGS["calibration"]
    engine = OpenVinoEngine(bundle.onnx_path, bundle.network)
    engine.start(*SHAPE_PX)
    for clip in trial_clips(bundle, n_clips, n_frames, seed).frames_adu:
        features = engine.zero_features()
        for number, frame in enumerate(clip.astype(np.float32)):
            if number > 1:
                yield {"frames_adu": frame[None, None], "features": features}
            _, features = engine.infer(frame[None], features)
            if number == 0:
                features = np.stack([features[1]] * 2)  # as rtdecode.fit.windows begins a stream


def main(arguments: list[str]) -> None:
    """The command line of the process."""
    folder, graph = arguments
    os.environ.update(QUIET)
    quantize(ModelBundle.load(folder), Path(graph))


if __name__ == "__main__":
    main(sys.argv[1:])
