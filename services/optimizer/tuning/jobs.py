"""What the child process is asked to crunch: bytes in, bytes out, and nothing in between that could not begin again."""

from __future__ import annotations

from services.optimizer.replay.held import parted
from services.optimizer.tuning.budgets import tune_budgets
from services.optimizer.tuning.exchange import Proposal, TuneJob, TuneResult
from services.optimizer.tuning.space import KEY, point_of
from services.optimizer.tuning.weighing import Objective, concluded


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
    for budget in tune_budgets(job.evidence, job.settings, job.offered):
        reasons.append(f"{budget.key}: {budget.reason}")
        if budget.value is not None:
            proposals.append(
                Proposal(key=budget.key, value=budget.value, reason=budget.reason, measured=budget.measured)
            )
    return TuneResult(done=job.done, proposals=tuple(proposals), reasons=tuple(reasons))
