"""One's own memory over HTTP: what is asked of the services, what is refused before they are asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from libs.shared.contracts import memory
from libs.shared.contracts.chat import ChatRequest
from libs.shared.contracts.common import MemoryMode
from libs.shared.contracts.conversations import ChangeConversation
from libs.shared.errors import InvalidRequest, ServiceError, TimedOut
from services.api.body_limits import BoundedBody
from tests.unit.api.exported import chatgpt, chatgpt_message, claude, zipped
from tests.unit.api.house import Api, House, open_api, raw_request, served

MEMORIES = "/api/v1/memories"
IMPORT = MEMORIES + "/import"
ARCHIVE = IMPORT + "/archive"


def turn(number: int = 1, **more: Any) -> dict[str, Any]:
    told = {"conversation_id": "a/b", "speaker": "Odile", "text": "Les abeilles 🐝", "at": "2024-05-01T10:00:00Z"}
    return {"id": f"t{number}", **told, **more}


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


async def test_a_search_is_asked_with_the_asker_s_clock(api: Api) -> None:
    query: dict[str, Any] = {
        "q": "Where?",
        "k": 3,
        "budget_tokens": 200,
        "explain": "true",
        "now": "2026-05-01T09:00:00-04:00",
    }
    answer = await api.client.get(MEMORIES, params=query, headers=api.key())
    assert answer.json() == {"items": [], "degraded": None, "understood": {"names": []}}
    (asked,) = api.house.told(memory.SearchMemory)
    assert (asked.query, asked.k, asked.budget_tokens, asked.explain) == ("Where?", 3, 200, True)
    assert asked.now.isoformat() == "2026-05-01T09:00:00-04:00"


@pytest.mark.parametrize("query", ["q=x&now=yesterday", "q=x&now=12", "q=x&k=0", "q=x&budget_tokens=0", "kind=lie"])
async def test_a_question_that_cannot_be_meant_is_refused(api: Api, query: str) -> None:
    assert (await api.client.get(f"{MEMORIES}?{query}", headers=api.key())).status_code == 422


async def test_without_a_question_memories_are_listed(api: Api) -> None:
    await api.client.post(MEMORIES, json={"text": "The safe is blue."}, headers=api.key())
    answer = await api.client.get(MEMORIES, params={"kind": "note", "pinned": "true", "limit": 7}, headers=api.key())
    assert [item["text"] for item in answer.json()["items"]] == ["The safe is blue."]
    (asked,) = api.house.told(memory.ListMemories)
    assert (asked.kind, asked.pinned, asked.limit) == ("note", True, 7)


async def test_a_note_is_kept_read_edited_and_forgotten(api: Api) -> None:
    key = api.key()
    made = await api.client.post(
        MEMORIES, json={"text": "Blue", "at": "2026-01-01T00:00:00", "pinned": True}, headers=key
    )
    assert (made.status_code, made.json()["at"], made.json()["pinned"]) == (201, "2026-01-01T00:00:00Z", True)
    path = f"{MEMORIES}/{made.json()['id']}"
    assert (await api.client.patch(path, json={"text": "Green"}, headers=key)).json()["text"] == "Green"
    assert (await api.client.get(path, headers=key)).json()["text"] == "Green"
    receipt = (await api.client.delete(path, headers=key)).json()
    assert (receipt["scope"], receipt["removed"]["data_keys"]) == ("memory", 1)
    gone = await api.client.get(path, headers=key)
    assert (gone.status_code, gone.json()["code"]) == (404, "memory_not_found")


@pytest.mark.parametrize("body", [{}, {"text": ""}, {"pinned": "yes"}, {"importance": 2}, {"colour": "blue"}])
async def test_an_edit_that_changes_nothing_or_is_wrong_is_refused(api: Api, body: dict[str, Any]) -> None:
    assert (await api.client.patch(f"{MEMORIES}/m", json=body, headers=api.key())).status_code == 422


async def test_everything_is_forgotten_only_when_that_is_said(api: Api) -> None:
    key = api.key()
    for query in ("", "?confirm=yes"):
        answer = await api.client.delete(MEMORIES + query, headers=key)
        assert (answer.status_code, "confirm" in answer.json()["detail"]) == (422, True)
    assert api.house.told(memory.UserMemory) == []
    assert (await api.client.delete(MEMORIES + "?confirm=everything", headers=key)).json()["scope"] == "everything"


async def test_a_key_does_with_memory_what_it_was_made_for(api: Api) -> None:
    calls = [
        ("GET", MEMORIES, None, MemoryMode.READ),
        ("GET", MEMORIES + "/export", None, MemoryMode.READ),
        ("GET", MEMORIES + "/m", None, MemoryMode.READ),
        ("GET", "/api/v1/documents", None, MemoryMode.READ),
        ("GET", "/api/v1/documents/d", None, MemoryMode.READ),
        ("GET", "/api/v1/receipts", None, MemoryMode.READ),
        ("GET", "/api/v1/ratings", None, MemoryMode.READ),
        ("GET", "/api/v1/consents", None, MemoryMode.READ),
        ("GET", "/api/v1/consents/adapters", None, MemoryMode.READ),
        ("PUT", "/api/v1/ratings/t1", {"thumb": "up"}, MemoryMode.READ_WRITE),
        ("DELETE", "/api/v1/ratings/t1", None, MemoryMode.READ_WRITE),
        ("PATCH", "/api/v1/consents", {"future": True}, MemoryMode.READ_WRITE),
        ("PUT", "/api/v1/consents/c1", {"allowed": True}, MemoryMode.READ_WRITE),
        ("POST", MEMORIES, {"text": "x"}, MemoryMode.READ_WRITE),
        ("PATCH", MEMORIES + "/m", {"pinned": True}, MemoryMode.READ_WRITE),
        ("DELETE", MEMORIES + "/m", None, MemoryMode.READ_WRITE),
        ("DELETE", MEMORIES + "?confirm=everything", None, MemoryMode.READ_WRITE),
        ("POST", IMPORT, {"turns": [turn()]}, MemoryMode.READ_WRITE),
        ("POST", ARCHIVE, [claude(("human", "x"))], MemoryMode.READ_WRITE),
        ("POST", "/api/v1/documents?name=a.txt", {"a": 1}, MemoryMode.READ_WRITE),
        ("DELETE", "/api/v1/documents/d", None, MemoryMode.READ_WRITE),
    ]
    order = list(MemoryMode)
    for method, path, body, needed in calls:
        for mode in order:
            answer = await api.client.request(method, path, json=body, headers=api.key(memory=mode))
            assert (answer.status_code != 403) == (order.index(mode) >= order.index(needed)), (method, path, mode)


async def test_turns_are_imported_and_a_repeat_changes_nothing(api: Api) -> None:
    body = {"turns": [turn(1), turn(2, at="2024-05-01T10:00:00+02:00"), turn(3, at="2024-05-01T10:00")]}
    first = await api.client.post(IMPORT, json=body, headers=api.key())
    assert first.json() == {"imported": 3, "present": 0, "degraded": None}
    assert (await api.client.post(IMPORT, json=body, headers=api.key())).json()["present"] == 3
    kept = [api.house.memory.turns[f"t{n}"].at.isoformat() for n in (1, 2, 3)]
    assert kept == ["2024-05-01T10:00:00+00:00", "2024-05-01T10:00:00+02:00", "2024-05-01T10:00:00+00:00"]


WRONG: tuple[dict[str, Any], ...] = (
    {"text": "x" * 1_000_000},
    {"text": ""},
    {"at": 1_700_000_000},
    {"at": "last May"},
    {"at": "0001-01-01T00:00:00+14:00"},
    {"speaker": None},
    {"mood": "blue"},
)


@pytest.mark.parametrize("wrong", WRONG, ids=lambda w: next(iter(w)))
async def test_a_turn_that_is_wrong_is_named_and_nothing_is_imported(api: Api, wrong: dict[str, Any]) -> None:
    body = {"turns": [turn(1), turn(2) | wrong]}
    answer = await api.client.post(IMPORT, json=body, headers=api.key())
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert answer.json()["detail"].startswith(f"turn 2 ('t2'): turns.1.{next(iter(wrong))}: ")
    assert len(answer.content) < 5000
    assert api.house.memory.turns == {}


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b'{"turns": []}', b'{"turns": [1]}', b'[{"turns": []}]', b"\xff", b'{"turns":[{"id":"\\ud800"}]}'],
)
async def test_what_is_no_import_is_refused(api: Api, body: bytes) -> None:
    assert (await api.client.post(IMPORT, content=body, headers=api.key())).status_code == 422


async def test_more_than_a_thousand_turns_are_refused(api: Api) -> None:
    answer = await api.client.post(IMPORT, json={"turns": [turn(n) for n in range(1001)]}, headers=api.key())
    assert answer.status_code == 422
    assert api.house.memory.turns == {}


async def test_what_cognition_refuses_is_told_in_its_words(api: Api) -> None:
    async def refuse(_: object) -> None:
        raise InvalidRequest("turn 1 ('t1'): the time is in the future", errors=["turns.0.at"])

    api.house.memory.importing = refuse
    answer = await api.client.post(IMPORT, json={"turns": [turn()]}, headers=api.key())
    assert (answer.status_code, answer.json()["detail"]) == (422, "turn 1 ('t1'): the time is in the future")


async def test_a_large_import_passes_where_an_ordinary_body_would_not(house: House) -> None:
    body = {"turns": [turn(n, text="x" * 900) for n in range(100)]}
    async with open_api(house, body_limit_bytes=64 * 1024, import_limit_bytes=128 * 1024) as api:
        assert (await api.client.post(IMPORT, json=body, headers=api.key())).status_code == 200
        assert (await api.client.post(MEMORIES, json={"text": "x" * 90_000}, headers=api.key())).status_code == 413
        body["turns"] *= 2
        assert (await api.client.post(IMPORT, json=body, headers=api.key())).status_code == 413


async def test_nobody_gets_the_room_of_an_import_without_a_credential(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    widened: list[object] = []
    monkeypatch.setattr(BoundedBody, "widen", lambda _, room: widened.append(room))
    async with open_api(house) as api:
        assert (await api.client.post(ARCHIVE, content=b"x")).status_code == 401
        assert widened == []
        await api.client.post(ARCHIVE, content=b"x", headers=api.key())
        assert len(widened) == 1


@pytest.mark.parametrize("as_form", [False, True])
async def test_an_archive_is_imported_in_parts_and_told_of(api: Api, as_form: bool) -> None:
    many = [("human" if n % 2 == 0 else "assistant", f"Ligne {n} é") for n in range(600)]
    content = zipped([claude(*many, name="Été"), claude(("human", "court"), id="d", name="")])
    how: dict[str, Any] = {"files": {"file": ("export.zip", content)}} if as_form else {"content": content}
    answer = await api.client.post(ARCHIVE, headers=api.key(), **how)
    assert answer.headers["content-type"] == "application/x-ndjson"
    told = lines(answer.text)
    assert [event["event"] for event in told] == ["read", "progress", "progress", "progress", "done"]
    assert (told[0]["kind"], told[0]["turns"], told[0]["conversations"]) == ("claude", 601, 2)
    assert (told[-1]["imported"], told[-1]["present"], told[-1]["of"]) == (601, 0, 601)
    titles = {(c.conversation_id, c.title) for c in api.house.told(ChangeConversation)}
    assert titles == {("claude/c", "Été")}
    again = lines((await api.client.post(ARCHIVE, content=content, headers=api.key())).text)
    assert (again[-1]["imported"], again[-1]["present"]) == (0, 601)
    assert len(api.house.told(ChangeConversation)) == 1, "a title that the person changed since stays"


async def test_what_is_no_archive_imports_nothing(api: Api) -> None:
    for content in (b"", b"hello", b"[]", zipped([claude(("human", "x"))])[:-9]):
        answer = await api.client.post(ARCHIVE, content=content, headers=api.key())
        assert (answer.status_code, answer.json()["code"]) == (422, "archive_unreadable")
    assert api.house.told(memory.ImportTurns) == []


async def test_an_archive_with_a_bad_end_imports_nothing_of_its_good_beginning(api: Api) -> None:
    content = json.dumps([claude(("human", "good")), {"something": "else"}]).encode()
    assert (await api.client.post(ARCHIVE, content=content, headers=api.key())).status_code == 422
    assert api.house.told(memory.ImportTurns) == []


async def test_an_import_that_breaks_off_says_so_and_a_repeat_goes_on(api: Api) -> None:
    content = zipped([claude(*[("human", f"line {n}") for n in range(600)])])
    calls = 0

    async def fail_the_second(_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise TimedOut("the embedder is slow")

    api.house.memory.importing = fail_the_second
    told = lines((await api.client.post(ARCHIVE, content=content, headers=api.key())).text)
    assert (told[-1]["event"], told[-1]["code"], told[-1]["detail"]) == ("failed", "timed_out", "the embedder is slow")
    again = lines((await api.client.post(ARCHIVE, content=content, headers=api.key())).text)
    assert (again[-1]["event"], again[-1]["imported"], again[-1]["present"]) == ("done", 350, 250)


async def test_a_restarting_cognition_is_waited_for(api: Api) -> None:
    refusals = iter([ServiceError.named("unavailable", "restarting", {})])

    async def refuse_once(_: object) -> None:
        for refusal in refusals:
            raise refusal

    api.house.memory.importing = refuse_once
    answer = await api.client.post(IMPORT, json={"turns": [turn()]}, headers=api.key())
    assert answer.json()["imported"] == 1


@pytest.mark.parametrize("places", [1, 2])
async def test_only_one_archive_of_a_user_is_imported_at_a_time(house: House, places: int) -> None:
    async with open_api(house, archives_at_once=places) as api:
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def slowly() -> AsyncIterator[bytes]:
            begun.set()
            yield b"[" + b" " * 100
            await go_on.wait()
            yield json.dumps(claude(("human", "x"))).encode() + b"]"

        async with asyncio.timeout(5):
            first = asyncio.ensure_future(api.client.post(ARCHIVE, content=slowly(), headers=api.key()))
            await begun.wait()
            second = await api.client.post(ARCHIVE, content=b"[]", headers=api.key())
            assert (second.status_code, second.headers["retry-after"]) == (429, "30")
            assert second.json()["detail"].startswith("Another archive of yours")
            go_on.set()
            assert (await first).status_code == 200


async def test_only_so_many_archives_are_imported_at_once(house: House) -> None:
    async with open_api(house, archives_at_once=1) as api, api.parts.archives:
        refused = await api.client.post(ARCHIVE, content=b"[]", headers=api.key())
        assert refused.status_code == 429
        assert refused.json()["detail"].startswith("Other archives")


async def test_a_client_that_leaves_ends_the_import_at_the_call_under_way(house: House) -> None:
    content = {"turns": [turn(n) for n in range(2000)]}
    begun, left = asyncio.Semaphore(0), asyncio.Event()

    async def slow(_: object) -> None:
        begun.release()
        await left.wait()

    house.memory.importing = slow
    async with open_api(house, archives_at_once=1) as api, served(api) as address, asyncio.timeout(10):
        _, writer = await asyncio.open_connection(*address)
        writer.write(raw_request(ARCHIVE, api.key(), content))
        await begun.acquire()
        writer.close()
        await api.parts.archives.acquire()  # as soon as the import has ended
        left.set()
        assert begun.locked(), "no further call was made"
        api.parts.archives.release()


async def exported(api: Api, format: str) -> str:
    answer = await api.client.get(f"{MEMORIES}/export", params={"format": format}, headers=api.key())
    assert answer.headers["content-disposition"].startswith('attachment; filename="mongars-memory-2027-01-15.')
    return answer.text


async def test_everything_is_exported_and_can_be_imported_elsewhere(api: Api, house: House) -> None:
    await api.client.post(MEMORIES, json={"text": "The safe is « bleu » 🔵", "pinned": True}, headers=api.key())
    await api.client.post("/api/v1/documents?name=n/a.md", content=b"# Bees\n\nThey hum.", headers=api.key())
    told = json.loads(await exported(api, "json"))
    assert [c["conversation_id"] for c in told["conversations"]] == ["c1", "c2"]
    assert [(m["conversation_id"], m["text"]) for m in told["messages"]] == [("c1", "Which board?"), ("c1", "A Pi 5.")]
    assert [(p["name"], p["page"], p["text"]) for p in told["passages"]] == [("n/a.md", 3, "# Bees\n\nThey hum.")]
    elsewhere = House()
    await elsewhere.open()
    async with open_api(elsewhere) as other:
        for round in (1, 2):
            answer = await other.client.post(ARCHIVE, content=json.dumps(told), headers=other.key())
            done = lines(answer.text)[-1]
            expected = (2, 0, 1, 1) if round == 1 else (0, 2, 0, 0)
            assert (done["imported"], done["present"], done["notes"], done["documents"]) == expected
        (note,) = elsewhere.memory.items.values()
        assert (note.text, note.pinned) == ("The safe is « bleu » 🔵", True)
    await elsewhere.close()


async def test_an_export_that_cannot_begin_has_a_status(api: Api, house: House) -> None:
    def away(_: object) -> None:
        raise ServiceError.named("unavailable", "restarting", {})

    house.memory.before_listing = away
    answer = await api.client.get(f"{MEMORIES}/export", headers=api.key())
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")


async def test_the_export_for_reading_has_every_section(api: Api) -> None:
    await api.client.post(MEMORIES, json={"text": "The safe\nis blue"}, headers=api.key())
    text = await exported(api, "markdown")
    assert "- 2027-01-15: The safe\n  is blue" in text
    assert "### Boards (not remembered)" in text
    assert "**assistant**" in text


async def test_a_chatgpt_archive_keeps_what_was_said_and_by_whom(api: Api) -> None:
    archive = [chatgpt(chatgpt_message("m", "user", "Ma sœur s'appelle Odile."), title="Sœur")]
    await api.client.post(ARCHIVE, json=archive, headers=api.key())
    (kept,) = api.house.memory.turns.values()
    assert (kept.speaker, kept.text, kept.conversation_id) == ("user", "Ma sœur s'appelle Odile.", "chatgpt/c")


@pytest.mark.parametrize(("said", "remember"), [("false", False), ("true", True), (None, True)])
async def test_a_conversation_can_begin_that_is_not_remembered(api: Api, said: str | None, remember: bool) -> None:
    await api.ask(api.key(), metadata={"remember": said} if said else {})
    assert api.house.told(ChatRequest)[0].remember is remember


async def test_a_conversation_is_renamed_or_no_longer_remembered(api: Api) -> None:
    path = "/api/v1/conversations/c1"
    answer = await api.client.patch(path, json={"remembered": False}, headers=api.key())
    assert (answer.json()["remembered"], answer.json()["title"]) == (False, "Boards")
    assert (await api.client.patch(path, json={}, headers=api.key())).status_code == 422
    assert (await api.client.delete(path, headers=api.key())).json()["scope"] == "conversation"


async def test_an_importer_s_conversation_id_is_passed_on_as_it_is(api: Api) -> None:
    await api.client.patch("/api/v1/conversations/caf%C3%A9%20no.%201", json={"title": "x"}, headers=api.key())
    assert api.house.told(ChangeConversation)[0].conversation_id == "café no. 1"
    assert (await api.client.get("/api/v1/conversations/a%0Ab", headers=api.key())).status_code == 422


async def test_receipts_are_listed(api: Api) -> None:
    (receipt,) = (await api.client.get("/api/v1/receipts", headers=api.key())).json()["receipts"]
    assert (receipt["scope"], receipt["signature"]) == ("memory", "c2ln")
