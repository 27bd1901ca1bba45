"""What was asked and answered in a turn, opened."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from libs.shared.contracts.common import Speaker
from services.persistence.opening import open_message
from services.persistence.repositories.material import SealedSaid
from services.persistence.sealing import KeyRing, UserKeys


class Opened(NamedTuple):
    """A turn's two sides."""

    question: str
    answer: str


def opened(said: Iterable[SealedSaid], keys: KeyRing, user: UserKeys) -> Opened | None:
    """None where question or answer was forgotten, or can't be read any more."""
    texts: dict[str, list[str]] = {}
    for message in said:
        if (found := open_message(keys, user, message)) is None:
            return None
        texts.setdefault(found.speaker, []).append(found.text)
    if not texts.get(Speaker.USER) or not texts.get(Speaker.ASSISTANT):
        return None
    return Opened("\n\n".join(texts[Speaker.USER]), "\n\n".join(texts[Speaker.ASSISTANT]))
