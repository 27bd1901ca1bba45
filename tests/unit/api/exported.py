"""Archives as other programs export them, made up for tests."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any


def chatgpt_message(id: str, role: str, *parts: Any, at: float | None = 1_700_000_000.0, **more: Any) -> dict[str, Any]:
    content = {"content_type": "text", "parts": list(parts)}
    return {"id": id, "author": {"role": role}, "create_time": at, "content": content, "recipient": "all", **more}


def chatgpt(*messages: dict[str, Any], id: str = "c", title: str = "Trip", **more: Any) -> dict[str, Any]:
    """A conversation whose messages follow one another."""
    mapping: dict[str, Any] = {"root": {"id": "root", "message": None, "parent": None}}
    parent = "root"
    for message in messages:
        mapping[message["id"]] = {"id": message["id"], "message": message, "parent": parent}
        parent = message["id"]
    found = {"title": title, "create_time": 1_690_000_000.0, "mapping": mapping, "current_node": parent}
    return {**found, "conversation_id": id, **more}


def claude(*messages: tuple[str, str], id: str = "c", name: str = "Voyage") -> dict[str, Any]:
    """A conversation of (sender, text)."""
    return {
        "uuid": id,
        "name": name,
        "created_at": "2024-05-01T10:00:00.000000Z",
        "chat_messages": [
            {
                "uuid": f"{id}-{place}",
                "sender": sender,
                "text": text,
                "content": [{"type": "text", "text": text}],
                "created_at": f"2024-05-01T10:{place % 60:02}:00.123456Z",
            }
            for place, (sender, text) in enumerate(messages)
        ],
    }


def zipped(found: Any, name: str = "conversations.json", others: dict[str, bytes] | None = None) -> bytes:
    """An archive with the conversations among other members."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for other, content in (others or {}).items():
            archive.writestr(other, content)
        archive.writestr(name, json.dumps(found, ensure_ascii=False))
    return out.getvalue()
