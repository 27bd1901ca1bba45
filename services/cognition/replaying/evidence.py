"""What a question found, as numbers that can be weighed anew: no text, no names. Pure."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Mapping, Sequence

from libs.shared.contracts.memory import MemoryItem
from libs.shared.contracts.replay import Alike, AskedTurn, Evidence
from libs.shared.recall_sums import NO_PLACE
from libs.shared.text import terms
from services.cognition.question import Question
from services.cognition.recall import Found, evidence_for, unweighted
from services.cognition.replaying.labels import rests_on
from services.cognition.selection import ALIKE, COMPARED_CHARACTERS, jaccard, tokens_of


def as_it_was(found: Sequence[Found], items: Mapping[int, MemoryItem], conversation_id: str, at: float) -> list[Found]:
    """What was known when the question was asked, seconds since 1970, newest first.

    What was told later is left out, as is its own conversation, which stands in the prompt anyway; what was used since
    counts as unused, since this very answer may have used it.
    """
    known = [place for place, one in enumerate(found) if _known(one, items, conversation_id, at)]
    known.sort(key=lambda place: (-found[place].at, -found[place].ordinal))
    places = {before: after for after, before in enumerate(known)}
    return [_then(found[place], places, at) for place in known]


def _known(one: Found, items: Mapping[int, MemoryItem], conversation_id: str, at: float) -> bool:
    item = items.get(one.ordinal)
    return item is not None and one.at < at and item.conversation_id != conversation_id


def _then(one: Found, places: Mapping[int, int], at: float) -> Found:
    one = one._replace(newer=places.get(one.newer, NO_PLACE))
    return one._replace(uses=0, used_at=0.0) if one.used_at >= at else one


def evidence_of(
    asked: AskedTurn,
    question: Question,
    found: Sequence[Found],
    texts: Sequence[str],
    whole: float,
    room_tokens: int = 0,
) -> Evidence:
    """Of candidates in the order of ``as_it_was``, with their texts; ``whole`` as ``rank`` takes it."""
    columns = unweighted(found, question, asked.at.timestamp())
    return Evidence(
        turn_id=asked.turn_id,
        conversation_id=asked.conversation_id,
        parts=tuple(columns),
        columns=_float32(value for row in zip(*columns.values(), strict=True) for value in row),
        evidence=tuple(evidence_for(one, whole) for one in found),
        tokens=tuple(tokens_of(text) for text in texts),
        newer=tuple(one.newer for one in found),
        alike=alike(texts),
        past=question.past,
        relevant=rests_on(asked.question, asked.answer, texts),
        room_tokens=room_tokens,
    )


def alike(texts: Sequence[str]) -> tuple[Alike, ...]:
    """The pairs that tell the same, as ``spread_out`` looks for them."""
    said = [frozenset(terms(text[:COMPARED_CHARACTERS])) for text in texts]
    pairs = ((one, other, jaccard(said[one], said[other])) for other in range(len(said)) for one in range(other))
    return tuple(Alike(one=one, other=other, likeness=how) for one, other, how in pairs if how >= ALIKE)


def _float32(values: Iterable[float]) -> bytes:
    made = array("f", values)
    if sys.byteorder == "big":
        made.byteswap()
    return made.tobytes()
