"""What must not worsen when a change is in force, and whether it has: turns after it against turns before it, or those
of conversations that try it out against others'. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Literal, NamedTuple

from libs.shared.contracts.ledger import OPTIMIZER_ACTOR, Change, ChangeKind, Measured
from libs.shared.contracts.watching import TurnMeasured
from services.optimizer.watch.arms import Arms
from services.optimizer.watch.betting import Bet, Worse, bet, less_is_worse, more_is_worse, paired
from services.optimizer.watch.thumbs import Thumbs

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
    of: Callable[[TurnMeasured], float | None] | None
    """None: it is of thumbs, which come later than turns."""
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
RATINGS = Guardrail("rated_badly_share", None, more_is_worse(0.0), "more answers are rated badly", "less", 1.0)
CHOSEN_BY_PEOPLE = frozenset(
    {"default_model", "code_model", "chat_canary", "code_canary", "embedder", "remote_models", "extraction"}
)
"""Whoever chooses another model, or an adapter of one, knows that it is slower: that undoes nothing. The optimizer has
no such leave."""


def guardrails_of(change: Change) -> tuple[Guardrail, ...]:
    """Those that the change is watched by."""
    if change.key in CHOSEN_BY_PEOPLE and change.proposed.actor != OPTIMIZER_ACTOR:
        return (ERRORS, REPETITION, RATINGS)
    if change.key == "workers":
        return (ERRORS,) if more_workers(change) else (ERRORS, LATENCY)
    if change.kind is ChangeKind.DIGEST:
        return (ERRORS, LATENCY, REPETITION, RATINGS)
    return (ERRORS, LATENCY, EVIDENCE, REPETITION, RATINGS)


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


class _Sides(NamedTuple):
    """What a guardrail holds against each other."""

    one: Sequence[float]
    other: Sequence[float]
    differences: Sequence[int]
    """Of pairs: 1 where the other is worse."""


def watch(
    change: Change, before: Sequence[TurnMeasured], after: Sequence[TurnMeasured], thumbs: Thumbs | None = None
) -> Watched:
    """Turns after a change against turns before it: the first guardrail that gives the alarm, or none."""
    known = before if len(before) >= FEWEST_BEFORE else ()

    def sides(rail: Guardrail) -> _Sides:
        if rail.of is None:
            return _of_thumbs(rail, thumbs or Thumbs())
        one, other = _values(rail.of, known), _values(rail.of, after)
        return _Sides(one, other, paired(one, other, rail.worse))

    found = _judged(guardrails_of(change), sides, by="watch", met="requests")
    return replace(found, turns=len(after), before=len(before))


def compare(change: Change, arms: Arms) -> Watched:
    """Conversations that try a change out against others at the same time, likewise."""

    def sides(rail: Guardrail) -> _Sides:
        if rail.of is None:
            return _of_thumbs(rail, arms.thumbs)
        of = rail.of
        values = [(of(usual), of(tried)) for usual, tried in arms.pairs]
        told = [(one, other) for one, other in values if one is not None and other is not None]
        return _in_order(rail, [one for one, _ in told], [other for _, other in told])

    found = _judged(guardrails_of(change), sides, by="canary", met="conversations, beside as many others")
    return replace(found, turns=len(arms.pairs), before=len(arms.pairs))


def _judged(
    rails: Sequence[Guardrail], sides: Callable[[Guardrail], _Sides], *, by: Literal["watch", "canary"], met: str
) -> Watched:
    enough = len(rails) / FALSE_ALARMS
    pairs: dict[str, int] = {}
    for rail in rails:
        held = sides(rail)
        if not any(rail.worse(value, rail.worst) > 0 for value in held.one):
            held = _Sides((), (), ())
        pairs[rail.name] = len(held.differences)
        found = bet(held.differences, enough)
        if found.wealth >= enough:
            told = _measured(rail, held.one, held.other[: found.pairs], found, by)
            return Watched(0, 0, f"{rail.said}: seen within {found.pairs} {met}", (told,), pairs)
    return Watched(0, 0, pairs=pairs)


def _of_thumbs(rail: Guardrail, thumbs: Thumbs) -> _Sides:
    one, other = ([float(bad) for bad in side.values()] for side in (thumbs.before, thumbs.after))
    return _in_order(rail, one, other)


def _in_order(rail: Guardrail, one: Sequence[float], other: Sequence[float]) -> _Sides:
    """As they came: more on either side leaves the pairs as they are."""
    return _Sides(one, other, [rail.worse(*pair) for pair in zip(one, other, strict=False)])


def _values(of: Callable[[TurnMeasured], float | None], turns: Sequence[TurnMeasured]) -> list[float]:
    return [value for turn in turns if (value := of(turn)) is not None]


def _measured(
    rail: Guardrail, before: Sequence[float], after: Sequence[float], found: Bet, by: Literal["watch", "canary"]
) -> Measured:
    """Means of what was compared. The interval is of how much more often a turn was worse than better (Hoeffding's
    bound), turned so that less than nothing is a loss."""
    reach = (2 * 3.689 / found.pairs) ** 0.5
    mean = -found.mean
    return Measured(
        measure=rail.name,
        by=by,
        before=fmean(before),
        after=fmean(after),
        low=max(-1.0, mean - reach),
        high=min(1.0, mean + reach),
        samples=found.pairs,
        unit="pairs",
        better=rail.better,
    )
