"""What a person should know before trusting a run's numbers, one sentence each; from the run folder alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from rtdecode.core.frames import Fate
from rtdecode.core.localizations import Localizations
from rtdecode.fit.fitter import SATURATED_SHARE
from rtdecode.session.exporting import bundle_of
from rtdecode.stages.outcome import Outcome
from rtdecode.stages.run_record import RunRecord
from rtdecode.stages.widefield import FINAL_NAME
from rtdecode.streams.log import CommitFlag, Commits
from rtdecode.streams.run_folder import RunFolder

_REJECTED_FOR = {
    CommitFlag.NOT_FINITE: "their pixels are not finite",
    CommitFlag.WRONG_SIZE: "their size differs",
    CommitFlag.SATURATED: f"more than {SATURATED_SHARE:.0%} of their pixels are saturated",
}
MUCH_LATE = 0.05  # share of the frames beyond limits.late_ms that is worth a sentence
_LOST = {Fate.LOST_BEFORE: "never reached us", Fate.LOST_IN_RING: "were overwritten before they could be fitted"}


def cautions(
    folder: RunFolder, record: RunRecord, commits: Commits, localizations: Localizations, outcome: Outcome
) -> list[str]:
    """All of them, each once; what the run's own reason says already is left out."""
    events, doubts = folder.read_events(), _doubts(folder, record, commits, localizations)
    sentences = [*_frames(commits), *_camera(record), *_events(events)]
    told = [sentence for sentence in sentences if not (outcome.reason and outcome.reason in sentence)]
    return list(dict.fromkeys(told + _checks(events, set(doubts)) + list(doubts.values())))


def _frames(commits: Commits) -> Iterator[str]:
    for fate, words in _LOST.items():
        if count := int(np.count_nonzero(commits["fate"] == fate)):
            yield f"{count} frames {words}; `lost` says which"
    for flag, words in _REJECTED_FOR.items():
        if count := int(np.count_nonzero(commits["flags"][commits["fate"] == Fate.REJECTED] & flag)):
            yield f"{count} frames were rejected: {words}"
    fitted = commits["flags"][commits["fate"] == Fate.FITTED]
    late = int(np.count_nonzero(fitted & CommitFlag.LATE))
    if late > MUCH_LATE * max(len(fitted), 1):
        yield f"{late} of {len(fitted)} frames were fitted late: policies and viewer saw them long after the camera"
    if count := int(np.count_nonzero(fitted & CommitFlag.SATURATED)):
        yield f"{count} frames have saturated pixels: photons and positions there are biased"


def _camera(record: RunRecord) -> Iterator[str]:
    if record.camera_assumed:
        yield "no camera was given: gain, baseline and pixel size are assumed to be the model's"
    bundle = bundle_of(record)
    if bundle is not None and record.camera is not None:
        differences = bundle.camera.differences(record.camera)
        for name, (model, run) in differences.items():
            yield f"the camera differs from the model's, as allowed: {name}: model {model}, run {run}"


def _events(events: list[dict[str, Any]]) -> Iterator[str]:
    for event in events:
        match event:
            case {"kind": "restart", "of": of, "reason": reason}:
                yield f"{of} was restarted: {reason}"
            case {"kind": "policy_error", "policy": policy, "reason": reason}:
                yield f"policy {policy} failed and was asked no more: {str(reason).strip().splitlines()[-1]}"
            case {"kind": "error", "worker": worker, "reason": reason}:
                yield f"{worker}: {reason}"
            case {"kind": "warning", "reason": reason} if "check" not in event:
                yield str(reason)
            case {"kind": "drained", "fitted": int(fitted), "widefield_frames": int(frames)} if frames < fitted:
                yield f"the wide-field image lacks {fitted - frames} of {fitted} frames (localize was restarted)"


def _checks(events: list[dict[str, Any]], doubted: set[str]) -> list[str]:
    """What the check beside the line said, with the frames it stood for; less what the whole run says anyhow."""
    stood: dict[str, str] = {}
    for event in events:
        match event:
            case {"kind": "warning", "check": str(check), "reason": reason, "frame_index": frame}:
                stood[check] = f"{reason} (seen at frame {frame})"
            case {"kind": "warning_over", "check": str(check), "frame_index": frame} if check in stood:
                stood[check] += f" (no more at frame {frame})"
    return [sentence for check, sentence in stood.items() if check not in doubted]


def _doubts(folder: RunFolder, record: RunRecord, commits: Commits, localizations: Localizations) -> dict[str, str]:
    """By check: whether the model was made for such data; empty where model or wide-field image are gone."""
    widefield, bundle = folder.path / FINAL_NAME, bundle_of(record)
    n_fitted = int(np.count_nonzero(commits["fate"] == Fate.FITTED))
    if not widefield.exists() or not n_fitted or bundle is None or record.camera is None:
        return {}
    from rtdecode.analysis.doubts import Trained, doubts

    mean_adu = np.load(widefield, allow_pickle=False) / n_fitted
    trained = Trained(**bundle.card.ranges.model_dump(), background_end=bundle.scaling.background_max)
    return {doubt.check: doubt.sentence for doubt in doubts(localizations, n_fitted, mean_adu, record.camera, trained)}
