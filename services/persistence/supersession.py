"""What becomes of facts whose superseder is forgotten."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class FactEnd:
    """A fact by what follows it."""

    fact_id: str
    superseded_by: str | None
    valid_from: datetime


@dataclass(frozen=True)
class Superseded:
    """A fact's new end; None: it holds again."""

    fact_id: str
    superseded_by: str | None
    valid_to: datetime | None


def ends_without(facts: Sequence[FactEnd], removed: Collection[str]) -> tuple[Superseded, ...]:
    """New ends for the facts of ``facts`` that are left and were superseded by a removed one.

    What superseded the removed one takes its place, and so on; where nothing did, the fact is open again.
    """
    known = {fact.fact_id: fact for fact in facts}
    changed = (f for f in facts if f.fact_id not in removed and f.superseded_by in removed)
    return tuple(_end(fact, known, removed) for fact in changed)


def _end(fact: FactEnd, known: dict[str, FactEnd], removed: Collection[str]) -> Superseded:
    follower = known.get(fact.superseded_by or "")
    seen = {fact.fact_id}
    while follower is not None and follower.fact_id in removed and follower.fact_id not in seen:
        seen.add(follower.fact_id)
        follower = known.get(follower.superseded_by or "")
    if follower is None or follower.fact_id in seen:
        return Superseded(fact.fact_id, None, None)
    return Superseded(fact.fact_id, follower.fact_id, follower.valid_from)
