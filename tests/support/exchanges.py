"""Exchanges for datasets: of as many conversations as wanted, each its own words."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

from services.trainer.curation.exchanges import Exchange

BEGIN = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
_VOCABULARY = (
    "garden roses winter coffee train mountain letter music bread river kitchen lamp paper window summer market boat "
    "violin forest candle bridge harbour orchard blanket pepper saddle thunder velvet walnut compass"
)
WORDS = _VOCABULARY.split()


def exchange(conversation: str = "c0", turn: str = "t0", **about: Any) -> Exchange:
    """One that nothing is wrong with, but for what ``about`` says."""
    draw = random.Random(f"{conversation}/{turn}")
    said: dict[str, Any] = {
        "question": "Tell me about " + " ".join(draw.sample(WORDS, 6)) + "?",
        "answer": "It is about " + " ".join(draw.sample(WORDS, 12)) + ".",
        "owner_id": "ada",
        "at": BEGIN + timedelta(minutes=draw.randrange(100_000)),
    }
    return Exchange(conversation_id=conversation, turn_id=turn, **(said | about))


def exchanges(conversations: int, turns: int = 2) -> list[Exchange]:
    """Of two people."""
    return [
        exchange(f"c{one}", f"c{one}t{turn}", owner_id=("ada", "bea")[one % 2])
        for one in range(conversations)
        for turn in range(turns)
    ]
