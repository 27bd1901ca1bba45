"""Conversations in LoCoMo's format (Maharana et al. 2024): what was said when, and questions with their evidence."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

KINDS = {1: "multi-hop", 2: "temporal", 3: "open-domain", 4: "single-hop"}
"""By LoCoMo's category; the fifth is adversarial and has no evidence to find."""
ADVERSARIAL = 5
_CLOCK = "%I:%M %p on %d %B, %Y"
_APART = timedelta(seconds=20)
"""A session has one time: its turns follow one another by so much."""


@dataclass(frozen=True)
class Turn:
    """Something said."""

    id: str
    session: str
    speaker: str
    text: str
    at: datetime


@dataclass(frozen=True)
class Asked:
    """A question, and the ids of the turns that hold its evidence."""

    text: str
    kind: str
    gold: frozenset[str]
    answer: str = ""
    """As LoCoMo has it; none of a question of the fifth category."""


@dataclass(frozen=True)
class Conversation:
    """One file."""

    speakers: tuple[str, ...]
    turns: tuple[Turn, ...]
    questions: tuple[Asked, ...]
    unanswerable: tuple[Asked, ...] = ()
    """Of the fifth category: ``gold`` is what they mislead to, and nothing answers them."""


def read(path: Path) -> Conversation:
    """A file's conversation, its ids made unlike those of any other."""
    data = json.loads(path.read_text())
    name = str(data["conversation"])
    turns = [turn for n, session in enumerate(data["sessions"]) for turn in _turns(f"{name}-{n}", name, session)]
    known = {turn.id for turn in turns}
    questions = (_asked(name, known, entry) for entry in data["qa"] if entry["category"] in KINDS)
    unanswerable = (_asked(name, known, entry) for entry in data["qa"] if entry["category"] == ADVERSARIAL)
    asked, misled = (tuple(one for one in some if one.gold) for some in (questions, unanswerable))
    return Conversation(tuple(data["speakers"]), tuple(turns), asked, misled)


def _turns(session: str, name: str, data: dict[str, Any]) -> list[Turn]:
    began = datetime.strptime(data["at"], _CLOCK).replace(tzinfo=UTC)
    return [
        Turn(_id(name, turn["id"]), session, turn["speaker"], _said(turn), began + place * _APART)
        for place, turn in enumerate(data["turns"])
    ]


def _id(name: str, turn: str) -> str:
    """LoCoMo's ids are no ids of ours: they have colons."""
    return f"{name}-{turn.replace(':', '-')}"


def _said(turn: dict[str, Any]) -> str:
    caption = turn.get("caption")
    return f"{turn['text']} [shares a picture: {caption}]" if caption else str(turn["text"])


def _asked(name: str, known: set[str], entry: dict[str, Any]) -> Asked:
    gold = frozenset(_id(name, turn) for turn in entry.get("evidence", ())) & known
    return Asked(entry["question"], KINDS.get(entry["category"], "adversarial"), gold, str(entry.get("answer", "")))


def every(conversations: Sequence[Conversation]) -> tuple[Turn, ...]:
    """What was said in all of them, one after the other."""
    return tuple(turn for conversation in conversations for turn in conversation.turns)
