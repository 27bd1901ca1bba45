"""Cycles and changes in words. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cli.listing import shortened

if TYPE_CHECKING:
    from libs.shared.contracts.ledger import Change, Measured
    from libs.shared.contracts.sleep import AnswerEnergy, Cycle, Energy, PhaseOutcome, Scaled, SleepStatus

CYCLES = ("cycle", "state", "began", "took", "phases", "energy")
CHANGES = ("change", "state", "setting", "before", "after", "by", "proposed", "why")
_WIDEST = 40
REASONS = {
    "starting": "it has just started",
    "request_in_flight": "a request is being answered",
    "recent_request": "somebody asked something a moment ago",
    "many_requests": "many requests came in the last minutes",
    "visit_expected": "somebody usually comes soon at this hour",
    "busy": "the processors are busy",
    "hot": "the machine is hot",
    "throttled": "the machine is held back",
    "on_battery": "the machine runs on its battery",
    "over_power_limit": "the machine draws more than it may",
    "over_power_budget": "the machine draws more than it may",
    "outside_hours": "it isn't within the hours for sleeping",
    "quiet_hours": "these are hours in which it stays silent",
    "request": "somebody waits for an answer",
    "no_room": "the scheduler finds no room",
}


def duration(seconds: float) -> str:
    """As 40 s, 12 min or 3.5 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def why(reasons: tuple[str, ...]) -> str:
    return ", ".join(REASONS.get(reason, reason.replace("_", " ")) for reason in reasons)


def joules(energy: Energy | None) -> str:
    return "-" if energy is None else f"{energy.joules:,.1f} J {energy.source}"


def standing(cycle: Cycle, held_by: tuple[str, ...] = ()) -> str:
    """One line: its phase and where that stands, or how it ended."""
    from libs.shared.contracts.sleep import CycleState, PhaseState

    if cycle.state is not CycleState.RUNNING:
        return cycle.state.value + (f": {why(tuple(cycle.reason.split(', ')))}" if cycle.reason else "")
    running = next((one for one in cycle.phases if one.state is PhaseState.RUNNING), None)
    words = ["begins" if running is None else _phase(running)]
    if held_by:
        words.append(f"makes way: {why(held_by)}")
    return ", ".join(words)


def _phase(one: PhaseOutcome) -> str:
    words = [f"{one.phase.value} phase"]
    if one.progress is not None:
        if one.progress.doing:
            words.append(one.progress.doing)
        if one.progress.steps:
            words.append(f"{one.progress.step}/{one.progress.steps}")
    return ", ".join(words)


def row(cycle: Cycle) -> tuple[str, ...]:
    """Of the list."""
    took = (cycle.ended_at - cycle.begun_at).total_seconds() if cycle.ended_at is not None else None
    phases = ", ".join(f"{one.phase.value} {one.state.value.replace('_', ' ')}" for one in cycle.phases)
    return (
        cycle.cycle_id[:12],
        cycle.state.value,
        f"{cycle.begun_at.astimezone():%Y-%m-%d %H:%M}",
        duration(took) if took is not None else "-",
        phases,
        joules(cycle.energy),
    )


def facts(told: SleepStatus) -> Iterator[tuple[str, str]]:
    """How it stands now."""
    if told.running is not None:
        yield "sleeps", standing(told.running, told.held_by)
    elif not told.phases:
        yield "awake", "there is nothing to do: this installation has no phase yet"
    elif not told.enabled:
        yield "awake", "it doesn't sleep by itself (MONGARS_SLEEP); begin with: mongars sleep now"
    else:
        yield "awake", why(told.reasons) if told.reasons else "it is quiet, and the last cycle isn't long enough ago"
    yield "phases", ", ".join(phase.value for phase in told.phases) or "none"
    if told.expected_quiet_s is not None:
        yield "forecast", f"quiet for about {duration(told.expected_quiet_s)}"
    else:
        yield "forecast", "nothing is known of this installation's weeks yet"
    yield "answers", _answers(told.answers)
    yield "others", f"results of {told.others} other nodes are known"
    for one in told.scaling:
        yield "workers", _workers(one)


def _workers(one: Scaled) -> str:
    """How many there are, and why."""
    asked = "" if one.running == one.wanted else f" of {one.wanted}"
    bounds = "an autoscaler's" if one.autoscaled else f"{one.least} to {one.most}"
    return f"{one.running}{asked} {one.name} ({bounds})" + (f": {one.reason}" if one.reason else "")


def _answers(told: AnswerEnergy) -> str:
    if told.per_answer_j is None:
        return "too few to tell what one costs"
    words = f"{told.per_answer_j:.1f} J each, {told.source}"
    return words if told.saved_j is None else f"{words}; {told.saved_j:,.0f} J saved since the last cycle with changes"


def outcomes(cycle: Cycle) -> Iterator[str]:
    """A line for each phase: what it did."""
    for one in cycle.phases:
        words = [f"{one.phase.value}: {one.state.value.replace('_', ' ')}"]
        if one.done:
            words.append(one.done)
        if one.took_s:
            words.append(f"{duration(one.took_s)}, of which {duration(one.held_s)} making way")
        if one.energy is not None:
            words.append(joules(one.energy))
        if one.changes:
            words.append(f"changes: {', '.join(one.changes)}")
        yield "; ".join(words)


def change_row(change: Change) -> tuple[str, ...]:
    """Of the ledger."""
    return (
        change.change_id,
        change.state.value.replace("_", " "),
        change.key,
        _value(change.before),
        _value(change.after),
        change.proposed.actor,
        f"{change.proposed.at.astimezone():%Y-%m-%d %H:%M}",
        shortened(change.reason, _WIDEST),
    )


def how_decided(change: Change, *, waits: bool) -> str:
    """A line: what became of a change that a cycle proposed, or what it waits for."""
    said = f"{change.change_id}: {change.key}, {change.state.value.replace('_', ' ')}"
    if waits:
        return f"{said}; an administrator decides: mongars sleep approve {change.change_id}"
    why = change.steps[-1].reason if change.steps else ""
    return f"{said}: {why}" if why else said


def life_of(change: Change) -> Iterator[str]:
    """A change whole: what, why, and each step with its measure."""
    yield f"{change.change_id}: {change.kind.value} {change.key}, {change.state.value.replace('_', ' ')}"
    yield f"  before  {json.dumps(change.before, default=str)}"
    yield f"  after   {json.dumps(change.after, default=str)}"
    for step in change.steps:
        name = step.state.value.replace("_", " ")
        why = f": {step.reason}" if step.reason else ""
        yield f"{step.at.astimezone():%Y-%m-%d %H:%M:%S}  {name} by {step.actor}{why}"
        for one in step.measured:
            yield f"    {measured(one)}"


def measured(one: Measured) -> str:
    """A measure in a line."""
    span = f"95 % {one.low:+.3g} to {one.high:+.3g}"
    return f"{one.measure} by {one.by}: {one.before:.3g} before, {one.after:.3g} after ({span}; {one.samples} compared)"


def _value(value: object) -> str:
    return shortened(json.dumps(value, default=str), _WIDEST)
