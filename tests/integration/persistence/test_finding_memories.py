"""The index: what is found, with which evidence, and by whom alone."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from libs.shared.contracts.common import Position
from libs.shared.contracts.indexing import (
    INDEX_MESSAGES,
    READ_UNINDEXED,
    IndexMessages,
    IndexRow,
    ReadUnindexed,
)
from libs.shared.contracts.recall import FIND_CANDIDATES, READ_PROFILE, FindCandidates, Profile, ReadProfile
from libs.shared.contracts.runtime_settings import RuntimeSettings
from libs.shared.errors import InvalidRequest
from libs.shared.sealing import Unreadable, unseal
from services.persistence import retiring, scoring
from services.persistence.additions import Addition
from services.persistence.handlers.finding import MOST_FRESH
from services.persistence.repositories import accounts
from services.persistence.scoring import FEWEST
from services.persistence.segment_store import Contents, Rewritten, SegmentStore
from tests.support.persistence import START, Client, RunningPersistence

EMBEDDER = "test@1"
AROUND = {0: 1.0, -1: 0.5, -2: 0.3, 1: 0.3}


def vector(*numbers: float) -> bytes:
    return bytes(np.array(numbers, dtype="<f4").tobytes())


def direction(text: str) -> bytes:
    """A stand-in for an embedder: where a text points depends on its letters alone."""
    counts = np.array([text.count(letter) + 0.01 for letter in "abcdefgh"], dtype="<f4")
    return vector(*(counts / np.linalg.norm(counts)))


def cosine(one: bytes, two: bytes) -> float:
    a, b = np.frombuffer(one, "<f4"), np.frombuffer(two, "<f4")
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def row(message_id: str, text: str, *, embedded: bool = True, speaker: str = "user") -> IndexRow:
    return IndexRow(
        message_id=message_id,
        terms=dict(Counter(text.split())),
        vector=direction(text) if embedded else None,
        speaker=speaker,
        words=len(text.split()),
    )


@dataclass(frozen=True)
class Evidence:
    """One candidate of a reply, by name instead of by column."""

    ordinal: int
    conversation: int
    speaker: str
    at: float
    words: int
    uses: int
    pinned: bool
    importance: float
    bm25: float
    cosine: float | None
    newer: int


async def evidence(client: Client, user_id: str, text: str = "", **more: object) -> dict[int, Evidence]:
    """Ordinal → candidate."""
    values: dict[str, object] = {"user_id": user_id, "terms": tuple(text.split())} | more
    found = await client.cognition.request(FIND_CANDIDATES, FindCandidates.model_validate(values))
    columns = zip(
        *(found.ordinals, found.conversations, found.speakers, found.at, found.words, found.uses),
        *(found.pinned, found.importance, found.bm25, found.cosine, found.newer),
        strict=True,
    )
    return {
        ordinal: Evidence(ordinal, conversation, found.names[speaker], *rest)
        for ordinal, conversation, speaker, *rest in columns
    }


async def fresh(client: Client, user_id: str, **more: object) -> list[str]:
    request = FindCandidates.model_validate({"user_id": user_id} | more)
    return [item.text for item in (await client.cognition.request(FIND_CANDIDATES, request)).fresh]


async def keep(
    client: Client, persistence: RunningPersistence, user_id: str, conversation_id: str, *texts: str
) -> dict[str, str]:
    """Text → message id, each in a turn of its own, a minute apart."""
    found: dict[str, str] = {}
    position: Position | None = None
    for i, text in enumerate(texts):
        turn = await client.turn(user_id, conversation_id, text, at=START + timedelta(minutes=i))
        position = await client.publish(turn)
        found[text] = turn.messages[0].message_id
    await persistence.parts.watermark.wait_for(position)
    return found


async def index(client: Client, user_id: str, *rows: IndexRow, embedder: str | None = EMBEDDER) -> int:
    request = IndexMessages(user_id=user_id, embedder=embedder, rows=rows)
    return (await client.cognition.request(INDEX_MESSAGES, request)).count


async def keep_and_index(
    client: Client, persistence: RunningPersistence, user_id: str, conversation_id: str, *texts: str
) -> dict[str, int]:
    """Text → ordinal."""
    ids = await keep(client, persistence, user_id, conversation_id, *texts)
    await index(client, user_id, *(row(message_id, text) for text, message_id in ids.items()))
    return await ordinals(persistence, ids)


async def ordinals(persistence: RunningPersistence, ids: Mapping[str, str]) -> dict[str, int]:
    async with persistence.parts.database.plainly() as driver:
        rows = await driver.fetch("SELECT message_id, ordinal FROM messages")
    by_id = dict(map(tuple, rows))
    return {text: by_id[message_id] for text, message_id in ids.items()}


async def profile(client: Client, user_id: str) -> Profile:
    return await client.cognition.request(READ_PROFILE, ReadProfile(user_id=user_id))


def bm25(conversations: Sequence[Sequence[str]], query: str, conversation: int, place: int) -> float:
    """The formula over plain texts, turns around and all."""
    every = [text.split() for texts in conversations for text in texts]
    mean = sum(map(len, every)) / len(every)
    own = [text.split() for text in conversations[conversation]]
    beside = {offset: own[place + offset] for offset in AROUND if 0 <= place + offset < len(own)}
    length = sum(AROUND[offset] * len(words) for offset, words in beside.items())
    norm = 0.8 * (0.25 + 0.75 * length / (mean * sum(AROUND.values())))
    score = 0.0
    for term in set(query.split()):
        n = sum(term in words for words in every)
        idf = math.log(1 + (max(len(every), FEWEST) - n + 0.5) / (n + 0.5))
        frequency = sum(AROUND[offset] * words.count(term) for offset, words in beside.items())
        score += idf * frequency * 1.8 / (frequency + norm)
    return score


TEXTS = ["ada is a cat", "bob is a dog and a friend", "the cat sat", "cat cat cat", "nothing here", "far away now"]
OTHERS = ["a cat again", "quite another thing"]


async def test_keyed_terms_score_as_plain_ones_would(client: Client, persistence: RunningPersistence) -> None:
    user_id = await client.user()
    known = await keep_and_index(client, persistence, user_id, "c1", *TEXTS)
    others = await keep_and_index(client, persistence, user_id, "c2", *OTHERS)
    found = await evidence(client, user_id, "cat a")
    assert len({found[known["ada is a cat"]].conversation, found[others["a cat again"]].conversation}) == 2
    for conversation, (texts, of) in enumerate(((TEXTS, known), (OTHERS, others))):
        for place, text in enumerate(texts):
            expected = bm25([TEXTS, OTHERS], "cat a", conversation, place)
            assert (of[text] in found) == (expected > 0)
            if expected:
                assert found[of[text]].bm25 == pytest.approx(expected, rel=1e-5)
                assert found[of[text]].cosine is None


async def test_a_turn_between_two_others_changes_what_stands_around(
    client: Client, persistence: RunningPersistence
) -> None:
    user_id = await client.user()
    ids = await keep(client, persistence, user_id, "c1", *TEXTS)
    for text in (TEXTS[0], TEXTS[5], TEXTS[2], TEXTS[1], TEXTS[4], TEXTS[3]):
        await index(client, user_id, row(ids[text], text))
        await evidence(client, user_id, "cat")
    known = await ordinals(persistence, ids)
    found = await evidence(client, user_id, "cat a sat")
    for place, text in enumerate(TEXTS):
        expected = bm25([TEXTS], "cat a sat", 0, place)
        assert (found[known[text]].bm25 if known[text] in found else 0.0) == pytest.approx(expected, rel=1e-5)


async def test_every_candidate_has_both_scores(client: Client, persistence: RunningPersistence) -> None:
    user_id = await client.user()
    known = await keep_and_index(client, persistence, user_id, "c1", *TEXTS)
    query = direction("hhh")
    found = await evidence(client, user_id, "ada", vector=query, embedder=EMBEDDER, limit=1)
    nearest = max(TEXTS, key=lambda text: cosine(direction(text), query))
    assert set(found) == {known["ada is a cat"], known[nearest]}
    for text in ("ada is a cat", nearest):
        assert found[known[text]].cosine == pytest.approx(cosine(direction(text), query), abs=1e-3)
        assert found[known[text]].bm25 == pytest.approx(bm25([TEXTS], "ada", 0, TEXTS.index(text)), rel=1e-5)


async def check_that_the_first_words_answer(client: Client, persistence: RunningPersistence) -> None:
    """A name that was told in the first sentence of all, before any vector, and a question that shares that alone."""
    user_id = await client.user()
    ids = await keep(client, persistence, user_id, "c1", "sist odil mov chicoutimi may")
    await index(client, user_id, *(row(ids[text], text, embedded=False) for text in ids), embedder=None)
    asked = FindCandidates(user_id=user_id, terms=("odil", "lif"))
    found = await client.cognition.request(FIND_CANDIDATES, asked)
    assert not found.fresh
    assert found.bm25[0] / found.whole_bm25 >= RuntimeSettings().recall_min_score


async def test_a_name_in_the_first_sentence_of_all_is_evidence_enough_without_a_vector(
    client: Client, persistence: RunningPersistence
) -> None:
    await check_that_the_first_words_answer(client, persistence)


async def test_words_that_a_few_memories_make_rare_would_be_noticed(
    client: Client, persistence: RunningPersistence, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "FEWEST", 1)
    with pytest.raises(AssertionError):
        await check_that_the_first_words_answer(client, persistence)


async def test_nobody_finds_anothers(client: Client, persistence: RunningPersistence) -> None:
    ada, bob = await client.user(), await client.user()
    await keep_and_index(client, persistence, ada, "c1", *TEXTS)
    mine = await keep_and_index(client, persistence, bob, "c2", "a cat")
    found = await evidence(client, bob, "cat", vector=direction("cat"), embedder=EMBEDDER)
    assert set(found) == {mine["a cat"]}
    assert found[mine["a cat"]].bm25 == pytest.approx(bm25([["a cat"]], "cat", 0, 0), rel=1e-5)


async def test_a_message_of_another_user_is_not_indexed(client: Client, persistence: RunningPersistence) -> None:
    ada, bob = await client.user(), await client.user()
    ids = await keep(client, persistence, ada, "c1", "a cat")
    assert await index(client, bob, row(ids["a cat"], "a cat")) == 0
    assert not await evidence(client, bob, "cat")
    assert not await evidence(client, ada, "cat")


async def test_what_was_indexed_is_found_after_a_restart(client: Client, persistence: RunningPersistence) -> None:
    user_id = await client.user()
    await keep_and_index(client, persistence, user_id, "c1", *TEXTS)
    query = {"vector": direction("ab"), "embedder": EMBEDDER}
    before = await evidence(client, user_id, "cat a", **query)
    await persistence.stop()
    await persistence.start()
    assert await evidence(client, user_id, "cat a", **query) == before
    assert (await profile(client, user_id)).memories == len(TEXTS)


async def test_indexing_twice_changes_nothing(client: Client, persistence: RunningPersistence) -> None:
    user_id = await client.user()
    ids = await keep(client, persistence, user_id, "c1", *TEXTS)
    rows = [row(message_id, text) for text, message_id in ids.items()]
    assert await index(client, user_id, *rows) == len(TEXTS)
    before = await evidence(client, user_id, "cat a", vector=direction("c"), embedder=EMBEDDER)
    await asyncio.gather(*(index(client, user_id, *rows) for _ in range(3)))
    assert await evidence(client, user_id, "cat a", vector=direction("c"), embedder=EMBEDDER) == before
    async with persistence.parts.database.plainly() as driver:
        assert await driver.fetchval("SELECT sum(count) FROM index_segments") == 2 * len(TEXTS)


async def test_terms_come_first_and_the_vector_later(client: Client, persistence: RunningPersistence) -> None:
    user_id = await client.user()
    ids = await keep(client, persistence, user_id, "c1", "a cat")
    await index(client, user_id, row(ids["a cat"], "a cat", embedded=False), embedder=None)
    asked = ReadUnindexed(user_id=user_id, message_ids=tuple(ids.values()))
    left = await client.cognition.request(READ_UNINDEXED, asked)
    assert [message.text for message in left.messages] == ["a cat"]
    assert left.embedder is None
    await index(client, user_id, row(ids["a cat"], "a cat"))
    left = await client.cognition.request(READ_UNINDEXED, asked)
    assert (left.messages, left.embedder) == ((), EMBEDDER)
    (found,) = (await evidence(client, user_id, "cat", vector=direction("cat"), embedder=EMBEDDER)).values()
    assert found.cosine is not None


@pytest.mark.parametrize(
    "rows",
    [
        [IndexRow(message_id="a", terms={"x": 0})],
        [IndexRow(message_id="a", vector=b"abc")],
        [IndexRow(message_id="a", vector=b"")],
        [IndexRow(message_id="a", vector=vector(1)), IndexRow(message_id="b", vector=vector(1, 2))],
        [IndexRow(message_id="a", vector=vector(1, math.nan))],
    ],
    ids=["no frequency", "odd bytes", "no dimension", "several lengths", "not a number"],
)
async def test_rows_that_make_no_sense_are_refused(client: Client, rows: list[IndexRow]) -> None:
    user_id = await client.user()
    with pytest.raises(InvalidRequest):
        await index(client, user_id, *rows)


async def test_vectors_of_one_embedder_have_one_length(client: Client, persistence: RunningPersistence) -> None:
    user_id = await client.user()
    ids = await keep(client, persistence, user_id, "c1", "a cat", "a dog")
    await index(client, user_id, row(ids["a cat"], "a cat"))
    for _ in range(2):
        with pytest.raises(InvalidRequest):
            await index(client, user_id, IndexRow(message_id=ids["a dog"], vector=vector(1, 2)))
        persistence.parts.indexes.drop(user_id)


async def test_what_was_just_said_comes_until_it_is_indexed(client: Client, persistence: RunningPersistence) -> None:
    user_id = await client.user()
    ids = await keep(client, persistence, user_id, "c1", "first", "second")
    assert await fresh(client, user_id, terms=("other",)) == ["second", "first"]
    await index(client, user_id, row(ids["first"], "first", embedded=False), embedder=None)
    assert await fresh(client, user_id) == ["second"]


async def test_what_comes_after_a_search_that_found_nothing_new_is_found(
    client: Client, persistence: RunningPersistence
) -> None:
    user_id = await client.user()
    assert await fresh(client, user_id) == []
    await keep(client, persistence, user_id, "c1", "a turn")
    assert await fresh(client, user_id) == ["a turn"]
    other_id = await client.user()
    assert await fresh(client, other_id) == []
    await client.note(other_id, "a note")
    assert await fresh(client, other_id) == ["a note"]


async def test_few_of_many_fresh_memories_come(client: Client, persistence: RunningPersistence) -> None:
    user_id = await client.user()
    texts = [f"number {i}" for i in range(MOST_FRESH + 3)]
    await keep(client, persistence, user_id, "c1", *texts)
    assert await fresh(client, user_id) == list(reversed(texts))[:MOST_FRESH]


async def test_a_profile_names_the_speakers(client: Client, persistence: RunningPersistence) -> None:
    user_id = await client.user()
    assert await profile(client, user_id) == Profile()
    ids = await keep(client, persistence, user_id, "c1", *TEXTS)
    speakers = ["Bob", "Ada", "Ada", "user", "assistant", "Ada"]
    rows = [row(ids[text], text, speaker=speaker) for text, speaker in zip(TEXTS, speakers, strict=True)]
    await index(client, user_id, *rows)
    assert await profile(client, user_id) == Profile(names=("Ada", "Bob"), embedder=EMBEDDER, memories=len(TEXTS))


async def test_an_interval_brings_what_was_said_then(client: Client, persistence: RunningPersistence) -> None:
    user_id = await client.user()
    known = await keep_and_index(client, persistence, user_id, "c1", *TEXTS)
    span = {"start": START + timedelta(minutes=4), "end": START + timedelta(minutes=5)}
    assert set(await evidence(client, user_id, "cat", limit=1)) == {known["cat cat cat"]}
    found = await evidence(client, user_id, "cat", limit=1, intervals=(span,))
    assert set(found) == {known["cat cat cat"], known["nothing here"]}


async def test_uses_and_pins_are_known_at_once_and_after_a_load(
    client: Client, persistence: RunningPersistence
) -> None:
    user_id = await client.user()
    ids = await keep(client, persistence, user_id, "c1", "a cat")
    await index(client, user_id, row(ids["a cat"], "a cat"))
    (ordinal,) = (await ordinals(persistence, ids)).values()
    await evidence(client, user_id, "cat")
    used = (await client.turn(user_id, "c1", "more")).model_copy(update={"recalled": (ids["a cat"],)})
    await persistence.parts.watermark.wait_for(await client.publish(used))
    await persistence.parts.indexes.settled()
    async with persistence.parts.database.plainly() as driver:
        await driver.execute("UPDATE memory_states SET pinned = true, importance = 0.75")
    persistence.parts.indexes.state_set(user_id, ordinal, True, 0.75)
    for _ in range(2):
        found = (await evidence(client, user_id, "cat"))[ordinal]
        assert (found.uses, found.pinned, found.importance) == (1, True, 0.75)
        persistence.parts.indexes.drop(user_id)


async def segments_of(persistence: RunningPersistence, user_id: str) -> list[tuple[int, str, int, int]]:
    """Segment, embedder, count, slot."""
    async with persistence.parts.database.plainly() as driver:
        rows = await driver.fetch(
            "SELECT segment_id, embedder, count, slot FROM index_segments WHERE user_id = $1 ORDER BY 1", user_id
        )
    return [tuple(row) for row in rows]


async def forget(persistence: RunningPersistence, user_id: str, *forgotten: int) -> Rewritten:
    """As a forgetting does it."""
    parts = persistence.parts
    async with parts.database.writing() as driver:
        rewritten = await parts.indexes.take_out(driver, user_id, forgotten)
        note = await retiring.retire(driver, user_id, rewritten.old_slots)
    parts.indexes.forgotten(user_id, forgotten)
    await retiring.destroy_retired(parts.database, parts.keys.slots, parts.unused_keys, note)
    return rewritten


async def test_small_segments_are_joined_under_a_fresh_key(client: Client, persistence: RunningPersistence) -> None:
    user_id = await client.user()
    texts = [f"text number{i}" for i in range(20)]
    ids = await keep(client, persistence, user_id, "c1", *texts)
    for text in texts[:16]:
        await index(client, user_id, row(ids[text], text))
    await persistence.parts.indexes.settled()
    before = {slot for *_, slot in await segments_of(persistence, user_id)}
    assert sorted(count for _, _, count, _ in await segments_of(persistence, user_id)) == [16, 16]
    for text in texts[16:]:
        await index(client, user_id, row(ids[text], text))
    # the user's own, one a turn, one a segment: none of what was joined is left
    slots = {slot for *_, slot in await segments_of(persistence, user_id)}
    assert before < slots
    assert len(persistence.parts.keys.slots.used) == 1 + len(texts) + len(slots)
    found = await evidence(client, user_id, "text")
    persistence.parts.indexes.drop(user_id)
    assert await evidence(client, user_id, "text") == found
    assert len(found) == len(texts)


async def test_forgetting_rewrites_only_what_it_touches(client: Client, persistence: RunningPersistence) -> None:
    user_id = await client.user()
    first = await keep_and_index(client, persistence, user_id, "c1", *TEXTS)
    second = await keep_and_index(client, persistence, user_id, "c2", *OTHERS)
    before = {segment: slot for segment, _, _, slot in await segments_of(persistence, user_id)}
    rewritten = await forget(persistence, user_id, first["the cat sat"])
    after = {segment: slot for segment, _, _, slot in await segments_of(persistence, user_id)}
    assert (rewritten.segments, rewritten.terms, rewritten.vectors) == (2, 1, 1)
    assert rewritten.old_slots == {before[s] for s in before if before[s] != after[s]}
    assert len(rewritten.old_slots) == 2
    assert not rewritten.old_slots & persistence.parts.keys.slots.used
    left = [text for text in TEXTS if text != "the cat sat"]
    for _ in range(2):
        found = await evidence(client, user_id, "cat a", vector=direction("cat"), embedder=EMBEDDER)
        assert set(found) == {first[text] for text in left} | set(second.values())
        await persistence.parts.indexes.settled()
        for place, text in enumerate(left):
            score = (await evidence(client, user_id, "cat a")).get(first[text])
            expected = bm25([left, OTHERS], "cat a", 0, place)
            assert (score.bm25 if score else 0.0) == pytest.approx(expected, rel=1e-5)
        persistence.parts.indexes.drop(user_id)


async def test_a_segment_of_nothing_is_removed(client: Client, persistence: RunningPersistence) -> None:
    user_id = await client.user()
    known = await keep_and_index(client, persistence, user_id, "c1", *TEXTS)
    await forget(persistence, user_id, *known.values())
    assert await segments_of(persistence, user_id) == []
    assert not await evidence(client, user_id, "cat")
    assert (await profile(client, user_id)).memories == 0


async def test_no_segment_opens_with_another_key(client: Client, persistence: RunningPersistence) -> None:
    """No plain term, hash, name or vector lies in the database: what is stored opens with its slot's key alone."""
    user_id = await client.user()
    ids = await keep(client, persistence, user_id, "c1", "unmistakable")
    await index(client, user_id, row(ids["unmistakable"], "unmistakable", speaker="Unmistakable Name"))
    parts = persistence.parts
    async with parts.database.plainly() as driver:
        user = await accounts.keys_of(driver, parts.keys, user_id)
        contents = await driver.fetch("SELECT slot, content FROM index_segments ORDER BY segment_id")
    needles = (b"Unmistakable", user.hash_term("unmistakable")[:8], direction("unmistakable")[:8], b"MGT1", b"MGV1")
    for slot, content in contents:
        assert not any(needle in content for needle in needles)
        plain = unseal(parts.keys.data_key(user, slot), content)
        assert plain[:4] in needles
        for other, _ in contents:
            if other != slot:
                with pytest.raises(Unreadable):
                    unseal(parts.keys.data_key(user, other), content)


async def test_what_no_key_opens_is_asked_for_again(client: Client, persistence: RunningPersistence) -> None:
    user_id = await client.user()
    await keep_and_index(client, persistence, user_id, "c1", *TEXTS)
    await keep_and_index(client, persistence, user_id, "c2", *OTHERS)
    _, _, _, slot = (await segments_of(persistence, user_id))[0]
    await persistence.parts.keys.slots.destroy((slot,))
    persistence.parts.indexes.drop(user_id)
    assert (await profile(client, user_id)).memories == len(OTHERS)
    await persistence.parts.indexes.settled()
    assert len(await segments_of(persistence, user_id)) == 3
    assert sorted(await fresh(client, user_id)) == sorted(TEXTS)


async def test_one_load_serves_all_who_wait(
    client: Client, persistence: RunningPersistence, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_id = await client.user()
    await keep_and_index(client, persistence, user_id, "c1", *TEXTS)
    persistence.parts.indexes.drop(user_id)
    loads = []
    real = SegmentStore.read

    async def read(self: SegmentStore, *arguments: Any) -> Contents:
        loads.append(arguments)
        return await real(self, *arguments)

    monkeypatch.setattr(SegmentStore, "read", read)
    found = await asyncio.gather(*(evidence(client, user_id, "cat") for _ in range(8)))
    assert len(loads) == 1
    assert all(one == found[0] for one in found)


async def test_the_longest_unused_index_makes_room(client: Client, persistence: RunningPersistence) -> None:
    users = [await client.user() for _ in range(3)]
    for user_id in users:
        await keep_and_index(client, persistence, user_id, f"c{user_id[:8]}", *TEXTS)
        await evidence(client, user_id, "cat")
    indexes = persistence.parts.indexes
    indexes.budget_bytes = indexes.nbytes - 1
    await evidence(client, users[0], "cat")
    indexes.drop(users[0])
    found = await evidence(client, users[0], "cat")
    assert 0 < indexes.nbytes <= indexes.budget_bytes
    assert len(await evidence(client, users[1], "cat")) == len(found)


async def test_what_is_forgotten_while_it_is_loaded_does_not_come_back(
    client: Client, persistence: RunningPersistence, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_id = await client.user()
    known = await keep_and_index(client, persistence, user_id, "c1", *TEXTS)
    gone = known["the cat sat"]
    persistence.parts.indexes.drop(user_id)
    real = SegmentStore.read
    forgotten: list[int] = []

    async def read(self: SegmentStore, *arguments: Any) -> Contents:
        contents = await real(self, *arguments)
        if not forgotten:
            forgotten.append(gone)
            await forget(persistence, user_id, gone)
        return contents

    monkeypatch.setattr(SegmentStore, "read", read)
    assert gone not in await evidence(client, user_id, "cat")
    assert forgotten == [gone]


async def test_what_is_committed_is_found_although_who_asked_went_away(
    client: Client, persistence: RunningPersistence, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_id = await client.user()
    ids = await keep(client, persistence, user_id, "c1", "a cat")
    await evidence(client, user_id, "cat")
    indexes, began = persistence.parts.indexes, asyncio.Event()
    real = SegmentStore.write

    async def write(self: SegmentStore, *arguments: Any) -> None:
        began.set()
        await real(self, *arguments)

    monkeypatch.setattr(SegmentStore, "write", write)
    asked = asyncio.create_task(indexes.add(Addition(user_id, EMBEDDER, (row(ids["a cat"], "a cat"),))))
    async with asyncio.timeout(5):
        await began.wait()
    asked.cancel()
    await indexes.settled()
    assert len(await evidence(client, user_id, "cat")) == 1
