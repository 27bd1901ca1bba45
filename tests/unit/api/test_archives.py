"""Archives of other programs: what is taken out of them, and what hostile ones are refused for."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from libs.shared.contracts.memory import LONGEST_MEMORY, ImportedTurn
from libs.shared.errors import ArchiveUnreadable
from services.api.archives import json_stream, parsing
from services.api.archives.json_stream import elements
from services.api.archives.parsing import Contents, Stopped, read_archive
from services.api.archives.records import Note, Passage, record_of
from services.api.archives.turns import pieces
from services.api.spool import SealedSpool
from tests.unit.api.exported import chatgpt, chatgpt_message, claude, zipped

NOW = datetime(2026, 5, 1, tzinfo=UTC)
MOST_BYTES = 4_000_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def read(content: bytes, folder: Path, stop: Event | None = None) -> tuple[Contents, list[Any]]:
    with SealedSpool(folder) as source, SealedSpool(folder) as into:
        source.write(content)
        contents = read_archive(source, into, most_bytes=MOST_BYTES, now=NOW, stop=stop or Event())
        return contents, [record_of(line) for line in into.lines()]


def turns(found: Any, folder: Path) -> list[ImportedTurn]:
    return [r for r in read(json.dumps(found).encode(), folder)[1] if isinstance(r, ImportedTurn)]


def refused(content: bytes, folder: Path) -> str:
    with pytest.raises(ArchiveUnreadable) as caught:
        read(content, folder)
    return caught.value.detail


def test_chatgpts_conversations_become_turns_of_user_and_assistant(folder: Path) -> None:
    first = chatgpt_message("m1", "user", "Où est la clé ? 🔑", at=1_700_000_000.5)
    second = chatgpt_message("m2", "assistant", "Sous le pot.", at=None)
    contents, found = read(
        zipped([chatgpt(first, second)], others={"chat.html": b"<html>", "image.png": b"\x89PNG"}), folder
    )
    assert [(t.speaker, t.text, t.id, t.conversation_id) for t in found] == [
        ("user", "Où est la clé ? 🔑", "chatgpt/c/m1", "chatgpt/c"),
        ("assistant", "Sous le pot.", "chatgpt/c/m2", "chatgpt/c"),
    ]
    assert found[0].at == found[1].at == datetime.fromtimestamp(1_700_000_000.5, UTC)
    assert (contents.kind, contents.turns, contents.headings["chatgpt/c"].title) == ("chatgpt", 2, "Trip")


def test_of_a_tree_the_branch_is_taken_that_was_seen_last(folder: Path) -> None:
    tree = chatgpt(chatgpt_message("m1", "user", "Draft"), chatgpt_message("m2", "assistant", "To the draft"))
    tree["mapping"]["m3"] = {"id": "m3", "message": chatgpt_message("m3", "user", "Edited"), "parent": "root"}
    tree["current_node"] = "m3"
    assert [t.text for t in turns([tree], folder)] == ["Edited"]
    del tree["current_node"]
    tree["mapping"]["m2"]["message"]["create_time"] += 5
    assert [t.text for t in turns([tree], folder)] == ["Draft", "To the draft"], "the newest leaf, where none is named"


def test_what_nobody_said_is_left_out(folder: Path) -> None:
    hidden = chatgpt_message("h", "user", "hidden", metadata={"is_visually_hidden_from_conversation": True})
    to_tool = chatgpt_message("t", "assistant", "print(1)", recipient="python")
    system = chatgpt_message("s", "system", "be nice")
    picture = chatgpt_message("p", "user", {"asset_pointer": "file://x"}, "see this")
    picture["content"]["content_type"] = "multimodal_text"
    spoken = chatgpt_message("v", "user", {"content_type": "audio_transcription", "text": "said aloud"})
    spoken["content"]["content_type"] = "multimodal_text"
    found = turns([chatgpt(hidden, to_tool, system, picture, spoken)], folder)
    assert [t.text for t in found] == ["see this", "said aloud"]


def test_claudes_conversations_become_turns(folder: Path) -> None:
    found = turns([claude(("human", "Bonjour, ça va?"), ("assistant", "Très bien."), ("tool", "nothing"))], folder)
    assert [(t.speaker, t.text) for t in found] == [("user", "Bonjour, ça va?"), ("assistant", "Très bien.")]
    assert found[0].at == datetime(2024, 5, 1, 10, 0, 0, 123456, UTC)
    assert found[0].id == "claude/c/c-0"


def test_a_conversation_without_an_id_gets_the_same_one_each_time(folder: Path) -> None:
    anonymous = claude(("human", "hello"))
    del anonymous["uuid"]
    other = claude(("human", "hello!"))
    del other["uuid"]
    first, again, different = (turns([one], folder)[0].id for one in (anonymous, anonymous, other))
    assert first == again != different


def test_a_long_message_is_kept_in_pieces_that_lose_nothing(folder: Path) -> None:
    text = "\n\n".join(f"Paragraph {n}. " + "mot " * 200 for n in range(200))
    found = turns([claude(("human", text))], folder)
    assert len(found) > 2
    assert all(len(t.text) <= LONGEST_MEMORY for t in found)
    assert len({t.id for t in found}) == len(found)
    assert "".join("".join(t.text.split()) for t in found) == "".join(text.split())


@given(text=st.text(alphabet="ab \n.é🙂", max_size=300), most=st.integers(min_value=1, max_value=40))
def test_pieces_are_bounded_and_keep_every_word_s_letters(text: str, most: int) -> None:
    cut = list(pieces(text, most))
    assert all(0 < len(piece) <= most for piece in cut)
    assert "".join("".join(cut).split()) == "".join(text.split())


def test_dates_that_cannot_be_are_left_out_and_counted(folder: Path) -> None:
    early = chatgpt_message("e", "user", "before", at=-9e9)
    late = chatgpt_message("l", "user", "after", at=4e9)
    contents, found = read(json.dumps([chatgpt(early, late, chatgpt_message("n", "user", "now"))]).encode(), folder)
    assert [t.text for t in found] == ["now"]
    assert (contents.turns, contents.left_out) == (1, 2)


def test_half_characters_are_replaced(folder: Path) -> None:
    content = json.dumps([claude(("human", "broken \ud83d emoji"))]).encode()
    assert [t.text for t in read(content, folder)[1]] == ["broken � emoji"]


OWN: dict[str, Any] = {
    "format": "mongars-memory",
    "version": 1,
    "exported_at": "2026-04-01T00:00:00+00:00",
    "conversations": [{"conversation_id": "c1", "title": "Boards", "remembered": False}],
    "messages": [
        {
            "conversation_id": "c1",
            "message_id": "m1",
            "speaker": "user",
            "text": "Which?",
            "at": "2026-01-01T00:00:00Z",
        },
        {
            "conversation_id": "c1",
            "message_id": "m2",
            "source_id": "old/\t" + "1" * 250,
            "speaker": "Odile",
            "text": "A Pi.",
            "at": "2026-01-01T00:00:05Z",
        },
    ],
    "notes": [{"text": "The safe", "at": "2026-01-02T00:00:00Z", "pinned": True, "importance": 0.5}],
    "documents": [{"document_id": "d1", "name": "a.md"}],
    "passages": [{"name": "a.md", "page": 1, "text": "one"}, {"name": "a.md", "page": 2, "text": "two"}],
    "facts": [{"text": "drawn anew"}],
    "ratings": [{"turn_id": "t1", "conversation_id": "c1", "thumb": "up", "at": "2026-01-01T00:00:09Z"}],
    "consents": [{"conversation_id": "c1", "allowed": True, "decided_at": "2026-01-01T00:00:09Z"}],
}


def test_our_own_export_is_read_with_the_ids_that_things_had(folder: Path) -> None:
    contents, found = read(json.dumps(OWN).encode(), folder)
    assert [t.id for t in found if isinstance(t, ImportedTurn)] == ["m1", "old/\t" + "1" * 250]
    assert [n.pinned for n in found if isinstance(n, Note)] == [True]
    assert [p.text for p in found if isinstance(p, Passage)] == ["one", "two"]
    assert (contents.kind, contents.turns, contents.notes, contents.documents) == ("mongars", 2, 1, 1)
    assert not contents.headings["c1"].remembered


def test_an_id_that_comes_twice_is_taken_once(folder: Path) -> None:
    twice = claude(("human", "first"), ("human", "second"))
    twice["chat_messages"][1]["uuid"] = twice["chat_messages"][0]["uuid"]
    contents, found = read(json.dumps([twice]).encode(), folder)
    assert [t.text for t in found] == ["first"]
    assert (contents.turns, contents.left_out) == (1, 1)


BAD_PARTS: tuple[dict[str, Any], ...] = (
    {"messages": [{**OWN["messages"][0], "speaker": "  "}]},
    {"messages": [{**OWN["messages"][0], "conversation_id": "x" * 300}]},
    {"notes": [{**OWN["notes"][0], "text": "x" * (LONGEST_MEMORY + 1)}]},
    {"passages": [{"name": "a\nb", "text": "x"}]},
    {"passages": [{"name": "x" * 600, "text": "x"}]},
)


@pytest.mark.parametrize("change", BAD_PARTS)
def test_what_could_not_be_kept_is_refused_before_anything_is(folder: Path, change: dict[str, Any]) -> None:
    assert "nothing was imported" in refused(json.dumps({**OWN, **change}).encode(), folder)


@pytest.mark.parametrize(
    "change", [{"version": 2}, {"format": "another"}, {"surprise": [1]}, {"messages": [{"at": 1}]}]
)
def test_what_is_not_our_export_is_refused(folder: Path, change: dict[str, Any]) -> None:
    assert "nothing was imported" in refused(json.dumps({**OWN, **change}).encode(), folder)


def bomb() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("conversations.json", b"[" + b" " * 20_000_000 + b"]")
    return out.getvalue()


def crowd() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for number in range(60_000):
            archive.writestr(f"a-picture-with-quite-a-long-name-{number:040}.png", b"")
    return out.getvalue()


def damaged() -> bytes:
    whole = zipped([claude(("human", "hello" * 5000))])
    return whole[:200] + bytes(40) + whole[240:]


HOSTILE = {
    "nothing": b"",
    "prose": "Chère Odile, voici mes conversations.".encode(),
    "a picture": b"\x89PNG\r\n\x1a\n" + bytes(1000),
    "not UTF-8": b'[{"chat_messages": [], "name": "\xff"}]',
    "an empty list": b"[]",
    "an empty object": b"{}",
    "numbers": b"[1, 2, 3]",
    "other JSON": b'[{"some": "thing"}]',
    "cut off": json.dumps([claude(("human", "hello"))]).encode()[:-3],
    "more after its end": json.dumps([claude(("human", "hello"))]).encode() + b"]",
    "no commas": b"[{} {}]",
    "mixed": json.dumps([claude(("human", "hello")), chatgpt(chatgpt_message("m", "user", "x"))]).encode(),
    "deep": b"[" * 200_000,
    "a deep conversation": b'[{"chat_messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}]",
    "a huge number": b'[{"chat_messages": [], "n": ' + b"9" * 10_000 + b"}]",
    "half a ZIP": zipped([claude(("human", "hello"))])[:-30],
    "a damaged ZIP": damaged(),
    "a ZIP of something else": zipped({}, "notes.txt"),
    "a ZIP bomb": bomb(),
    "a ZIP of a crowd": crowd(),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_archive_is_refused_plainly(folder: Path, name: str) -> None:
    assert refused(HOSTILE[name], folder)


def test_one_conversation_may_not_be_endless(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    large = json.dumps([claude(("human", "x" * 500_000))]).encode()
    assert read(large, folder)[0].turns > 1
    monkeypatch.setattr(json_stream, "LARGEST_ELEMENT", 100_000)
    assert refused(large, folder)


def test_a_bomb_would_pass_without_the_bound(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.unit.api.test_archives.MOST_BYTES", 10**9)
    assert "no conversations" in refused(bomb(), folder), "it was read to its end"


def test_nobody_s_archive_is_read_on(folder: Path) -> None:
    stop = Event()
    stop.set()
    with pytest.raises(Stopped):
        read(json.dumps([claude(("human", "hello"))]).encode(), folder, stop)


def test_an_archive_of_nothing_is_left_as_soon_as_nobody_waits(folder: Path) -> None:
    stop = Event()
    stop.set()
    with pytest.raises(Stopped):
        read(json.dumps({"facts": [1, 2, 3]}).encode(), folder, stop)


def test_what_nothing_is_made_of_is_bounded_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    endless = json.dumps({**OWN, "facts": [1] * 100}).encode()
    assert read(endless, folder)[0].turns == 2
    monkeypatch.setattr(parsing, "_MOST_ELEMENTS", 100)
    assert "too many parts" in refused(endless, folder)


def test_of_titles_and_ids_no_more_is_held_than_can_be_kept(folder: Path) -> None:
    headings = [{"conversation_id": "c1", "title": "t" * 100_000}, {"conversation_id": "c" * 100_000, "title": "t"}]
    held = read(json.dumps({**OWN, "conversations": headings}).encode(), folder)[0].headings
    assert {name: heading.title for name, heading in held.items()} == {"c1": "t" * 200}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)


@given(found=st.lists(JSON, max_size=5), size=st.integers(min_value=1, max_value=7))
def test_elements_are_what_the_whole_document_holds(found: list[Any], size: int) -> None:
    content = json.dumps(found, indent=1).encode()
    parts = [content[n : n + size] for n in range(0, len(content), size)]
    assert [element for _, element in elements(parts)] == found


TREE = (
    "mapping",
    "message",
    "author",
    "role",
    "content",
    "content_type",
    "parts",
    "parent",
    "current_node",
    "metadata",
)
LIST = ("chat_messages", "sender", "text", "uuid", "created_at", "create_time", "title", "id", "recipient", "type")
KEYS = st.sampled_from((*TREE, *LIST))
SHAPES = st.recursive(
    st.none() | st.integers() | st.floats() | st.sampled_from(["user", "text", "human", "a", "", "2024-05-01", "m1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=25,
)


@given(
    found=st.lists(
        SHAPES | st.fixed_dictionaries({"mapping": st.dictionaries(st.text(max_size=3), SHAPES)}), max_size=3
    )
)
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_shape_it_has_it_is_read_or_refused(folder: Path, found: list[Any]) -> None:
    try:
        contents, records = read(json.dumps(found).encode(), folder)
    except ArchiveUnreadable:
        return
    assert contents.turns == len(records)


def nodes(count: int) -> Iterator[tuple[str, dict[str, Any]]]:
    for number in range(count):
        message = chatgpt_message(f"m{number}", "user", f"text {number}")
        yield f"m{number}", {"message": message, "parent": f"m{(number + 1) % count}"}


def test_a_circle_of_messages_ends(folder: Path) -> None:
    circle = chatgpt(id="round") | {"mapping": dict(nodes(5)), "current_node": "m2"}
    assert len(turns([circle], folder)) == 5


def test_what_waits_on_disk_is_sealed_and_comes_back_whole(folder: Path) -> None:
    lines = [b"secret %d " % n + b"x" * 3000 for n in range(100)]
    with SealedSpool(folder) as spool:
        spool.write(b"\n".join(lines))
        assert list(spool.lines()) == lines
        on_disk = Path(f"/proc/self/fd/{spool._file.fileno()}").read_bytes()
        assert len(on_disk) > 200_000
        assert b"secret" not in on_disk
        assert list(folder.iterdir()) == []
