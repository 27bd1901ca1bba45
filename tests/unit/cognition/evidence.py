"""Candidates, questions and hits in values."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from libs.shared.contracts.memory import MemoryItem
from libs.shared.recall_sums import NO_PLACE
from services.cognition.question import Question
from services.cognition.recall import Found
from services.cognition.selection import Hit
from tests.unit.cognition.household import memory

DAY = datetime(2026, 5, 1, tzinfo=UTC)
NOW = datetime(2026, 11, 2, 12, tzinfo=UTC)
ASKED = Question("What is my dog called?", ("dog", "cal"))


def found(
    ordinal: int, *, bm25: float = 0.0, cosine: float | None = None, age_days: float = 0, **about: object
) -> Found:
    """A candidate of which nothing else is known."""
    row: dict[str, object] = {
        "conversation": ordinal,
        "speaker": "user",
        "at": (DAY - timedelta(days=age_days)).timestamp(),
        "words": 5,
        "traits": 0,
        "importance": 0.0,
    }
    return Found(ordinal=ordinal, bm25=bm25, cosine=cosine, **(row | about))  # type: ignore[arg-type]


def item(message_id: str, text: str = "something said", *, score: float = 0.5, **about: Any) -> MemoryItem:
    told: dict[str, Any] = {"score": score, "parts": {"terms": score}} | about
    return memory(message_id, text, **told)


def hit(message_id: str, text: str = "something said", *, score: float = 0.5, age_days: int = 0, **about: Any) -> Hit:
    return Hit(item(message_id, text, score=score, **({"at": DAY - timedelta(days=age_days)} | about)))


@st.composite
def rows(draw: st.DrawFn, most: int = 16) -> list[Found]:
    """Candidates, some of which supersede others."""
    size = draw(st.integers(0, most))
    return [
        found(
            ordinal,
            bm25=draw(st.floats(0, 50)),
            cosine=draw(st.none() | st.floats(-1, 1)),
            age_days=draw(st.integers(0, 2000)),
            speaker=draw(st.sampled_from(("user", "assistant", "Zoé"))),
            words=draw(st.integers(0, 200)),
            traits=draw(st.integers(0, 2**10 - 1)),
            importance=draw(st.floats(0, 1)),
            uses=draw(st.integers(0, 100)),
            pinned=draw(st.booleans()),
            conversation=draw(st.integers(0, 3)),
            # a later place only: what supersedes comes after, so there is no circle
            newer=draw(st.sampled_from([NO_PLACE, *range(ordinal + 1, size)])),
        )
        for ordinal in range(size)
    ]
