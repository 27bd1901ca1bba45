"""Documents: kept whole, sealed, found again by their name, replaced by a newer one of it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from libs.shared.contracts.conversations import LIST_CONVERSATIONS, ListConversations
from libs.shared.contracts.documents import (
    FORGET_DOCUMENT,
    LIST_DOCUMENTS,
    READ_DOCUMENT,
    Document,
    DocumentRef,
    ListDocuments,
)
from libs.shared.contracts.forgetting import LIST_RECEIPTS, ListReceipts
from libs.shared.contracts.keeping import (
    KEEP_DOCUMENT,
    REWRITE_MEMORY,
    KeepDocument,
    KeptMemories,
    Passage,
    RewriteMemory,
)
from libs.shared.contracts.memory import FORGET_MEMORY, LIST_MEMORIES, ListMemories, MemoryItem, MemoryRef
from libs.shared.errors import DocumentNotFound, InvalidRequest
from services.persistence import forgetting
from services.persistence.tables import JobRow, MessageRow, TurnRow
from tests.support.persistence import START, Client, RunningPersistence


def paper(*texts: str, name: str = "lease.pdf", digest: str = "d1", day: int = 0) -> dict[str, object]:
    return {
        "name": name,
        "media_type": "application/pdf",
        "size": 1000,
        "digest": digest,
        "pages": len(texts),
        "passages": tuple(Passage(text=text, page=page) for page, text in enumerate(texts, start=1)),
        "at": START + timedelta(days=day),
    }


async def keep(client: Client, user_id: str, document: dict[str, object]) -> KeptMemories:
    return await client.cognition.request(KEEP_DOCUMENT, KeepDocument.model_validate({"user_id": user_id, **document}))


async def documents(client: Client, user_id: str, limit: int = 50) -> list[Document]:
    found: list[Document] = []
    cursor: str | None = None
    for _ in range(10):
        request = ListDocuments(user_id=user_id, limit=limit, cursor=cursor)
        page = await client.bus.request(LIST_DOCUMENTS, request)
        found += page.documents
        cursor = page.next_cursor
        if cursor is None:
            break
    return found


async def passages(client: Client, user_id: str) -> list[MemoryItem]:
    return list((await client.bus.request(LIST_MEMORIES, ListMemories(user_id=user_id))).items)


async def test_a_document_is_kept_with_its_pages_and_read_again(client: Client) -> None:
    user_id = await client.user()
    kept = await keep(client, user_id, paper("the rent is due", "no dogs"))
    assert [(item.text, item.title, item.page) for item in kept.items] == [
        ("the rent is due", "lease.pdf", 1),
        ("no dogs", "lease.pdf", 2),
    ]
    (found,) = await documents(client, user_id)
    assert found == Document(
        document_id=str(kept.conversation_id),
        name="lease.pdf",
        media_type="application/pdf",
        size=1000,
        pages=2,
        passages=2,
        added_at=START,
    )
    ref = DocumentRef(user_id=user_id, document_id=found.document_id)
    assert await client.bus.request(READ_DOCUMENT, ref) == found
    assert {(item.text, item.title, item.page) for item in await passages(client, user_id)} == {
        ("the rent is due", "lease.pdf", 1),
        ("no dogs", "lease.pdf", 2),
    }
    listed = await client.bus.request(LIST_CONVERSATIONS, ListConversations(user_id=user_id))
    assert listed.conversations == ()


async def test_the_same_document_changes_nothing(client: Client, persistence: RunningPersistence) -> None:
    user_id = await client.user()
    first = await keep(client, user_id, paper("the rent is due", "no dogs"))
    again = await keep(client, user_id, paper("the rent is due", "no dogs", day=5))
    assert (again.items, again.present, again.conversation_id) == ((), 2, first.conversation_id)
    assert len(await documents(client, user_id)) == 1


async def check_a_newer_document_of_the_name_replaces_the_older(
    client: Client, persistence: RunningPersistence
) -> None:
    user_id = await client.user()
    first = await keep(client, user_id, paper("the rent is due", "no dogs"))
    async with persistence.parts.database.transaction() as session:
        old = list(await session.scalars(select(MessageRow)))
        turn_slots = set(await session.scalars(select(TurnRow.slot)))
    second = await keep(client, user_id, paper("dogs are welcome", digest="d2"))
    assert second.conversation_id != first.conversation_id
    assert [item.text for item in await passages(client, user_id)] == ["dogs are welcome"]
    assert [document.passages for document in await documents(client, user_id)] == [1]
    assert not turn_slots & persistence.parts.keys.slots.used
    assert {row.slot for row in old} == turn_slots
    receipts = await client.bus.request(LIST_RECEIPTS, ListReceipts(user_id=user_id))
    assert [(r.scope, r.subject_id, r.removed.messages) for r in receipts.receipts] == [
        ("document", first.conversation_id, 2)
    ]
    async with persistence.parts.database.transaction() as session:
        payloads = list(await session.scalars(select(JobRow.payload)))
    assert [payload["message_ids"] for payload in payloads] == [[second.items[0].id]]


async def test_a_newer_document_of_the_name_replaces_the_older(client: Client, persistence: RunningPersistence) -> None:
    await check_a_newer_document_of_the_name_replaces_the_older(client, persistence)


async def test_a_document_that_lost_a_passage_is_still_known_by_its_name(client: Client) -> None:
    user_id = await client.user()
    kept = await keep(client, user_id, paper("the rent is due", "no dogs"))
    await client.bus.request(FORGET_MEMORY, MemoryRef(user_id=user_id, id=kept.items[0].id))
    await keep(client, user_id, paper("dogs are welcome", digest="d2"))
    assert [item.text for item in await passages(client, user_id)] == ["dogs are welcome"]
    assert len(await documents(client, user_id)) == 1


async def test_a_replacement_that_is_cut_short_is_finished_at_start(
    client: Client, persistence: RunningPersistence, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_id = await client.user()
    await keep(client, user_id, paper("the rent is due"))

    async def crash(*_: object) -> int:
        raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(forgetting, "finish_promised", crash)
        with pytest.raises(Exception, match="went wrong"):
            await keep(client, user_id, paper("dogs are welcome", digest="d2"))
    await persistence.stop()
    await persistence.start()
    assert [item.text for item in await passages(client, user_id)] == ["dogs are welcome"]
    assert len(await documents(client, user_id)) == 1


async def test_a_forgotten_document_can_be_added_again(client: Client) -> None:
    user_id = await client.user()
    kept = await keep(client, user_id, paper("the rent is due"))
    ref = DocumentRef(user_id=user_id, document_id=str(kept.conversation_id))
    await client.bus.request(FORGET_DOCUMENT, ref)
    with pytest.raises(DocumentNotFound):
        await client.bus.request(READ_DOCUMENT, ref)
    assert len((await keep(client, user_id, paper("the rent is due"))).items) == 1


async def test_documents_are_listed_newest_first_by_pages(client: Client) -> None:
    user_id = await client.user()
    for day in range(3):
        await keep(client, user_id, paper("text", name=f"{day}.md", day=day))
    assert [document.name for document in await documents(client, user_id, limit=1)] == ["2.md", "1.md", "0.md"]


async def test_nobody_sees_anothers_documents(client: Client) -> None:
    user_id, other = await client.user(), await client.user()
    kept = await keep(client, user_id, paper("the rent is due"))
    assert len((await keep(client, other, paper("the rent is due"))).items) == 1
    ref = DocumentRef(user_id=other, document_id=str(kept.conversation_id))
    with pytest.raises(DocumentNotFound):
        await client.bus.request(READ_DOCUMENT, ref)
    assert len(await documents(client, other)) == 1


async def test_a_long_document_is_kept_whole_and_none_of_a_faulty_one(client: Client) -> None:
    user_id = await client.user()
    kept = await keep(client, user_id, paper(*(f"passage {i}" for i in range(4500))))
    assert (len(kept.items), len(kept.job_ids), (await documents(client, user_id))[0].passages) == (4500, 71, 4500)
    with pytest.raises(InvalidRequest):
        await keep(client, user_id, paper("words", " ", name="faulty.md"))
    assert len(await documents(client, user_id)) == 1


async def test_a_passage_says_what_its_document_says_and_can_be_pinned(client: Client) -> None:
    user_id = await client.user()
    passage = (await keep(client, user_id, paper("the rent is due"))).items[0]
    with pytest.raises(InvalidRequest):
        await client.cognition.request(REWRITE_MEMORY, RewriteMemory(user_id=user_id, id=passage.id, text="no rent"))
    request = RewriteMemory(user_id=user_id, id=passage.id, pinned=True)
    assert (await client.cognition.request(REWRITE_MEMORY, request)).items[0].pinned


async def test_names_and_texts_stand_nowhere_readable(client: Client, persistence: RunningPersistence) -> None:
    user_id = await client.user()
    await keep(client, user_id, paper("text-canary", name="name-canary", digest="digest-canary"))
    async with persistence.parts.database.transaction() as session:
        for table in TurnRow.metadata.sorted_tables:
            for row in await session.execute(select(table)):
                assert "canary" not in repr(row)
