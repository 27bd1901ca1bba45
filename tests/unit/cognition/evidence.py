"""Candidates and hits in values."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from libs.shared.contracts.common import Speaker
from libs.shared.contracts.memory import Candidate
from services.cognition.recall import Hit

DAY = datetime(2026, 5, 1, tzinfo=UTC)


def candidate(
    message_id: str,
    *,
    bm25: float | None = None,
    cosine: float | None = None,
    text: str = "something said",
    speaker: Speaker = Speaker.USER,
    age_days: int = 0,
    indexed: bool = True,
) -> Candidate:
    return Candidate(
        message_id=message_id,
        conversation_id="c",
        speaker=speaker,
        text=text,
        at=DAY - timedelta(days=age_days),
        bm25=bm25,
        cosine=cosine,
        indexed=indexed,
    )


def hit(message_id: str, text: str = "something said", *, score: float = 0.5, age_days: int = 0) -> Hit:
    return Hit(candidate(message_id, text=text, age_days=age_days), score, {"lexical": score})


candidates = st.lists(
    st.builds(
        lambda n, bm25, cosine, age, text, indexed: candidate(
            f"m{n}", bm25=bm25, cosine=cosine, age_days=age, text=text, indexed=indexed
        ),
        st.integers(0, 1000),
        st.none() | st.floats(0, 50),
        st.none() | st.floats(-1, 1),
        st.integers(0, 5),
        st.sampled_from(("something said", "my dog is Rex", "Rex barked at the dog of another")),
        st.booleans(),
    ),
    unique_by=lambda c: c.message_id,
    max_size=20,
)
