"""What becomes of a batch of imported turns, decided before anything is written: what is refused, in which order the
turns of a conversation stand, and what each answers to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from libs.shared.contracts.common import Speaker
from libs.shared.contracts.memory import ImportedTurn
from libs.shared.errors import InvalidRequest
from services.persistence.opening import OTHER

_EARLIEST = datetime(1, 1, 2, tzinfo=UTC)
"""A day later than the first that exists, so that no time zone leads out of the calendar."""
_AHEAD = timedelta(days=1)
"""How far another machine's clock may go before ours."""


def in_utc(at: datetime) -> datetime:
    """The moment in UTC; one without an offset is taken to be that already."""
    if at.tzinfo is None:
        return at.replace(tzinfo=UTC)
    try:
        return at.astimezone(UTC)
    except OverflowError:
        return _EARLIEST - timedelta(days=1)


def checked(turns: Sequence[ImportedTurn], now: datetime) -> list[ImportedTurn]:
    """Each turn once, times in UTC, as they were said: by time, then by place.

    Raises InvalidRequest, naming the first turn that can't be kept and why.
    """
    kept: dict[str, ImportedTurn] = {}
    for place, turn in enumerate(turns):
        turn = turn.model_copy(update={"at": in_utc(turn.at)})
        _refuse_faulty(turn, place, now)
        if kept.setdefault(turn.id, turn) != turn:
            raise InvalidRequest(
                f"two different turns have the id {turn.id!r}", errors=[f"turns.{place}.id"], turn_id=turn.id
            )
    return sorted(kept.values(), key=lambda turn: turn.at)


def _refuse_faulty(turn: ImportedTurn, place: int, now: datetime) -> None:
    if not turn.text.strip():
        raise InvalidRequest("a turn has no words", errors=[f"turns.{place}.text"])
    refuse_impossible(turn.at, now, f"turns.{place}.at")


def refuse_impossible(at: datetime, now: datetime, field: str) -> None:
    """Raises InvalidRequest for a moment (in UTC) that hasn't come yet, or that no calendar has."""
    if not _EARLIEST <= at <= now + _AHEAD:
        raise InvalidRequest("nothing was said in the future, or before the calendar", errors=[field])


def speaker_column(speaker: str) -> str:
    """What stands in the row; a name stands in ``about``, sealed."""
    folded = speaker.casefold()
    return folded if folded in (Speaker.USER, Speaker.ASSISTANT) else OTHER


@dataclass(frozen=True)
class Tail:
    """The leaf of a conversation that exists."""

    message_id: str | None
    at: datetime | None
    imported: bool
    """False: somebody has gone on talking since, and that stays the leaf."""


NO_TAIL = Tail(None, None, imported=True)


@dataclass(frozen=True)
class Added:
    """What a batch does to the heading of one conversation."""

    count: int
    first: datetime
    last: datetime
    leaf: str | None
    """The new leaf; None: it stays."""
    out_of_order: bool
    """Something older came after something newer: the chain of the whole conversation is made anew."""


def follow(ids: Sequence[str], times: Sequence[datetime], tail: Tail) -> tuple[list[str | None], Added]:
    """What each of a conversation's new turns (in the order of their times) answers to, and what they do to it."""
    before = tail.message_id if tail.imported else None
    in_order = tail.imported and (tail.at is None or tail.at <= times[0])
    later = tail.imported and (tail.at is None or tail.at <= times[-1])
    added = Added(len(ids), times[0], times[-1], ids[-1] if later else None, out_of_order=not in_order)
    return [before, *ids[:-1]], added


def by_conversation(turns: Sequence[ImportedTurn]) -> Mapping[str, list[int]]:
    """The importer's conversation → the places of its turns, in order."""
    places: dict[str, list[int]] = {}
    for place, turn in enumerate(turns):
        places.setdefault(turn.conversation_id, []).append(place)
    return places
