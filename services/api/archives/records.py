"""What was read out of an archive, on its way to being imported; a line of JSON each. Pure."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from libs.shared.contracts.memory import ImportedTurn

LONGEST_TITLE = 200


@dataclass(frozen=True, slots=True)
class Heading:
    """What is known of a conversation beside its turns."""

    conversation_id: str
    title: str | None
    remembered: bool


@dataclass(frozen=True, slots=True)
class Note:
    """A note in the person's words."""

    text: str
    at: datetime
    pinned: bool
    importance: float | None


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a document; all of one document come one after another."""

    name: str
    text: str


Record = ImportedTurn | Heading | Note | Passage
_KINDS: dict[str, Any] = {"heading": Heading, "note": Note, "passage": Passage}
_NAMES = {kind: name for name, kind in _KINDS.items()}


def line_of(record: Record) -> bytes:
    """Raises ValueError when it holds what JSON has no word for."""
    if isinstance(record, ImportedTurn):
        return b"turn " + record.model_dump_json().encode() + b"\n"
    told = json.dumps(asdict(record), default=datetime.isoformat, ensure_ascii=False)
    return f"{_NAMES[type(record)]} {told}\n".encode()


def record_of(line: bytes) -> Record:
    """The record that ``line_of`` wrote."""
    name, _, told = line.partition(b" ")
    if name == b"turn":
        return ImportedTurn.model_validate_json(told)
    fields = json.loads(told)
    if "at" in fields:
        fields["at"] = datetime.fromisoformat(fields["at"])
    record: Record = _KINDS[name.decode()](**fields)
    return record
