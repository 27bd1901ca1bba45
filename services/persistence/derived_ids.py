"""Identifiers that follow from what a user gave, by keyed hashes: the same input finds the same row, and tells nobody
else what it was."""

from __future__ import annotations

from hashlib import blake2b

from services.persistence.joining import comparable
from services.persistence.sealing import UserKeys

_ID_BYTES = 16


def _hash(user: UserKeys, person: bytes, given: str) -> bytes:
    return blake2b(given.encode(), key=user.term_key, person=person, digest_size=_ID_BYTES).digest()


def derived_conversation_id(user: UserKeys, external: str) -> str:
    """Our id of a conversation that was imported as ``external``: 32 hexadecimal digits."""
    return _hash(user, b"mongars convers.", external).hex()


def notes_conversation_id(user: UserKeys) -> str:
    """Of the one conversation that holds the user's notes."""
    return _hash(user, b"mongars notes", "").hex()


def source_hash(user: UserKeys, external: str) -> bytes:
    """What stands for the id that a turn was imported under."""
    return _hash(user, b"mongars source", external)


def said_hash(user: UserKeys, speaker: str, text: str) -> bytes | None:
    """What stands for a message that a client may resend; None for one without words."""
    words = comparable(text)
    return _hash(user, b"mongars said", f"{speaker}\0{words}") if words else None


def chat_conversation_id(user: UserKeys, chat: str, number: int) -> str:
    """Our id of what a client calls ``chat``; the next ``number`` is of a chat that went on after it was forgotten."""
    return _hash(user, b"mongars chat", f"{number}\0{chat}").hex()


def document_hash(user: UserKeys, name: str) -> bytes:
    """What stands for a document's name."""
    return _hash(user, b"mongars document", name)
