"""Keeping documents in step with a folder: which files, under which names, through which troubles."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from cli import document_folder
from cli.document_folder import DocumentFolder, Watch, is_plain, place_at
from cli.errors import CommandError, Exit
from cli.gateway import Gateway, GatewayAway, Refused
from cli.installation import Installation
from cli.own_key import OwnKey
from tests.unit.cli.small_gateway import Answer, SmallGateway, serving

INSTALLATION: Installation = None  # type: ignore[assignment] # a key that never asks it for anything


class Shelf:
    """The documents of somebody, behind HTTP; ``troubles`` are answered first."""

    def __init__(self) -> None:
        self.documents: dict[str, bytes] = {}
        self.troubles: list[Answer] = []
        self.changed = Event()

    def answer(self, method: str, path: str, query: dict[str, str], body: bytes) -> Answer:
        if self.troubles:
            return self.troubles.pop(0)
        if method == "POST":
            return self._add(query["name"], body)
        if method == "DELETE":
            del self.documents[bytes.fromhex(path.rpartition("/")[2]).decode()]
            self.changed.set()
            return 200, {}
        listed = [{"document_id": name.encode().hex(), "name": name} for name in self.documents]
        return 200, {"documents": listed, "next_cursor": None}

    def _add(self, name: str, body: bytes) -> Answer:
        if body.startswith(b"bad"):
            return 422, {"code": "document_damaged", "detail": "it can't be read"}
        changed = self.documents.get(name) != body
        self.documents[name] = body
        self.changed.set()
        return 201, {"changed": changed, "document": {"passages": 1}}


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def server(shelf: Shelf) -> Iterator[SmallGateway]:
    with serving(shelf.answer) as server:
        yield server


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def folder(server: SmallGateway, said: list[str]) -> DocumentFolder:
    return DocumentFolder(Gateway(server.server_port, OwnKey(INSTALLATION, None, "test", "mgk_x")), said.append)


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    root = tmp_path / "notes"
    (root / "2024").mkdir(parents=True)
    (root / ".git").mkdir()
    for name in ("bees.md", "2024/été.TXT", "photo.png", "other.png", ".hidden.md", ".git/x.md", "~$lock.docx"):
        (root / name).write_text(name)
    (root / "link.md").symlink_to(root / "bees.md")
    return root


def test_a_folder_s_documents_are_added_under_names_that_begin_with_it(
    folder: DocumentFolder, shelf: Shelf, said: list[str], notes: Path
) -> None:
    place = place_at(notes)
    for _ in range(2):
        for file in place.files():
            folder.add(place, file)
    assert set(shelf.documents) == {"notes/bees.md", "notes/2024/été.TXT"}
    assert (folder.outcome.added, folder.outcome.unchanged, folder.outcome.skipped[".png"]) == (2, 2, 4)
    assert [text for text in said if "png" in text] == ["skipped: files with .png are not read"]


def test_a_file_that_is_named_is_tried_whatever_its_ending(
    folder: DocumentFolder, shelf: Shelf, tmp_path: Path
) -> None:
    file = tmp_path / "README"
    file.write_text("words")
    folder.add(place_at(file), file.resolve())
    assert shelf.documents == {"README": b"words"}


def test_what_is_refused_is_told_and_the_rest_goes_on(
    folder: DocumentFolder, shelf: Shelf, said: list[str], tmp_path: Path
) -> None:
    (tmp_path / "a.md").write_text("bad")
    (tmp_path / "b.md").write_text("good")
    place = place_at(tmp_path)
    for file in place.files():
        folder.add(place, file)
    name = f"{tmp_path.name}/a.md"
    assert folder.outcome.refused == [{"name": name, "reason": "it can't be read"}]
    assert folder.outcome.added == 1
    assert f"not added: {name}: it can't be read" in said


def test_a_file_that_is_too_large_is_not_even_sent(
    folder: DocumentFolder, server: SmallGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(document_folder, "_LARGEST", 3)
    (tmp_path / "a.md").write_text("four")
    folder.add(place_at(tmp_path), tmp_path.resolve() / "a.md")
    assert len(folder.outcome.refused) == 1
    assert server.asked == []


def test_nothing_at_a_place_is_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(CommandError) as caught:
        place_at(tmp_path / "nowhere")
    assert caught.value.code is Exit.USAGE


def test_a_refusal_that_will_pass_is_no_verdict_on_the_document(
    folder: DocumentFolder, shelf: Shelf, notes: Path
) -> None:
    shelf.troubles = [(503, {"code": "unavailable", "detail": "restarting"})]
    with pytest.raises(Refused):
        folder.add(place_at(notes), notes.resolve() / "bees.md")
    assert folder.outcome.refused == []


def watching(folder: DocumentFolder, notes: Path, *, forget_removed: bool = True) -> Watch:
    return Watch(folder, [place_at(notes)], forget_removed=forget_removed)


def test_a_watch_waits_out_every_trouble(
    folder: DocumentFolder, shelf: Shelf, said: list[str], notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(document_folder, "_FIRST_WAIT_S", 0.01)
    renewed: list[str] = []
    monkeypatch.setattr(OwnKey, "renew", lambda key: renewed.append(key.name))
    away: tuple[int, Any] = (503, {"code": "unavailable", "detail": "restarting"})
    shelf.troubles = [away, away, (401, {"code": "invalid_api_key", "detail": "expired"}), away]
    watching(folder, notes).look()
    assert set(shelf.documents) == {"notes/bees.md", "notes/2024/été.TXT"}
    assert said.count("restarting; trying again") == 1
    assert renewed == ["test"]


def test_what_is_removed_is_forgotten_only_when_that_is_wanted(
    folder: DocumentFolder, shelf: Shelf, notes: Path
) -> None:
    watch = watching(folder, notes)
    watch.look()
    shelf.documents["notes-of-another/bees.md"] = b"stays"
    (notes / "2024" / "été.TXT").unlink()
    watching(folder, notes, forget_removed=False).changed(notes.resolve() / "2024" / "été.TXT")
    assert "notes/2024/été.TXT" in shelf.documents
    watch.changed(notes.resolve() / "2024")
    assert "notes/2024/été.TXT" in shelf.documents, "a folder that is still there takes nothing along"
    (notes / "2024").rmdir()
    watch.changed(notes.resolve() / "2024")
    watch.changed(notes.resolve() / ".hidden.md")
    assert set(shelf.documents) == {"notes/bees.md", "notes-of-another/bees.md"}


def test_a_watch_follows_a_folder_until_it_is_stopped(folder: DocumentFolder, shelf: Shelf, notes: Path) -> None:
    watch = watching(folder, notes)
    thread = Thread(target=watch.run)
    thread.start()
    try:
        for name, act in (
            ("notes/bees.md", lambda: None),
            ("notes/new.md", lambda: (notes / "new.md").write_text("new")),
        ):
            act()
            while name not in shelf.documents:
                assert shelf.changed.wait(10)
                shelf.changed.clear()
        (notes / "new.md").unlink()
        while "notes/new.md" in shelf.documents:
            assert shelf.changed.wait(10)
            shelf.changed.clear()
    finally:
        watch.stopped.set()
        thread.join(10)
    assert not thread.is_alive()


def test_hidden_files_links_and_locks_are_nobody_s_documents(notes: Path) -> None:
    plain = {file.name for file in notes.rglob("*") if is_plain(file)}
    assert plain.isdisjoint({".hidden.md", "link.md", "~$lock.docx"})


def test_a_gateway_that_is_away_is_said_plainly(folder: DocumentFolder, server: SmallGateway, notes: Path) -> None:
    server.shutdown()
    server.server_close()
    with pytest.raises(GatewayAway):
        folder.add(place_at(notes), notes.resolve() / "bees.md")
