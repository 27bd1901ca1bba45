"""What must not worsen when a change is in force, and whether it has: turns after it against turns before it. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Literal

from libs.shared.contracts.ledger import OPTIMIZER_ACTOR, Change, ChangeKind, Measured
from libs.shared.contracts.watching import TurnMeasured
from services.optimizer.watch.betting import Bet, Worse, bet, less_is_worse, more_is_worse, paired

FALSE_ALARMS = 0.01
"""Of changes that worsen nothing, at most so many are rolled back, over all guardrails and the whole watch."""
FEWEST_BEFORE = 20
"""With fewer turns before the change, nothing is told of it."""
SLOWER = 0.25
"""A first token that is later by less is no reason to undo anything."""
SLOWER_S = 0.05
LESS_EVIDENCE = 0.05
MORE_REPETITION = 0.1


@dataclass(frozen=True)
class Guardrail:
    """One measure of a turn."""

    name: str
    of: Callable[[TurnMeasured], float | None]
    worse: Worse
    said: str
    """What has worsened, for whoever reads the ledger."""
    better: Literal["more", "less"]
    worst: float
    """Where even this wouldn't count as worse, turns before it tell nothing."""


ERRORS = Guardrail(
    "error_share", lambda turn: float(turn.failed), more_is_worse(0.0), "more answers ended with an error", "less", 1.0
)
LATENCY = Guardrail(
    "first_token_s", lambda turn: turn.first_s, more_is_worse(SLOWER, SLOWER_S), "answers begin later", "less", math.inf
)
EVIDENCE = Guardrail(
    "recall_evidence",
    lambda turn: turn.evidence,
    less_is_worse(LESS_EVIDENCE),
    "less of what is asked is found in the memory",
    "more",
    0.0,
)
REPETITION = Guardrail(
    "repetition",
    lambda turn: turn.repetition,
    more_is_worse(0.0, MORE_REPETITION),
    "answers repeat themselves",
    "less",
    1.0,
)
CHOSEN_BY_PEOPLE = frozenset(
    {"default_model", "code_model", "chat_canary", "code_canary", "embedder", "remote_models", "extraction"}
)
"""Whoever chooses another model, or an adapter of one, knows that it is slower: that undoes nothing. The optimizer has
no such leave."""


def guardrails_of(change: Change) -> tuple[Guardrail, ...]:
    """Those that the change is watched by."""
    if change.key in CHOSEN_BY_PEOPLE and change.proposed.actor != OPTIMIZER_ACTOR:
        return (ERRORS, REPETITION)
    if change.key == "workers":
        return (ERRORS,) if more_workers(change) else (ERRORS, LATENCY)
    if change.kind is ChangeKind.DIGEST:
        return (ERRORS, LATENCY, REPETITION)
    return (ERRORS, LATENCY, EVIDENCE, REPETITION)


def more_workers(change: Change) -> bool:
    """Whether none has fewer. They become more when the load grows: turns that begin later then say nothing of it."""
    before: Mapping[str, int] = change.before or {}
    return all(count >= before.get(name, 1) for name, count in (change.after or {}).items()) and not (
        set(before) - set(change.after or {})
    )


@dataclass(frozen=True)
class Watched:
    """What the turns say: ``alarm`` names what has worsened beyond noise."""

    turns: int
    """After the change."""
    before: int
    alarm: str | None = None
    measured: tuple[Measured, ...] = ()
    pairs: Mapping[str, int] = field(default_factory=dict)
    """By guardrail, how many turns before and after were held against each other; with none it told nothing."""

    @property
    def compared(self) -> int:
        """By the guardrail that every turn tells something of."""
        return self.pairs.get(ERRORS.name, 0)

    @property
    def said(self) -> str:
        """Of each guardrail, how much there was to compare."""
        return ", ".join(f"{name} {count}" for name, count in self.pairs.items()) or "nothing"


def watch(change: Change, before: Sequence[TurnMeasured], after: Sequence[TurnMeasured]) -> Watched:
    """The first guardrail that gives the alarm, or none."""
    if len(before) < FEWEST_BEFORE:
        return Watched(len(after), len(before))
    rails = guardrails_of(change)
    enough = len(rails) / FALSE_ALARMS
    pairs: dict[str, int] = {}
    for rail in rails:
        one, other = _values(rail, before), _values(rail, after)
        if not any(rail.worse(value, rail.worst) > 0 for value in one):
            one = []
        differences = paired(one, other, rail.worse)
        pairs[rail.name] = len(differences)
        found = bet(differences, enough)
        if found.wealth >= enough:
            told = (_measured(rail, one, other[: found.pairs], found),)
            reason = f"{rail.said}: seen within {found.pairs} requests"
            return Watched(len(after), len(before), reason, told, pairs)
    return Watched(len(after), len(before), pairs=pairs)


def _values(rail: Guardrail, turns: Sequence[TurnMeasured]) -> list[float]:
    return [value for turn in turns if (value := rail.of(turn)) is not None]


def _measured(rail: Guardrail, before: Sequence[float], after: Sequence[float], found: Bet) -> Measured:
    """Means of what was compared. The interval is of how much more often a turn was worse than better (Hoeffding's
    bound), turned so that less than nothing is a loss."""
    reach = (2 * 3.689 / found.pairs) ** 0.5
    mean = -found.mean
    return Measured(
        measure=rail.name,
        by="watch",
        before=fmean(before),
        after=fmean(after),
        low=max(-1.0, mean - reach),
        high=min(1.0, mean + reach),
        samples=found.pairs,
        unit="pairs",
        better=rail.better,
    )
