"""The run's engine before the run begins: a precision where none was named, and the admission gate passed."""

from __future__ import annotations

from collections.abc import Callable

from rtdecode.core.config import EngineConfig
from rtdecode.fit import engines
from rtdecode.fit.bundle import PSF, ModelBundle
from rtdecode.session.resolve import told_where
from rtdecode.stages import admission
from rtdecode.stages.run_record import RunRecord

Tell = Callable[[str], None]


def admitted(record: RunRecord, tell: Tell = lambda _: None) -> RunRecord:
    """The record with its engine's precision named and the gate's sentence; a restart and a replay of it use the same.

    A precision that was named is used or refused (EngineError, with the figures); where none was, bf16 (on a GPU that
    lacks it fp16) if it can be had here and passes for this bundle, else fp32. `tell` hears the sentence, and of what
    takes seconds.
    """
    bundle = ModelBundle.load(record.model)
    with told_where(record.origin, "engine"):
        if record.engine.precision is None:
            engine, words = _chosen(record.engine, bundle, tell)
        else:
            engine, words = record.engine, admission.admit(record.engine, bundle, tell)
    words = "; ".join(part for part in (words, record.engine_chosen) if part)
    tell(f"engine {words}")
    return record.model_copy(update={"engine": engine, "engine_check": words})


def _chosen(config: EngineConfig, bundle: ModelBundle, tell: Tell) -> tuple[EngineConfig, str]:
    """The fastest precision that may serve, of those that are chosen without being asked for; and why."""
    fp32, name = config.model_copy(update={"precision": "fp32"}), engines.reduced(config.use)
    if name is None:
        return fp32, admission.admit(fp32, bundle, tell)
    if not admission.can_be_checked(bundle):
        return fp32, f"{admission.admit(fp32, bundle, tell)}; not {name}, which cannot be checked without {PSF}"
    faster = config.model_copy(update={"precision": name})
    line = admission.check(faster, bundle, tell)
    if line.faults:
        return fp32, f"{admission.admit(fp32, bundle, tell)}; not {name}: {'; '.join(line.faults)}"
    return faster, f"{admission.name_of(faster)}: {line.words}"
