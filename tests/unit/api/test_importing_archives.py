"""What was read out of an archive is imported so that it can break off anywhere."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any, cast

import pytest

from libs.shared.contracts.conversations import CHANGE_CONVERSATION, ChangeConversation
from libs.shared.contracts.memory import ADD_MEMORY, IMPORT_TURNS, LIST_MEMORIES, Imported, ImportTurns, Memories
from libs.shared.errors import StorageFull
from services.api.archives import importing
from services.api.archives.importing import ArchiveImport
from services.api.archives.parsing import read_archive
from services.api.parts import Parts
from services.api.spool import SealedSpool

AT = "2026-01-01T00:00:00Z"
ARCHIVE = {
    "conversations": [
        {"conversation_id": "open", "title": "Open"},
        {"conversation_id": "private", "title": "Private", "remembered": False},
    ],
    "messages": [
        {"conversation_id": named, "message_id": f"{named}{n}", "speaker": "user", "text": "Hello", "at": AT}
        for named in ("private", "open")
        for n in range(2)
    ],
    "notes": [{"text": f"note {n}", "at": AT} for n in range(120)],
}


class Cognition:
    """Keeps turns by their ids, and fails after so many calls."""

    def __init__(self, calls: int = 1000) -> None:
        self.calls = calls
        self.told: list[Any] = []
        self.ids: set[str] = set()

    async def request(self, contract: Any, message: Any) -> Any:
        self.told.append(message)
        if contract is LIST_MEMORIES:
            return Memories(items=())
        if contract is not IMPORT_TURNS:
            assert contract in (CHANGE_CONVERSATION, ADD_MEMORY)
            return None
        if self.calls == 0:
            raise StorageFull("full")
        self.calls -= 1
        assert isinstance(message, ImportTurns)
        new = {turn.id for turn in message.turns} - self.ids
        self.ids |= new
        return Imported(imported=len(new), present=len(message.turns) - len(new))

    def changes(self) -> list[tuple[str, str | None, bool | None]]:
        found = [told for told in self.told if isinstance(told, ChangeConversation)]
        return [(told.conversation_id, told.title, told.remembered) for told in found]


async def imported(cognition: Cognition, folder: Path) -> list[dict[str, Any]]:
    settings = SimpleNamespace(restart_patience_s=0.0)
    parts = cast("Parts", SimpleNamespace(bus=cognition, settings=settings))
    with SealedSpool(folder) as source, SealedSpool(folder) as records:
        source.write(json.dumps(ARCHIVE).encode())
        now = datetime(2026, 5, 1, tzinfo=UTC)
        contents = read_archive(source, records, most_bytes=10**6, now=now, stop=Event())
        return [event async for event in ArchiveImport(parts, "u1", contents, records).events()]


async def test_what_is_not_to_be_remembered_is_so_although_the_import_breaks_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "_CALL_TURNS", 1)
    cognition = Cognition(calls=1)
    with pytest.raises(StorageFull):
        await imported(cognition, tmp_path)
    assert cognition.changes() == [("private", "Private", False)]
    cognition.calls = 1000
    await imported(cognition, tmp_path)
    assert set(cognition.changes()) == {("private", "Private", False), ("open", "Open", None)}


async def test_a_repeat_changes_no_conversation(tmp_path: Path) -> None:
    cognition = Cognition()
    await imported(cognition, tmp_path)
    assert len(cognition.changes()) == 2
    cognition.told.clear()
    await imported(cognition, tmp_path)
    assert cognition.changes() == []


async def test_many_notes_are_told_of_while_they_are_kept(tmp_path: Path) -> None:
    events = [event["event"] for event in await imported(Cognition(), tmp_path)]
    assert events == ["read", *["progress"] * 3, "done"]
