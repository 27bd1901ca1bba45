"""The index: what is found, with which scores, and by whom alone."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from sqlalchemy import select

from libs.shared.contracts.common import Position
from libs.shared.contracts.jobs import FINISH_JOB, LIST_JOBS, FinishJob, JobState, ListJobs
from libs.shared.contracts.memory import (
    FIND_CANDIDATES,
    INDEX_MESSAGES,
    INDEX_REQUESTED,
    READ_UNINDEXED,
    Candidate,
    FindCandidates,
    IndexMessages,
    IndexRequested,
    IndexRow,
    ReadUnindexed,
)
from libs.shared.errors import InvalidRequest
from services.persistence.repositories.search import MOST_FRESH
from services.persistence.tables import DocumentRow, EmbeddingRow, JobRow, PostingBlockRow, StatisticsRow
from tests.support.persistence import Client, RunningPersistence

EMBEDDER = "test@1"


def vector(*numbers: float) -> bytes:
    return bytes(np.array(numbers, dtype="<f4").tobytes())


def direction(text: str) -> bytes:
    """A stand-in for an embedder: where a text points depends on its letters alone."""
    counts = np.array([text.count(letter) + 0.01 for letter in "abcdefgh"], dtype="<f4")
    return vector(*(counts / np.linalg.norm(counts)))


def row(message_id: str, text: str, *, embedded: bool = True) -> IndexRow:
    return IndexRow(
        message_id=message_id, terms=dict(Counter(text.split())), vector=direction(text) if embedded else None
    )


async def keep_and_index(
    client: Client, persistence: RunningPersistence, user_id: str, conversation_id: str, *texts: str
) -> dict[str, str]:
    """Text → message id, each in a turn of its own, indexed in one call."""
    found: dict[str, str] = {}
    position: Position | None = None
    for text in texts:
        turn, position = await client.say(user_id, conversation_id, text)
        found[text] = turn.messages[0].message_id
    await persistence.parts.watermark.wait_for(position)
    await index(client, user_id, *(row(message_id, text) for text, message_id in found.items()))
    return found


async def index(client: Client, user_id: str, *rows: IndexRow, embedder: str | None = EMBEDDER) -> int:
    request = IndexMessages(user_id=user_id, embedder=embedder, rows=rows)
    return (await client.cognition.request(INDEX_MESSAGES, request)).count


async def find(client: Client, user_id: str, text: str = "", **more: object) -> dict[str, Candidate]:
    values: dict[str, object] = {"user_id": user_id, "terms": tuple(text.split())} | more
    request = FindCandidates.model_validate(values)
    found = await client.cognition.request(FIND_CANDIDATES, request)
    return {candidate.text: candidate for candidate in found.candidates}


def bm25(texts: list[str], query: str, text: str) -> float:
    """The formula over plain texts."""
    words = [t.split() for t in texts]
    mean, own, score = sum(map(len, words)) / len(words), text.split(), 0.0
    for term in query.split():
        n = sum(term in w for w in words)
        idf = math.log(1 + (len(words) - n + 0.5) / (n + 0.5))
        f = own.count(term)
        score += idf * f * 2.2 / (f + 1.2 * (0.25 + 0.75 * len(own) / mean))
    return score


TEXTS = ["ada is a cat", "bob is a dog and a friend", "the cat sat", "cat cat cat", "nothing here"]


async def test_keyed_terms_score_as_plain_ones_would(client: Client, persistence: RunningPersistence) -> None:
    user_id = await client.user()
    await keep_and_index(client, persistence, user_id, "c1", *TEXTS)
    found = await find(client, user_id, "cat a")
    assert set(found) == {t for t in TEXTS if {"cat", "a"} & set(t.split())}
    for text, candidate in found.items():
        assert candidate.bm25 == pytest.approx(bm25(TEXTS, "cat a", text), rel=1e-6)
        assert candidate.cosine is None


async def test_every_candidate_has_both_scores(client: Client, persistence: RunningPersistence) -> None:
    user_id = await client.user()
    await keep_and_index(client, persistence, user_id, "c1", *TEXTS)
    query = direction("hhh")
    found = await find(client, user_id, "ada", vector=query, embedder=EMBEDDER, limit=1)
    assert set(found) == {"ada is a cat", max(TEXTS, key=lambda t: _cosine(direction(t), query))}
    for text, candidate in found.items():
        assert candidate.cosine == pytest.approx(_cosine(direction(text), query), abs=1e-6)
        assert candidate.bm25 == pytest.approx(bm25(TEXTS, "ada", text), rel=1e-6)


def _cosine(one: bytes, two: bytes) -> float:
    a, b = np.frombuffer(one, "<f4"), np.frombuffer(two, "<f4")
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


async def test_the_nearest_are_exact(client: Client, persistence: RunningPersistence) -> None:
    user_id = await client.user()
    texts = ["".join(sorted(f"{i:b}".replace("0", "a").replace("1", "bc") * 2)) for i in range(1, 40)]
    await keep_and_index(client, persistence, user_id, "c1", *dict.fromkeys(texts))
    query = direction("aabc")
    found = await find(client, user_id, vector=query, embedder=EMBEDDER, limit=5)
    best = sorted(dict.fromkeys(texts), key=lambda t: -_cosine(direction(t), query))
    assert {round(c.cosine or 0, 5) for c in found.values()} == {
        round(_cosine(direction(t), query), 5) for t in best[:5]
    }


async def check_nobody_finds_anothers(client: Client, persistence: RunningPersistence) -> None:
    user_id, other = await client.user(), await client.user()
    await keep_and_index(client, persistence, user_id, "c1", "an aside", "my secret cat")
    await keep_and_index(client, persistence, other, "c2", "their own cat")
    found = await find(client, other, "secret cat", vector=direction("secret"), embedder=EMBEDDER, limit=1000)
    assert set(found) == {"their own cat"}
    # another's better match would take the only place
    found = await find(client, other, vector=direction("my secret cat"), embedder=EMBEDDER, limit=1)
    assert set(found) == {"their own cat"}


async def test_nobody_finds_anothers(client: Client, persistence: RunningPersistence) -> None:
    await check_nobody_finds_anothers(client, persistence)


async def test_nobody_indexes_or_reads_anothers(client: Client, persistence: RunningPersistence) -> None:
    user_id, other = await client.user(), await client.user()
    mine = await keep_and_index(client, persistence, user_id, "c1", "my secret cat")
    message_id = mine["my secret cat"]
    assert await index(client, other, row(message_id, "my secret cat")) == 0
    read = await client.cognition.request(READ_UNINDEXED, ReadUnindexed(user_id=other, message_ids=(message_id,)))
    assert read.messages == ()
    assert await find(client, other, "cat", vector=direction("cat"), embedder=EMBEDDER) == {}


async def snapshot(persistence: RunningPersistence) -> list[object]:
    async with persistence.parts.database.transaction() as session:
        tables = (DocumentRow, PostingBlockRow, StatisticsRow, EmbeddingRow)
        return [sorted(map(repr, await session.execute(select(table.__table__)))) for table in tables]


async def test_indexing_again_changes_nothing(client: Client, persistence: RunningPersistence) -> None:
    user_id = await client.user()
    found = await keep_and_index(client, persistence, user_id, "c1", *TEXTS)
    before = await snapshot(persistence)
    assert await index(client, user_id, *(row(m, "other words") for m in found.values())) == len(TEXTS)
    assert await snapshot(persistence) == before


async def test_terms_first_and_vectors_later(client: Client, persistence: RunningPersistence) -> None:
    user_id = await client.user()
    turn, position = await client.say(user_id, "c1", "ada is a cat")
    await persistence.parts.watermark.wait_for(position)
    message_id = turn.messages[0].message_id
    await index(client, user_id, row(message_id, "ada is a cat", embedded=False), embedder=None)
    assert (await find(client, user_id, "cat"))["ada is a cat"].bm25
    assert not await find(client, user_id, vector=direction("cat"), embedder=EMBEDDER)
    await index(client, user_id, row(message_id, "ada is a cat"))
    assert (await find(client, user_id, "cat", vector=direction("cat"), embedder=EMBEDDER))["ada is a cat"].cosine


async def test_indexing_at_once_counts_each_document_once(client: Client, persistence: RunningPersistence) -> None:
    user_id = await client.user()
    ids: dict[str, str] = {}
    for n in range(12):
        turn, position = await client.say(user_id, f"c{n}", f"cat number {n}")
        ids[f"cat number {n}"] = turn.messages[0].message_id
    await persistence.parts.watermark.wait_for(position)
    await asyncio.gather(*(index(client, user_id, row(m, t)) for t, m in ids.items() for _ in range(2)))
    found = await find(client, user_id, "cat")
    assert {t: c.bm25 for t, c in found.items()} == {t: pytest.approx(bm25(list(ids), "cat", t)) for t in ids}


async def test_two_embedders_are_never_compared(client: Client, persistence: RunningPersistence) -> None:
    user_id = await client.user()
    found = await keep_and_index(client, persistence, user_id, "c1", "ada is a cat")
    await index(
        client,
        user_id,
        *(IndexRow(message_id=m, terms={}, vector=vector(1, 0)) for m in found.values()),
        embedder="b@1",
    )
    by_other = await find(client, user_id, vector=vector(1, 0), embedder="b@1")
    assert by_other["ada is a cat"].cosine == pytest.approx(1.0)
    assert await find(client, user_id, vector=direction("a"), embedder="c@1") == {}
    assert await find(client, user_id, vector=vector(1, 0), embedder=EMBEDDER) == {}


@pytest.mark.parametrize("bad", [b"", b"abc", b"abcdefgh"])
async def test_vectors_of_another_shape_are_refused(
    client: Client, persistence: RunningPersistence, bad: bytes
) -> None:
    user_id = await client.user()
    found = await keep_and_index(client, persistence, user_id, "c1", "ada is a cat")
    rows = tuple(IndexRow(message_id=m, terms={}, vector=bad) for m in found.values())
    with pytest.raises(InvalidRequest):
        await index(client, user_id, *rows)


async def test_the_conversation_in_the_prompt_is_left_out(client: Client, persistence: RunningPersistence) -> None:
    user_id = await client.user()
    await keep_and_index(client, persistence, user_id, "c1", "cat one", "cat two", "cat three")
    await keep_and_index(client, persistence, user_id, "c2", "cat four")
    more = {"vector": direction("cat"), "embedder": EMBEDDER, "not_in_conversation": "c1", "limit": 1}
    assert set(await find(client, user_id, "cat", **more)) == {"cat four"}


async def check_what_was_just_said_is_found(client: Client, persistence: RunningPersistence) -> None:
    user_id, other = await client.user(), await client.user()
    await keep_and_index(client, persistence, user_id, "c1", "ada is a cat")
    await client.say(user_id, "c3", "bob is a dog")
    # another's newer messages would take every place
    _, position = await client.say(other, "c2", *[f"my secret {n}" for n in range(MOST_FRESH)])
    found = await find(client, user_id, "bob", vector=direction("bob"), embedder=EMBEDDER, read_after=position)
    assert {text: candidate.indexed for text, candidate in found.items()} == {
        "ada is a cat": True,
        "bob is a dog": False,
    }
    assert (found["bob is a dog"].bm25, found["bob is a dog"].cosine) == (None, None)


async def test_what_was_just_said_is_found_by_its_owner_before_it_is_indexed(
    client: Client, persistence: RunningPersistence
) -> None:
    await check_what_was_just_said_is_found(client, persistence)


async def test_what_is_not_indexed_yet_comes_once_with_its_terms_and_in_bounds(
    client: Client, persistence: RunningPersistence
) -> None:
    user_id = await client.user()
    for n in range(MOST_FRESH + 8):
        turn, position = await client.say(user_id, "c1", f"cat {n}")
    await persistence.parts.watermark.wait_for(position)
    found = await find(client, user_id, "dog")
    assert set(found) == {f"cat {n}" for n in range(8, MOST_FRESH + 8)}, "the newest"
    last = turn.messages[0].message_id
    await index(client, user_id, row(last, f"cat {n}", embedded=False), embedder=None)
    found = await find(client, user_id, "cat")
    assert found[f"cat {n}"].indexed
    assert not found["cat 20"].indexed
    assert await find(client, user_id, "cat", not_in_conversation="c1") == {}


async def test_what_is_indexed_with_its_job_is_not_asked_for_again(
    client: Client, persistence: RunningPersistence
) -> None:
    user_id, other = await client.user(), await client.user()
    turn, position = await client.say(user_id, "c1", "ada is a cat")
    foreign, position = await client.say(other, "c2", "bob is a dog")
    await persistence.parts.watermark.wait_for(position)
    jobs = {job.payload["message_ids"][0]: job.job_id for job in await all_jobs(persistence)}
    message_id, others = turn.messages[0].message_id, foreign.messages[0].message_id
    rows = (row(message_id, "ada is a cat"),)
    done = (jobs[message_id], jobs[others])
    request = IndexMessages(user_id=user_id, embedder=EMBEDDER, rows=rows, done_jobs=done)
    await client.cognition.request(INDEX_MESSAGES, request)
    states = {job.job_id: job.state for job in await all_jobs(persistence)}
    assert states == {jobs[message_id]: "done", jobs[others]: "queued"}, "another user's job isn't ended"
    read = await client.cognition.request(READ_UNINDEXED, ReadUnindexed(user_id=user_id, message_ids=(message_id,)))
    assert read.messages == ()


async def all_jobs(persistence: RunningPersistence) -> Sequence[JobRow]:
    async with persistence.parts.database.transaction() as session:
        return (await session.scalars(select(JobRow))).all()


async def test_a_text_to_index_comes_with_the_one_before(client: Client, persistence: RunningPersistence) -> None:
    user_id = await client.user()
    first, _ = await client.say(user_id, "c1", "who is Ada?", "a cat")
    second, position = await client.say(user_id, "c1", "whose?")
    await persistence.parts.watermark.wait_for(position)
    ids = (first.messages[1].message_id, second.messages[0].message_id, "gone")
    read = await client.cognition.request(READ_UNINDEXED, ReadUnindexed(user_id=user_id, message_ids=ids))
    assert {m.text: m.previous_text for m in read.messages} == {"a cat": "who is Ada?", "whose?": "a cat"}


async def test_many_postings_of_one_term_fill_several_blocks(client: Client, persistence: RunningPersistence) -> None:
    user_id = await client.user()
    turn, position = await client.say(user_id, "c1", *[f"cat {n}" for n in range(700)])
    await persistence.parts.watermark.wait_for(position)
    rows = [row(m.message_id, f"cat {n}", embedded=False) for n, m in enumerate(turn.messages)]
    await index(client, user_id, *rows[:100])
    await index(client, user_id, *rows[100:])
    found = await find(client, user_id, "cat 699", limit=1000)
    assert len(found) == 700
    assert max(found.values(), key=lambda c: c.bm25 or 0).text == "cat 699"


async def test_the_indexing_job_is_published_with_its_id_and_finished_once(
    client: Client, persistence: RunningPersistence
) -> None:
    user_id = await client.user()
    heard: asyncio.Queue[tuple[str, IndexRequested]] = asyncio.Queue()

    async def hear(delivery: object) -> None:
        await heard.put((delivery.message_id, delivery.message))  # type: ignore[attr-defined]

    await client.cognition.consume(INDEX_REQUESTED, INDEX_REQUESTED.consumers[0], hear)
    turn, _ = await client.say(user_id, "c1", "q", "a")
    async with asyncio.timeout(5):
        job_id, request = await heard.get()
    assert request.message_ids == tuple(m.message_id for m in turn.messages)
    report = FinishJob(job_id=job_id, state=JobState.DONE)
    assert (await client.cognition.request(FINISH_JOB, report)).changed
    assert not (await client.cognition.request(FINISH_JOB, report)).changed
    job = (await client.bus.request(LIST_JOBS, ListJobs())).jobs[0]
    assert (job.job_id, job.state, job.attempts) == (job_id, JobState.DONE, 1)
    assert job.finished_at is not None


async def test_values_that_the_database_cannot_hold_are_refused(
    client: Client, persistence: RunningPersistence
) -> None:
    user_id = await client.user()
    found = await keep_and_index(client, persistence, user_id, "c1", "ada")
    rows = [row(message_id, text) for text, message_id in found.items()]
    with pytest.raises(InvalidRequest):
        await index(client, user_id, *rows, embedder="x" * 200)
    with pytest.raises(InvalidRequest):
        await index(client, user_id, *(r.model_copy(update={"terms": {"ada": 0}}) for r in rows))
