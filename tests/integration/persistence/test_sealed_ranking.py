"""Recall on keyed hashes equals recall on plain text, row for row: the sealed index against BM25 over the words."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pytest

from libs.shared.contracts.indexing import INDEX_MESSAGES, IndexMessages, IndexRow
from libs.shared.contracts.keeping import KEEP_TURNS, KeepTurns
from libs.shared.contracts.memory import ImportedTurn
from libs.shared.contracts.recall import FIND_CANDIDATES, READ_MEMORIES, FindCandidates, ReadMemories
from services.persistence import segments
from services.persistence.scoring import FEWEST
from tests.support.persistence import START, Client, RunningPersistence

AROUND = {0: 1.0, -1: 0.5, -2: 0.3, 1: 0.3}
VOCABULARY = 20_000
A_CALL = 1000
LIMIT = 50


def made_up(seed: int, count: int) -> list[tuple[str, ...]]:
    """Texts whose words are as unevenly frequent as a language's."""
    rng = np.random.default_rng(seed)
    weights = 1 / (np.arange(VOCABULARY) + 5.0)
    words = rng.choice(VOCABULARY, size=(count, 14), p=weights / weights.sum())
    lengths = rng.integers(1, 15, size=count)
    return [tuple(f"w{word}" for word in row[:length]) for row, length in zip(words, lengths, strict=True)]


def conversation_of(place: int) -> int:
    return place // 23


@dataclass
class Plain:
    """BM25 over plain words with the turns around, written down without the product's code."""

    texts: Sequence[tuple[str, ...]]

    def __post_init__(self) -> None:
        self.holders: dict[str, dict[int, int]] = defaultdict(dict)
        for place, words in enumerate(self.texts):
            for word, count in Counter(words).items():
                self.holders[word][place] = count
        self.mean = sum(map(len, self.texts)) / len(self.texts)

    def _beside(self, place: int) -> list[tuple[int, float]]:
        beside = [(place + offset, weight) for offset, weight in AROUND.items()]
        own = conversation_of(place)
        return [(p, w) for p, w in beside if 0 <= p < len(self.texts) and conversation_of(p) == own]

    def scores(self, query: Sequence[str]) -> dict[int, float]:
        asked = set(query)
        touched = {place - o for word in asked for place in self.holders.get(word, ()) for o in AROUND}
        return {
            place: score
            for place in touched
            if 0 <= place < len(self.texts) and (score := self._score(place, asked)) > 0
        }

    def _score(self, place: int, query: set[str]) -> float:
        beside = self._beside(place)
        length = sum(weight * len(self.texts[p]) for p, weight in beside)
        norm = 0.8 * (0.25 + 0.75 * length / (self.mean * sum(AROUND.values())))
        total = 0.0
        for word in query:
            holders = self.holders.get(word, {})
            frequency = sum(weight * holders.get(p, 0) for p, weight in beside)
            idf = math.log(1 + (max(len(self.texts), FEWEST) - len(holders) + 0.5) / (len(holders) + 0.5))
            total += idf * frequency * 1.8 / (frequency + norm)
        return total


async def import_all(client: Client, user_id: str, texts: Sequence[tuple[str, ...]]) -> None:
    """As cognition does it, a thousand a call; the texts' places are their sources' ids."""
    for start in range(0, len(texts), A_CALL):
        turns = tuple(
            ImportedTurn(
                id=str(place),
                conversation_id=str(conversation_of(place)),
                speaker="user",
                text=" ".join(texts[place]),
                at=START + timedelta(seconds=place),
            )
            for place in range(start, min(start + A_CALL, len(texts)))
        )
        kept = await client.cognition.request(KEEP_TURNS, KeepTurns(user_id=user_id, turns=turns))
        rows = tuple(
            IndexRow(message_id=item.id, terms=dict(Counter(item.text.split())), words=len(item.text.split()))
            for item in kept.items
        )
        made = IndexMessages(user_id=user_id, embedder=None, rows=rows, done_jobs=kept.job_ids)
        assert (await client.cognition.request(INDEX_MESSAGES, made)).count == len(turns)


async def compare(client: Client, user_id: str, texts: Sequence[tuple[str, ...]], seed: int, questions: int) -> None:
    """The best rows of the index are the best by the formula, each with its score."""
    plain = Plain(texts)
    rng = np.random.default_rng(seed)
    for _ in range(questions):
        told = texts[int(rng.integers(len(texts)))]
        query = tuple(dict.fromkeys((*rng.choice(told, size=min(3, len(told))), f"w{rng.integers(VOCABULARY)}")))
        request = FindCandidates(user_id=user_id, terms=query, limit=LIMIT)
        found = await client.cognition.request(FIND_CANDIDATES, request)
        read = await client.cognition.request(READ_MEMORIES, ReadMemories(user_id=user_id, ordinals=found.ordinals))
        assert read.ordinals == found.ordinals
        scores = plain.scores(query)
        best = sorted(scores.values(), reverse=True)[:LIMIT]
        assert sorted(found.bm25, reverse=True) == pytest.approx(best, rel=1e-5)
        for item, score in zip(read.items, found.bm25, strict=True):
            assert item.text == " ".join(texts[int(item.source_id)])
            assert score == pytest.approx(scores[int(item.source_id)], rel=1e-5)


async def check_users(client: Client, persistence: RunningPersistence, users: int, memories: int, asked: int) -> None:
    everyone = {await client.user(): made_up(seed, memories) for seed in range(users)}
    for user_id, texts in everyone.items():
        await import_all(client, user_id, texts)
    for again in range(2):
        for seed, (user_id, texts) in enumerate(everyone.items()):
            await compare(client, user_id, texts, seed, asked)
            if not again:
                # the second time as they were sealed
                persistence.parts.indexes.drop(user_id)


async def test_one_users_rows_rank_as_plain_text(client: Client, persistence: RunningPersistence) -> None:
    await check_users(client, persistence, users=1, memories=3_000, asked=20)


async def test_several_users_rows_rank_as_plain_text(client: Client, persistence: RunningPersistence) -> None:
    await check_users(client, persistence, users=4, memories=250, asked=8)


@pytest.mark.soak
@pytest.mark.timeout(3600)
async def test_a_hundred_thousand_rows_rank_as_plain_text(client: Client, persistence: RunningPersistence) -> None:
    await check_users(client, persistence, users=1, memories=100_000, asked=100)


@pytest.mark.soak
@pytest.mark.timeout(3600)
async def test_a_hundred_users_rows_rank_as_plain_text(client: Client, persistence: RunningPersistence) -> None:
    await check_users(client, persistence, users=100, memories=1_000, asked=10)


async def test_hashes_that_meet_would_be_noticed(
    client: Client, persistence: RunningPersistence, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        segments, "term_number", lambda term: int.from_bytes(term[:2] + bytes(segments.TERM_BYTES - 2), "little")
    )
    with pytest.raises((AssertionError, KeyError)):
        await check_users(client, persistence, users=1, memories=300, asked=5)
