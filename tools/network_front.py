"""The front of accuracy against arithmetic, by experiment: a family of networks, one recipe, one or two budgets.

    export OMP_WAIT_POLICY=PASSIVE OMP_NUM_THREADS=1
    python tools/network_front.py configs/network-front.yaml --out train_runs/network-front --measure    s per iteration
    python tools/network_front.py configs/network-front.yaml --out train_runs/network-front              everything
    ... --only half-32 full-24 --budget iterations     some of it; what is done is skipped, what was cut goes on
    ... --also rtdecode/models/astigmatic-light        long-trained bundles beside them, judged by the same rules
    ... --pages                                        only front.json, front.md, front.png of what is done

Every network is trained for the same number of steps and, where the file has `budgets.seconds`, once more for what
one core does in the same time. Judged on movies that no training draws, at the `accept` that gives each the best
Jaccard at 1 emitter per um² on another movie.
Pages are written after every training. Frames a second are measured once for each network, at the end: on an idle
machine, or again with --speed-again. Needs torch and matplotlib.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from front_config import BudgetName, Family, JudgeConfig, Run, load_family, run_of
from front_pages import write_pages

from rtdecode.analysis.evaluate import judge, score_of
from rtdecode.cli.bench import fitter_figures
from rtdecode.core.config import DetectionConfig
from rtdecode.core.errors import RtdecodeError, TrainingError
from rtdecode.core.localizations import Emitters, Localizations
from rtdecode.fit.bundle import ModelBundle
from rtdecode.fit.network import macs_per_pixel
from rtdecode.physics.psf import load_psf
from rtdecode.physics.structures import Field
from rtdecode.train.batches import batch_of
from rtdecode.train.finish import config_as_yaml, make_bundle
from rtdecode.train.loop import _fresh, _step, train
from rtdecode.train.score import SHAPE_PX, density_movie, fit_frames, rules_for

Figures = dict[str, Any]
BUDGETS: tuple[BudgetName, ...] = ("iterations", "wall-clock")
TRAINING, TRAINED, JUDGED, SPEED = "training.yaml", "trained.json", "judged.json", "speed.json"


def main() -> None:
    """Do what is asked for and not done; write the pages."""
    options = _options()
    torch.set_num_threads(1)  # a budget is one core's; more threads would also change the sums' last bits
    try:
        family = load_family(options.config)
        runs = list(_runs(family, options.only, options.budget))
        if options.measure:
            measure(runs)
            return
        options.out.mkdir(parents=True, exist_ok=True)
        work(family, options.out, [] if options.pages else runs, options.star, options.speed_again)
    except RtdecodeError as error:
        sys.exit(f"error: {error}")


def work(family: Family, out: Path, runs: Sequence[Run], stars: Sequence[str], speed_again: bool = False) -> Figures:
    """Train and judge `runs`, judge `stars`, then measure speed; returns what stands in front.json."""
    for run in runs:
        is_new = trained(run, out / run.folder_name)
        judged(ModelBundle.load(out / run.folder_name / "bundle"), family.judge, out / run.folder_name / JUDGED)
        if is_new:
            write_pages(out, collected(family, out, stars))
    if runs:
        speeds(family, out, again=speed_again)
    figures = collected(family, out, stars)
    for path in write_pages(out, figures):
        print(path)
    return figures


def trained(run: Run, folder: Path) -> bool:
    """Train to the end and export, and say so, unless that is done; goes on where a checkpoint stands."""
    wanted, stated = config_as_yaml(run.training), folder / TRAINING
    if stated.exists() and stated.read_text(encoding="utf-8") != wanted:
        raise TrainingError(f"{stated}: a training with other settings stands there; move it away or choose --out anew")
    if (folder / TRAINED).exists():
        return False
    folder.mkdir(parents=True, exist_ok=True)
    stated.write_text(wanted, encoding="utf-8")
    print(f"{folder.name}: training", flush=True)
    state = train(run.training, folder)
    make_bundle(run.training, folder, folder / "bundle", overwrite=True)
    _write(folder / TRAINED, {"iterations": state.iteration, "wall_s": round(state.seconds, 1)})
    return True


def judged(bundle: ModelBundle, rules: JudgeConfig, path: Path) -> Figures:
    """Scores by density at the chosen `accept`; kept in `path` with what they are of."""
    of = {"bundle": bundle.sha256, "judge": rules.model_dump(mode="json")}
    if path.exists() and (held := _read(path))["of"] == of:
        return dict(held["figures"])
    print(f"{bundle.name}: judging", flush=True)
    accept = chosen_accept(bundle, rules)
    figures: Figures = {"accept": accept, "density_per_um2": {}}
    for density, n_frames in rules.frames.items():
        score = _scores(bundle, rules, density, n_frames, rules.judging_seed, [accept])[0]
        figures["density_per_um2"][f"{density:g}"] = score
    _write(path, {"of": of, "figures": figures})
    return figures


def chosen_accept(bundle: ModelBundle, rules: JudgeConfig) -> float:
    """The threshold with the best Jaccard at one density, on a movie that is not judged."""
    density = rules.choosing_density
    scores = _scores(bundle, rules, density, rules.frames[density], rules.choosing_seed, rules.accepts)
    return rules.accepts[int(np.argmax([score["jaccard"] or 0.0 for score in scores]))]


def _scores(
    bundle: ModelBundle, rules: JudgeConfig, density: float, n_frames: int, seed: int, accepts: Sequence[float]
) -> list[Figures]:
    """The score at each of `accepts` on one movie."""
    psf = load_psf(bundle.psf_path)
    frames, emitters = density_movie(psf, bundle.camera, density, n_frames, seed)
    found = fit_frames(bundle, frames, detection=DetectionConfig(peak=rules.peak, accept=min(accepts)))
    field = Field.of_shape(*SHAPE_PX, bundle.camera.px_nm)

    def score(emitters: Emitters, accepted: Localizations) -> Figures:
        return score_of(judge(emitters, accepted, frames=range(n_frames), rules=rules_for(psf, field))).as_dict()

    return [score(emitters, found[found.probability >= np.float32(accept)]) for accept in accepts]


def speeds(family: Family, out: Path, again: bool = False) -> None:
    """Frames a second of every network that has a bundle: in turn, the best of some rounds; kept in speed.json."""
    path = out / SPEED
    known: Figures = {} if again or not path.exists() else _read(path)
    bundles = {run.member.name: folder for run, folder in _done(family, out) if run.member.name not in known}
    found: Figures = {name: {f"{size}": 0.0 for size in family.speed.sizes_px} for name in bundles}
    for _ in range(family.speed.rounds):
        for name, folder in bundles.items():
            bundle = ModelBundle.load(folder / "bundle")
            for size in family.speed.sizes_px:
                fps = fitter_figures(bundle, size, family.speed.seconds)["frames_per_s"]
                found[name][f"{size}"] = max(found[name][f"{size}"], fps)
    _write(path, known | found)


def collected(family: Family, out: Path, stars: Sequence[str]) -> Figures:
    """Everything that is known of what is done, as front.json has it."""
    speed = _read(out / SPEED) if (out / SPEED).exists() else {}
    rows = []
    for budget in BUDGETS:
        for run, folder in _done(family, out, (budget,)):
            about = {"name": run.member.name, "budget": budget, "frames_per_s": speed.get(run.member.name, {})}
            rows.append(
                about | _cost(run.training.network) | _read(folder / TRAINED) | _read(folder / JUDGED)["figures"]
            )
    beside = [_star(ModelBundle.load(star), family.judge, out) for star in stars]
    return {"family": family.model_dump(mode="json", exclude={"base"}), "networks": rows, "stars": beside}


def _star(bundle: ModelBundle, rules: JudgeConfig, out: Path) -> Figures:
    figures = judged(bundle, rules, out / f"judged-{bundle.sha256[:12]}.json")
    return {"name": bundle.name, "identity": bundle.sha256, **_cost(bundle.network), **figures}


def _cost(network: Any) -> Figures:
    frame, context = macs_per_pixel(network)
    return {"kmac_per_px": (frame + context) / 1e3, "network": network.model_dump(mode="json")}


def _done(family: Family, out: Path, budgets: Sequence[BudgetName] = BUDGETS) -> Iterator[tuple[Run, Path]]:
    for run in _runs(family, [], budgets):
        folder = out / run.folder_name
        if (folder / TRAINED).exists() and (folder / JUDGED).exists():
            yield run, folder


def _runs(family: Family, only: Sequence[str], budgets: Sequence[BudgetName]) -> Iterator[Run]:
    """In the file's order within a budget that it states; raises TrainingError for a name it has not."""
    names = [member.name for member in family.networks]
    if unknown := set(only) - set(names):
        raise TrainingError(f"--only: no network {', '.join(sorted(unknown))}; the file has {', '.join(names)}")
    for budget in (name for name in budgets if name in family.budget_names):
        for member in family.networks:
            if not only or member.name in only:
                yield run_of(family, member, budget)


def measure(runs: Sequence[Run], steps: int = 8) -> None:
    """Print CPU seconds of a step on one thread, simulation included: the least of `steps`, a busy machine adds."""
    for run in {run.member.name: run for run in runs}.values():
        config, psf = run.training, load_psf(run.training.psf)
        state, taken = _fresh(config), []
        for i in range(steps + 2):
            began = time.process_time()
            _step(config, state, state.network, batch_of(config, psf, i))
            taken.append(time.process_time() - began)
        cost = sum(macs_per_pixel(config.network)) / 1e3
        print(f"{run.member.name:20} {cost:6.1f} kMAC/px  s_per_iteration: {min(taken[2:]):.3f}", flush=True)


def _read(path: Path) -> Figures:
    return dict(json.loads(path.read_text(encoding="utf-8")))


def _write(path: Path, figures: Figures) -> None:
    path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="the family, e.g. configs/network-front.yaml")
    parser.add_argument("--out", type=Path, default=Path("train_runs/network-front"), help="folder of everything")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="some of the networks")
    parser.add_argument("--budget", nargs="+", choices=BUDGETS, default=BUDGETS, help="one of the two")
    parser.add_argument(
        "--also", dest="star", nargs="+", default=[], metavar="BUNDLE", help="long-trained bundles beside them"
    )
    parser.add_argument("--measure", action="store_true", help="only print seconds of a step, for the file")
    parser.add_argument("--pages", action="store_true", help="train and measure nothing; write the pages")
    parser.add_argument("--speed-again", action="store_true", help="measure frames a second anew")
    return parser.parse_args()


if __name__ == "__main__":
    main()
