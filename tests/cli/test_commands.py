"""The command line: help with examples, one clear message for each fault, the fixed points that scripts rely on."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from typer.main import get_command

from rtdecode.cli.app import app, run
from rtdecode.cli.terminal import status_line
from rtdecode.fit.bundle import ModelBundle
from rtdecode.session.status import RunStatus

COMMANDS = sorted(c.name or c.callback.__name__ for c in app.registered_commands if c.callback and not c.hidden)
Captured = pytest.CaptureFixture[str]


def refused(capsys: Captured, *arguments: str) -> str:
    """What is said on stderr; the status must be 1 and there must be no traceback."""
    assert run(list(arguments)) == 1
    said = capsys.readouterr().err
    assert said.startswith("rtdecode: ") and "Traceback" not in said
    return said


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example(command: str, capsys: Captured) -> None:
    assert run([command, "--help"]) == 0
    out = capsys.readouterr().out
    assert "Example:" in out and f"rtdecode {command}" in out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_is_a_whole_sentence(command: str) -> None:
    options = get_command(app).commands[command].params  # type: ignore[attr-defined]
    cut = [option.name for option in options if option.help and not option.help.endswith(".")]
    assert cut == []


def test_all_commands_of_the_issue_are_there() -> None:
    wanted = "bench calibrate demo doctor evaluate export live models replay report simulate stop train view"
    assert set(wanted.split()) <= set(COMMANDS)


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    heavy = ["torch", "onnx", "openvino", "PySide6", "pyqtgraph", "pymmcore_plus", "scipy", "numba"]
    code = f"""
import sys
from rtdecode.cli.app import run
assert run(['--help']) == 0
found = [name for name in {heavy} if name in sys.modules]
assert not found, found
import rtdecode.session, rtdecode.stages.worker, rtdecode.cli.terminal
found = [name for name in ('torch', 'onnx', 'openvino', 'PySide6', 'pyqtgraph', 'pymmcore_plus') if name in sys.modules]
assert not found, found
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_ctrl_c_while_a_command_loads_is_no_traceback() -> None:
    code = """
import sys
from importlib.abc import MetaPathFinder
class Impatient(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == 'rtdecode.cli.app':
            raise KeyboardInterrupt
sys.meta_path.insert(0, Impatient())
sys.argv = ['rtdecode', 'models']
from rtdecode.cli import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "")


def test_doctor_answers_where_torch_viewer_and_micro_manager_are_missing() -> None:
    code = """
import sys
from importlib.abc import MetaPathFinder
class Missing(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('torch', 'onnx', 'PySide6', 'pyqtgraph', 'pymmcore_plus', 'pymmcore'):
            raise ModuleNotFoundError(f'No module named {name!r}', name=name)
sys.meta_path.insert(0, Missing())
import importlib.util
find_spec = importlib.util.find_spec
gone = ('torch', 'PySide6', 'pyqtgraph', 'pymmcore_plus')
importlib.util.find_spec = lambda name, *rest: None if name in gone else find_spec(name, *rest)
from rtdecode.cli.app import run
sys.exit(run(['doctor']))
"""  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for words in ("processor", "engine openvino", ".[train]", ".[micromanager]", ".[view]"):
        assert words in done.stdout
    assert "probe failed" not in done.stdout


def test_faults_of_the_user_are_one_message_and_status_1(
    tmp_path: Path, tiny_bundle: ModelBundle, capsys: Captured
) -> None:
    movie = tmp_path / "movie.npy"
    np.save(movie, np.zeros((3, 16, 16), np.uint16))
    out, model = ["--out", str(tmp_path / "run"), "--no-view"], ["--model", str(tiny_bundle.folder)]
    assert "no-such" in refused(capsys, "replay", str(movie), "--model", "no-such", *out)
    for pace in ("quickly", "0", "-5", "nan"):
        assert f"--pace '{pace}'" in refused(capsys, "replay", str(movie), *model, *out, f"--pace={pace}")
    for lose in ("all", "every=x", "frames=3-", "every=1"):
        assert "every" in refused(capsys, "replay", str(movie), *model, *out, "--lose", lose)
    camera = tmp_path / "camera.yaml"
    camera.write_text("px_nm: [100, 110]\nbaseline_adu: 100\ne_per_ad: 45\nread_noise_e: 74.4\n")
    said = refused(capsys, "replay", str(movie), *model, *out, "--camera", str(camera))
    assert "camera.yaml, line 3: unknown key 'e_per_ad'; did you mean 'e_per_adu'" in said
    camera.write_text("px_nm: [100, 110]\nbaseline_adu: 100\ne_per_adu: 45\nread_noise_e: 74.4\nem_gain: 100\n")
    said = refused(capsys, "replay", str(movie), *model, *out, "--camera", str(camera))
    assert "em_gain: model 300.0, run 100.0" in said and "--allow-camera-mismatch" in said
    assert "no-such.tif" in refused(capsys, "replay", str(tmp_path / "no-such.tif"), *model, *out)
    movie.write_bytes(movie.read_bytes()[:200])
    assert "movie.npy" in refused(capsys, "replay", str(movie), *model, *out)
    assert not (tmp_path / "run").exists()  # what is refused leaves nothing behind
    assert "nothing runs here" in refused(capsys, "stop", str(finished_run(tmp_path, tiny_bundle)))
    assert "not a run" in refused(capsys, "report", str(tmp_path))
    assert "--truth" in refused(capsys, "evaluate", str(tmp_path))
    assert run(["replay"]) == 2  # usage


def test_calibrate_overwrites_nothing(tmp_path: Path, capsys: Captured) -> None:
    beads, psf = tmp_path / "beads.npy", tmp_path / "psf.safetensors"
    np.save(beads, np.zeros((9, 40, 40), np.uint16))
    psf.write_text("precious")
    calibrate = ["calibrate", str(beads), "--dz-nm", "10", "--out"]
    assert "exists already" in refused(capsys, *calibrate, str(psf)) and psf.read_text() == "precious"
    assert "there is no folder" in refused(capsys, *calibrate, str(tmp_path / "none" / "psf.safetensors"))
    assert "no bead" in refused(capsys, *calibrate, str(tmp_path / "new.safetensors"))


def test_a_wrong_key_in_a_live_yaml_names_file_line_and_key(
    tmp_path: Path, tiny_bundle: ModelBundle, capsys: Captured
) -> None:
    config = tmp_path / "live.yaml"
    text = f"model: {tiny_bundle.folder}\nsource:\n  use: simulated\n  frames: 5\n  fsp: 100\n"
    config.write_text(text)
    said = refused(capsys, "live", str(config), "--out", str(tmp_path / "run"))
    assert "live.yaml (simulated), line 5: unknown key 'fsp'; did you mean 'fps'" in said
    config.write_text(text.replace("fsp", "fps") + "limit:\n  frames: 3\n")
    assert "live.yaml, line 6: unknown key 'limit'; did you mean 'limits'" in refused(capsys, "live", str(config))
    config.write_text(text.replace("fsp: 100", "fps: -1"))
    assert "line 5: key 'fps'" in refused(capsys, "live", str(config), "--out", str(tmp_path / "run"))


def test_a_wrong_path_in_a_live_yaml_names_file_line_and_key_and_leaves_no_folder(
    tmp_path: Path, tiny_bundle: ModelBundle, capsys: Captured
) -> None:
    config, out = tmp_path / "live.yaml", tmp_path / "run"
    policy = tmp_path / "policy.py"
    text = "source:\n  use: simulated\n  frames: 5\nmodel: {model}\npolicies:\n- frame: 3\n  use: {policy}\n{more}"

    def said(model: Path = tiny_bundle.folder, more: str = "") -> str:
        config.write_text(text.format(model=model, policy=f"{policy}:Stop", more=more))
        return refused(capsys, "live", str(config), "--out", str(out), "--no-view")

    assert f"live.yaml, line 4: key 'model': no model at {tmp_path / 'gone'}" in said(tmp_path / "gone")
    assert "live.yaml, line 7: key 'policies.0.use': " in (words := said()) and f"there is no file {policy}" in words
    assert not out.exists()
    policy.write_text("class Stopp: pass\n")
    assert "live.yaml, line 7: use: " in (words := said()) and "no class 'Stop'" in words and "Stopp" in words
    camera = "camera:\n  px_nm: [100, 110]\n  baseline_adu: 400\n  e_per_adu: 45\n  read_noise_e: 74.4\n"
    assert "live.yaml, line 8: key 'camera': " in (words := said(more=camera)) and "baseline_adu" in words


def test_a_simulation_that_is_refused_or_fails_leaves_no_folder(tmp_path: Path, capsys: Captured) -> None:
    out = tmp_path / "sim"
    simulate = ["simulate", "--out", str(out), "--frames", "3", "--width", "16", "--height", "16"]
    assert "no-such" in refused(capsys, *simulate, "--model", "no-such")
    assert "key 'background'" in refused(capsys, *simulate, "--background", "1e9")
    assert "key 'structure'" in refused(capsys, *simulate, "--structure", "cubes")
    assert not out.exists()
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # as a full disk
    try:
        assert run(simulate) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "kB free" in (said := capsys.readouterr().err) and said.count("\n") == 1 and not out.exists()
    assert run(simulate) == 0 and (out / "movie.tif").exists()


@pytest.mark.parametrize(
    ("library", "extra"), [("torch", "train"), ("pymmcore_plus", "micromanager"), ("openvino", "")]
)
def test_a_missing_library_is_told_before_there_is_a_run_folder(
    library: str,
    extra: str,
    tmp_path: Path,
    tiny_bundle: ModelBundle,
    capsys: Captured,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    out, engine = tmp_path / "run", library if library != "pymmcore_plus" else "openvino"
    demo = ["demo", "--frames", "5", "--no-view", "--out", str(out), "--model", str(tiny_bundle.folder)]
    said = refused(capsys, *demo, "--engine", engine)
    assert f'pip install -e ".[{extra}]"' in said if extra else "pip install openvino" in said
    assert not out.exists()


def finished_run(folder: Path, bundle: ModelBundle) -> Path:
    """A run replayed inline from a simulated movie, once for each folder."""
    movie, place = folder / "sim", folder / "finished"
    model = ["--model", str(bundle.folder)]
    if not place.exists():
        assert run(["simulate", "--out", str(movie), "--frames", "12", "--width", "32", "--height", "24", *model]) == 0
        options = ["--camera", str(movie / "camera.yaml"), "--inline", "--no-view", "--out", str(place)]
        assert run(["replay", str(movie / "movie.tif"), *model, *options]) == 0
    return place


@pytest.mark.parametrize(("lose", "lost"), [("every=5", 2), ("frames=2-4,9", 4), ("share=0.5,seed=3", None)])
def test_rehearsed_losses_stand_in_the_ledger(
    tmp_path: Path, tiny_bundle: ModelBundle, lose: str, lost: int | None
) -> None:
    finished_run(tmp_path, tiny_bundle)
    movie, camera, out = tmp_path / "sim" / "movie.tif", tmp_path / "sim" / "camera.yaml", tmp_path / "losing"
    options = ["--camera", str(camera), "--inline", "--no-view", "--out", str(out), "--lose", lose]
    assert run(["replay", str(movie), "--model", str(tiny_bundle.folder), *options]) == 0
    report = json.loads((out / "report.json").read_text())
    frames = report["frames"]
    assert all(part["why"].startswith("lost on purpose") for part in report["lost"])
    assert (frames["expected"], frames["fitted"] + frames["lost_before"]) == (12, 12)
    assert frames["lost_before"] == lost if lost is not None else 0 < frames["lost_before"] < 12


def test_simulate_replay_export_evaluate_agree(tmp_path: Path, tiny_bundle: ModelBundle, capsys: Captured) -> None:
    place = finished_run(tmp_path, tiny_bundle)
    report = json.loads((place / "report.json").read_text())
    frames = report["frames"]
    assert set(frames) == {"expected", "received", "fitted", "rejected", "lost_before", "lost_in_ring", "late"}
    assert frames["expected"] == frames["fitted"] == 12 and report["finish"] == "completed"
    assert {"p50", "p99", "max"} <= set(report["latency_ms"]) and report["rate_fps"] > 0
    assert (place / "picture.png").stat().st_size > 1000
    assert not any("camera" in words and "given" in words for words in report["warnings"])
    out = tmp_path / "table.csv"
    assert run(["export", str(place), "--format", "thunderstorm", "--out", str(out)]) == 0
    assert f"{report['localizations']} localizations" in capsys.readouterr().out
    truth = str(tmp_path / "sim" / "truth.csv")
    assert run(["evaluate", str(place), "--truth", truth, "--json"]) == 0
    of_run = json.loads(capsys.readouterr().out)
    table = ["evaluate", str(out), "--truth", truth, "--json", "--frames", "12", "--px-nm", "100,110"]
    assert run(table) == 0
    of_table = json.loads(capsys.readouterr().out)
    assert of_table["n_matched"] == of_run["n_matched"] and "--px-nm" in refused(capsys, *table[:-1], "1,2,3")
    assert of_run["n_frames"] == 12 and of_run["n_localizations"] <= report["localizations"]
    wanted = "jaccard precision recall rmse_lateral_nm rmse_axial_nm efficiency_lateral efficiency_axial"
    assert set(wanted.split()) <= set(of_run)
    assert run(["report", str(place)]) == 0 and "completed" in capsys.readouterr().out
    assert "not known" in refused(capsys, "export", str(place), "--format", "xyz", "--out", str(out))


def test_evaluate_is_readable_and_says_what_it_assumes_of_a_csv(
    tmp_path: Path, tiny_bundle: ModelBundle, capsys: Captured
) -> None:
    place, table, nothing = finished_run(tmp_path, tiny_bundle), tmp_path / "t.csv", tmp_path / "nothing.csv"
    assert run(["export", str(place), "--out", str(table)]) == 0
    truth = ["--truth", str(tmp_path / "sim" / "truth.csv")]
    nothing.write_text(table.read_text().splitlines()[0] + "\n")
    for what, assumed in (([str(nothing)], True), ([str(nothing), "--px-nm", "100,110"], False), ([str(place)], False)):
        capsys.readouterr()
        assert run(["evaluate", *what, *truth]) == 0
        assert ("assumed to be 100 nm" in capsys.readouterr().err) == assumed
    assert run(["evaluate", str(nothing), *truth]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len({len(line) for line in lines}) == 1  # aligned
    values = dict(line.split() for line in lines)
    assert (values["n_localizations"], values["recall"], values["rmse_lateral_nm"]) == ("0", "0.000", "-")


def test_export_replaces_only_what_it_is_told_to_and_never_a_file_of_the_run(
    tmp_path: Path, tiny_bundle: ModelBundle, capsys: Captured
) -> None:
    place, table = finished_run(tmp_path, tiny_bundle), tmp_path / "table.csv"
    shutil.copy(tmp_path / "sim" / "truth.csv", place / "truth.csv")  # as a simulated camera leaves it
    csv = ["--format", "thunderstorm"]
    (tmp_path / "link.csv").symlink_to(place / "locs.bin")
    before = {path.name: path.read_bytes() for path in place.iterdir() if path.is_file()}
    own = [*(place / name for name in ("locs.bin", "truth.csv", "report.json", "new.bin", "logs/x.log"))]
    for out in (*own, tmp_path / "link.csv"):
        for more in ([], ["--overwrite"]):
            assert "a file of the run" in refused(capsys, "export", str(place), *csv, "--out", str(out), *more)
    assert {path.name: path.read_bytes() for path in place.iterdir() if path.is_file()} == before
    table.write_text("precious")
    assert "exists already" in refused(capsys, "export", str(place), "--out", str(table))
    assert "is a folder" in refused(capsys, "export", str(place), *csv, "--out", str(tmp_path), "--overwrite")
    assert table.read_text() == "precious"
    assert run(["export", str(place), "--out", str(table), "--overwrite"]) == 0 and "frame" in table.read_text()
    assert run(["export", str(place), "--out", str(place / "localizations.csv")]) == 0


def test_the_demo_runs_live_through_micro_managers_core(tmp_path: Path, tiny_bundle: ModelBundle) -> None:
    pytest.importorskip("pymmcore_plus")
    place = tmp_path / "run"
    options = ["--frames", "80", "--no-view", "--out", str(place), "--model", str(tiny_bundle.folder)]
    done = subprocess.run(
        [sys.executable, "-m", "rtdecode", "demo", *options], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((place / "report.json").read_text())
    assert report["frames"]["expected"] == report["frames"]["received"] == 80
    assert {"jaccard", "rmse_lateral_nm", "rmse_axial_nm"} <= set(report["score"])
    for name in ("picture.png", "localizations.csv", "truth.csv", "report.json", "run.yaml", "events.jsonl"):
        assert name in done.stdout and (place / name).stat().st_size > 0
    assert "jaccard" in done.stdout and "p99" in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_ctrl_c_after_the_summary_leaves_the_exit_status_of_the_run(tmp_path: Path, tiny_bundle: ModelBundle) -> None:
    finished_run(tmp_path, tiny_bundle)
    sim, out = tmp_path / "sim", tmp_path / "again"
    options = ["--camera", str(sim / "camera.yaml"), "--model", str(tiny_bundle.folder), "--inline", "--no-view"]
    command = [sys.executable, "-u", "-m", "rtdecode", "replay", str(sim / "movie.tif"), *options, "--out", str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        assert any(line.startswith("files in") for line in process.stdout)
        while process.poll() is None:
            process.send_signal(signal.SIGINT)
            time.sleep(0.0005)
        assert (process.returncode, process.stderr.read()) == (0, "")


def test_a_line_of_progress_says_what_the_issue_asks_for() -> None:
    status = RunStatus("running", 12.3, 6000, 1205, 1200, 0, 3, 25000, 4, 99.7, 13.24)
    line = status_line(status)
    for words in ("1200/6000", "99.7 fps", "lag 4", "lost 3", "localizations 25000", "latency 13.2 ms"):
        assert words in line
    assert status_line(RunStatus("starting: acquire", 1.0)) == "  1.0 s  starting: acquire"


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[2] / "configs").glob("live-*.yaml")), ids=lambda p: p.name
)
def test_the_configurations_that_we_give_away_begin_from_any_directory(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rtdecode.cli.runs import _load
    from rtdecode.session.resolve import resolve
    from rtdecode.stages.build import build_policies

    monkeypatch.chdir(tmp_path)
    record = resolve(_load(path), str(path))
    assert record.limits.restarts == 5 and len(build_policies(record)) == len(record.policies)
