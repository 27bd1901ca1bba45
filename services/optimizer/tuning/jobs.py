"""What the child process is asked to crunch: bytes in, bytes out, and nothing in between that could not begin again."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from libs.shared.contracts.ledger import Measured, RuntimeSettings
from libs.shared.contracts.replay import Evidence
from services.optimizer.replay.held import parted
from services.optimizer.tuning.attempts import Attempt
from services.optimizer.tuning.budgets import CHOICES, tune_budget
from services.optimizer.tuning.space import Point, point_of
from services.optimizer.tuning.weighing import KEY, Objective, concluded


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TuneJob(_Value):
    """Some more points of one search; ``finish`` to judge what it came to instead."""

    evidence: tuple[Evidence, ...]
    settings: RuntimeSettings
    first: tuple[Point, ...] = ()
    done: tuple[Attempt, ...] = ()
    most: int
    """Points, those done among them."""
    seconds: float
    seed: int
    finish: bool = False


class Proposal(_Value):
    """A setting that is worth a change, and what that was measured by."""

    key: str
    value: Any
    reason: str
    measured: tuple[Measured, ...]


class TuneResult(_Value):
    """All that was tried so far; what is proposed, or why nothing is, once it is finished."""

    done: tuple[Attempt, ...] = ()
    proposals: tuple[Proposal, ...] = ()
    reasons: tuple[str, ...] = ()


def run(body: bytes) -> bytes:
    """The job ``tune``."""
    job = TuneJob.model_validate_json(body)
    return (_finished(job) if job.finish else _searched(job)).model_dump_json().encode()


def _searched(job: TuneJob) -> TuneResult:
    from services.optimizer.tuning.searching import search  # optuna: the child's alone

    tuning, _ = parted(job.evidence)
    current = point_of(job.settings.recall_weights)
    tried = search(
        Objective(tuning, job.settings, job.done),
        (current, *job.first),
        most=job.most,
        seconds=job.seconds,
        seed=job.seed,
        done=job.done,
    )
    return TuneResult(done=tuple(tried))


def _finished(job: TuneJob) -> TuneResult:
    tuning, held_out = parted(job.evidence)
    proposals: list[Proposal] = []
    outcome = concluded(tuning, held_out, job.settings, job.done)
    reasons = [f"{KEY}: {outcome.reason}"]
    if outcome.weights is not None:
        proposals.append(
            Proposal(key=KEY, value=outcome.weights.model_dump(), reason=outcome.reason, measured=outcome.measured)
        )
    for key in CHOICES:
        budget = tune_budget(tuning, held_out, job.settings, key)
        reasons.append(f"{key}: {budget.reason}")
        if budget.value is not None:
            proposals.append(Proposal(key=key, value=budget.value, reason=budget.reason, measured=budget.measured))
    return TuneResult(done=job.done, proposals=tuple(proposals), reasons=tuple(reasons))
