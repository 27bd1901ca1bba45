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
    "measuring": "measuring what it has learnt",
}
MEASURES = ("measure", "before", "after", "better by", "interval", "verdict")
_PARTS = ("before", "after", "gain", "low", "high")
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
    """All that there is to say of one, but for its evaluation's measures."""
    yield "run", run.run_id
    yield "kind", run.kind.value
    yield "state", run.state.value
    yield "model", run.model
    yield from _about(run)
    if run.progress is not None and not run.state.ended:
        yield "stands", standing(run.progress)
    if run.error:
        yield "because", f"{run.detail or ''} ({run.error})"
    elif run.detail:
        yield "evaluation", run.detail
    told = {f"{name}, {part}" for name in measured(run) for part in (*_PARTS, "units")}
    for name, value in sorted(run.metrics.items()):
        if name not in told:
            yield name.replace("_", " "), f"{value:.4g}"
    if (result := _result(run)) is not None:
        yield "result", result
    yield "folder", str(runs / run.run_id)


def _about(run: TrainingRun) -> Iterator[tuple[str, str]]:
    if run.text is not None:
        yield "text", run.text
    if run.own:
        yield "learns from", "what may be trained on"
    if run.sts is not None:
        yield "rated pairs", run.sts
    if run.adapter is not None:
        yield "adapter", run.adapter.name
    if run.evaluate is not None:
        yield "measured", run.evaluate.subject


def _result(run: TrainingRun) -> str | None:
    if run.artefact is None or run.evaluate is not None:
        return None
    if run.adapter is None:
        from libs.shared.artefacts.encoders import ACCEPTED

        if ACCEPTED not in run.metrics:
            return f"encoder {run.artefact}; measure it with: mongars train evaluate {run.artefact} --sts FILE"
        return f"encoder {run.artefact}; put it to use with: mongars embedders use {run.artefact}"
    return f"adapter {run.artefact}; put it into service with: mongars models adapters promote {run.artefact}"


def measured(run: TrainingRun) -> list[str]:
    """The names of its evaluation's measures, in the order of the decision."""
    return [name.removesuffix(", before") for name in run.metrics if name.endswith(", before")]


def measures(run: TrainingRun) -> list[tuple[str, ...]]:
    """Its evaluation as rows of a table."""
    rows: list[tuple[str, ...]] = []
    for name in measured(run):
        numbers = [run.metrics.get(f"{name}, {part}") for part in _PARTS]
        before, after, gain, low, high = ("?" if one is None else f"{one:.4g}" for one in numbers)
        rows.append((name, before, after, gain, f"{low} to {high}", _word(numbers[3], numbers[4])))
    return rows


def _word(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return "can't be told"
    return "better" if low > 0.0 else "worse" if high < 0.0 else "may be chance"
