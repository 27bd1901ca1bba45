"""A question and its answer, as somebody had them; and one that may be trained on. No trace shows their words."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

Split = Literal["train", "held_out"]
SPLITS: tuple[Split, ...] = ("train", "held_out")


@dataclass(frozen=True)
class Exchange:
    """What was asked and answered in one turn, for which its owner's consent was already looked up."""

    question: str = field(repr=False)
    answer: str = field(repr=False)
    conversation_id: str
    turn_id: str
    owner_id: str
    at: datetime
    """With its offset from UTC."""
    rating: int = 0
    """Above 0: liked; below: disliked; 0: nobody said."""
    partial: bool = False
    """Whether the model broke off."""
    quoted: bool = False
    """Whether no model wrote the answer, but memories are quoted in it."""
    version: int = 1
    """Of its text: an edit gives another."""
    names: tuple[str, ...] = field(default=(), repr=False)
    """What its owner is called, where that is known: found in the conversation wherever it stands."""


@dataclass(frozen=True)
class Example:
    """One exchange without what tells of anyone, on its side of the split."""

    question: str = field(repr=False)
    answer: str = field(repr=False)
    conversation_id: str
    turn_id: str
    version: int
    owner_id: str
    split: Split
