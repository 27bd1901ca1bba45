"""Claude's ``conversations.json``: lists of messages by a human and the assistant. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from libs.shared.contracts.memory import ImportedTurn
from services.api.archives.turns import digest, identity, moment_of, text_of, turns

_SPEAKERS = {"human": "user", "assistant": "assistant"}


def is_conversation(found: object) -> bool:
    return isinstance(found, dict) and isinstance(found.get("chat_messages"), list)


def conversation_id(found: dict[str, Any]) -> str:
    return identity("claude", found.get("uuid") or digest(found))


def conversation_turns(found: dict[str, Any]) -> Iterator[ImportedTurn]:
    """What was said, in order. Thoughts, tools and attached files are left out."""
    conversation = conversation_id(found)
    at = moment_of(found.get("created_at"))
    for place, message in enumerate(found["chat_messages"]):
        if not isinstance(message, dict):
            continue
        at = moment_of(message.get("created_at")) or at
        speaker, text = _SPEAKERS.get(str(message.get("sender"))), _said(message)
        if speaker is not None and text and at is not None:
            yield from turns(
                id=identity(conversation, message.get("uuid") or str(place)),
                conversation_id=conversation,
                speaker=speaker,
                text=text,
                at=at,
            )


def _said(message: dict[str, Any]) -> str:
    content = message.get("content")
    parts = content if isinstance(content, list) else []
    said = [text_of(part.get("text")) for part in parts if isinstance(part, dict) and part.get("type") == "text"]
    return "\n\n".join(filter(None, said)).strip() or text_of(message.get("text")).strip()
