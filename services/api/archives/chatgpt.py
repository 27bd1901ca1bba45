"""ChatGPT's ``conversations.json``: trees of messages, of which the branch is taken that the person saw last. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from libs.shared.contracts.memory import ImportedTurn
from services.api.archives.turns import digest, identity, moment_of, text_of, turns

_SPEAKERS = frozenset({"user", "assistant"})
_TEXTS = frozenset({"text", "multimodal_text"})


def is_conversation(found: object) -> bool:
    return isinstance(found, dict) and isinstance(found.get("mapping"), dict)


def conversation_id(found: dict[str, Any]) -> str:
    return identity("chatgpt", found.get("conversation_id") or found.get("id") or digest(found))


def conversation_turns(found: dict[str, Any]) -> Iterator[ImportedTurn]:
    """What the person and the assistant said, oldest first. Tools, hidden messages and pictures are left out."""
    conversation = conversation_id(found)
    at = moment_of(found.get("create_time")) or moment_of(found.get("update_time"))
    for node_id, message in _branch(found):
        at = moment_of(message.get("create_time")) or at
        text = _said(message)
        if text and at is not None:
            yield from _turns(conversation, node_id, message, text, at)


def _turns(conversation: str, node_id: str, message: dict[str, Any], text: str, at: datetime) -> Iterator[ImportedTurn]:
    return turns(
        id=identity(conversation, message.get("id") or node_id),
        conversation_id=conversation,
        speaker=message["author"]["role"],
        text=text,
        at=at,
    )


def _branch(found: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """From the root to the current node; without one, to the newest message."""
    nodes: dict[str, Any] = {name: node for name, node in found["mapping"].items() if isinstance(node, dict)}
    at = found.get("current_node")
    if not isinstance(at, str) or at not in nodes:
        at = max(nodes, key=lambda name: _time(nodes[name]), default=None)
    path: dict[str, Any] = {}
    while isinstance(at, str) and at in nodes and at not in path:
        path[at] = nodes[at].get("message")
        at = nodes[at].get("parent")
    for name in reversed(path):
        if isinstance(path[name], dict):
            yield name, path[name]


def _time(node: dict[str, Any]) -> float:
    message = node.get("message")
    at = moment_of(message.get("create_time")) if isinstance(message, dict) else None
    return at.timestamp() if at is not None else float("-inf")


def _said(message: dict[str, Any]) -> str:
    author, content = message.get("author"), message.get("content")
    if not isinstance(author, dict) or not isinstance(content, dict):
        return ""
    if text_of(author.get("role")) not in _SPEAKERS or text_of(content.get("content_type")) not in _TEXTS:
        return ""
    metadata = message.get("metadata")
    hidden = isinstance(metadata, dict) and metadata.get("is_visually_hidden_from_conversation")
    if hidden or message.get("recipient") not in (None, "all"):
        return ""
    parts = content.get("parts")
    return "\n\n".join(filter(None, map(_words, parts))).strip() if isinstance(parts, list) else ""


def _words(part: object) -> str:
    """Of a picture nothing; of something that was spoken, its transcript."""
    if isinstance(part, dict):
        return text_of(part.get("text")) if part.get("content_type") == "audio_transcription" else ""
    return text_of(part)
