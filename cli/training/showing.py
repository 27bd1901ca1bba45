"""Training runs in words. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from libs.shared.contracts.training import RunProgress, TrainingRun

PHASES = {
    "waiting": "waits for the machine",
    "gathering": "reading what may be trained on",
    "loading": "loading the model",
    "mntp": "masked next-token prediction",
    "simcse": "telling sentences apart",
    "sft": "learning answers",
    "saving": "saving",
}
TITLES = ("run", "kind", "model", "state", "where it stands", "asked for")


def duration(seconds: float) -> str:
    """As 40 s, 12 min or 3.5 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def standing(progress: RunProgress) -> str:
    """One line: phase, step, loss, pace, time left, and what it makes way for."""
    words = [PHASES[progress.phase]]
    if progress.steps:
        words.append(f"{progress.step}/{progress.steps}")
    if progress.loss is not None:
        words.append(f"loss {progress.loss:.3f}")
    if progress.tokens_per_s is not None:
        words.append(f"{progress.tokens_per_s:,.0f} tokens/s")
    if progress.mfu is not None:
        words.append(f"{100 * progress.mfu:.0f} % of the peak")
    if progress.seconds_left is not None:
        words.append(f"{duration(progress.seconds_left)} left")
    if progress.held_by:
        words.append("makes way: " + ", ".join(reason.replace("_", " ") for reason in progress.held_by))
    return ", ".join(words)


def row(run: TrainingRun) -> tuple[str, ...]:
    """Of the list."""
    stands = run.detail or run.error or ""
    if run.progress is not None and not run.state.ended:
        stands = standing(run.progress)
    return (run.run_id, run.kind.value, run.model, run.state.value, stands, f"{run.created_at:%Y-%m-%d %H:%M}")


def facts(run: TrainingRun, runs: Path) -> Iterator[tuple[str, str]]:
    """All that there is to say of one."""
    yield "run", run.run_id
    yield "kind", run.kind.value
    yield "state", run.state.value
    yield "model", run.model
    if run.text is not None:
        yield "text", run.text
    if run.adapter is not None:
        yield "adapter", run.adapter.name
    if run.progress is not None and not run.state.ended:
        yield "stands", standing(run.progress)
    if run.error:
        yield "because", f"{run.detail or ''} ({run.error})"
    elif run.detail:
        yield "evaluation", run.detail
    for name, value in sorted(run.metrics.items()):
        yield name.replace("_", " "), f"{value:.4g}"
    if run.artefact is not None and run.adapter is not None:
        yield (
            "result",
            f"adapter {run.artefact}; put it into service with: mongars models adapters promote {run.artefact}",
        )
    elif run.artefact is not None:
        yield "result", f"encoder {run.artefact}; put it to use with: mongars embedders use {run.artefact}"
    yield "folder", str(runs / run.run_id)
