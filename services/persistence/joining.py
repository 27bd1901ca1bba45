"""Where a client that resends its history goes on: which kept message its history ends at. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

TELLING_CHARACTERS = 40
"""A message so long is known by itself; of shorter ones, two in a row have to fit."""
_THOUGHTS = re.compile(
    r"<(think|thinking|reasoning)>.*?</\1>|<details type=\"reasoning\"[^>]*>.*?</details>", re.DOTALL
)


def comparable(text: str) -> str:
    """The words of a message as clients may send them back: without thoughts, with any white space."""
    if "<" in text:
        text = _THOUGHTS.sub(" ", text)
    return " ".join(unicodedata.normalize("NFC", text).split())


@dataclass(frozen=True)
class Place:
    """A kept message, by its hash."""

    message_id: str
    parent_id: str | None
    conversation_id: str
    said_hash: bytes
    ordinal: int


@dataclass(frozen=True)
class Heard:
    """A message of the client's history."""

    said_hash: bytes | None
    """None: it has no words."""
    characters: int


def place_of(history: Sequence[Heard], kept: Sequence[Place]) -> Place | None:
    """The kept message that ``history`` (oldest first) ends at; None when nothing of it is known.

    That is the newest one of the history that is kept and preceded by what preceded it there, or telling by itself.
    What comes after it in the history was said elsewhere, or was changed: the turn branches there. Of several, the
    one whose way back fits longest is taken, and of those the newest.
    """
    by_id = {place.message_id: place for place in kept}
    by_hash: dict[bytes, list[Place]] = defaultdict(list)
    for place in kept:
        by_hash[place.said_hash].append(place)
    for at in range(len(history) - 1, -1, -1):
        found = by_hash.get(history[at].said_hash or b"", ())
        fitting = [(_fits(history, at, place, by_id), place) for place in found]
        known = [(run, place) for run, place in fitting if run > 1 or history[at].characters >= TELLING_CHARACTERS]
        if known:
            return max(known, key=lambda one: (one[0], one[1].ordinal))[1]
    return None


def _fits(history: Sequence[Heard], at: int, place: Place, by_id: dict[str, Place]) -> int:
    """How many messages of the way to ``place`` are those of ``history`` up to ``at``."""
    run = 1
    while at - run >= 0 and place.parent_id in by_id:
        place = by_id[place.parent_id]
        if place.said_hash != history[at - run].said_hash:
            break
        run += 1
    return run
