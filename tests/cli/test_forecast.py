"""Whether a camera can be kept up with, said before the run; and memory that does not grow with the frames."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from rtdecode.cli.app import app
from rtdecode.cli.bench import figures_of
from rtdecode.cli.bench_line import BLOCK, Line, noise, soak
from rtdecode.cli.forecast import CameraLoad, Forecast, forecast, forecast_of, told
from rtdecode.core.config import EngineConfig
from rtdecode.core.errors import ConfigError
from rtdecode.core.frames import Roi
from rtdecode.fit import engines
from rtdecode.fit.bundle import ModelBundle
from rtdecode.fit.fitter import Fitter

ENGINE = EngineConfig(threads=1)


def test_a_slow_camera_is_kept_up_with_and_an_impossible_one_is_not(tiny_bundle: ModelBundle) -> None:
    slow = forecast(CameraLoad.parse("16x16@0.5"), tiny_bundle, ENGINE, seconds=0.2)
    assert slow.verdict == "keeps up with margin" and 0 < slow.share < 1
    fast = forecast(CameraLoad.parse("16x24@1e6"), tiny_bundle, ENGINE, seconds=0.2)
    assert fast.verdict == "will lose frames" and fast.measured_on == (24, 16)


def test_the_command_ends_with_the_verdict_as_its_status(tiny_bundle: ModelBundle) -> None:
    words = ["doctor", "--model", str(tiny_bundle.folder), "--camera"]
    yes = CliRunner().invoke(app, [*words, "16x16@0.5"])
    assert yes.exit_code == 0 and "keeps up with margin" in yes.output
    no = CliRunner().invoke(app, [*words, "16x16@1000000"])
    assert no.exit_code == 1 and "will lose frames" in no.output and "what to do" in no.output


def test_a_large_region_is_scaled_by_its_area_and_says_so(tiny_bundle: ModelBundle) -> None:
    found = Forecast(CameraLoad(2048, 2048, 100.0), rate_fps=80.0, p99_ms=20.0, measured_on=(512, 512))
    words = dict(told(found, tiny_bundle, EngineConfig(), able_bf16=False))
    assert "scaled by area" in words["this machine"] and words["time used"] == "125% of it"
    assert words["verdict"].startswith("will lose frames: 20 of 100 per second")


def test_advice_leads_back_to_a_margin(tiny_bundle: ModelBundle) -> None:
    found = Forecast(CameraLoad(128, 128, 100.0), rate_fps=105.0, p99_ms=12.0, measured_on=(128, 128))
    assert found.verdict == "keeps up barely"
    advice = [words for name, words in told(found, tiny_bundle, EngineConfig(), True) if name == "what to do"]
    assert advice[0] == "at most 73.5 frames/s at this size" and "104 x 104 px" in advice[1] and "bf16" in advice[2]


@pytest.mark.parametrize("text", ["128@100", "0x10@5", "128x128@0", "128x128", "axb@c"])
def test_a_camera_that_is_none_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match="128x128@100"):
        CameraLoad.parse(text)


def test_memory_does_not_grow_with_the_frames(tmp_path: Path, tiny_bundle: ModelBundle) -> None:
    with Line.open(tiny_bundle, engines.build(ENGINE, tiny_bundle), tmp_path / "run", (16, 16)) as line:
        points = list(soak(line, 2000, points=4))
    assert points[-1]["frames"] == 2000 and line.stage.status()["fitted"] == 1999
    grown_mb = points[-1]["rss_MB"] - points[0]["rss_MB"]
    assert grown_mb < 10, "one frame's ten maps kept each time would be 15 MB"


def test_an_engine_of_a_gpu_is_measured_in_blocks_too(tmp_path: Path, tiny_bundle: ModelBundle) -> None:
    """A line that is behind gives it blocks, so the rate that it holds is that of blocks."""
    torch_cuda = pytest.importorskip("rtdecode.fit.engine_torch_cuda")
    made = torch_cuda.TorchCudaEngine(tiny_bundle, "fp32", device="cpu", largest_block=4)
    with Line.open(tiny_bundle, made, tmp_path / "run", (16, 16)) as line:
        line.one(0)
        line.several(0)
        line.several(1)
        assert line.stage.status()["fitted"] == 2 * BLOCK and line.ring.received == 2 * BLOCK + 1
    built = torch_cuda.TorchCudaEngine(tiny_bundle, "fp32", device="cpu", largest_block=4)
    found = forecast_of(CameraLoad.parse("16x16@0.5"), tiny_bundle, built, seconds=0.2)
    assert found.verdict == "keeps up with margin" and found.p99_ms > 0
    built = torch_cuda.TorchCudaEngine(tiny_bundle, "fp32", device="cpu", largest_block=4)
    figures = figures_of(Fitter(tiny_bundle, built, Roi(0, 0, 16, 16)), noise(tiny_bundle, (16, 16)), 0.1)
    assert figures["block"] == 4 and figures["frames_per_s_in_blocks"] > 0
