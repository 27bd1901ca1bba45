"""Batches go round: while one is written the next is embedded, and nothing that fails loses what was made."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from libs.shared.bus.base import Bus
from libs.shared.contracts.indexing import Indexed, IndexMessages
from libs.shared.contracts.inference import Embeddings
from libs.shared.contracts.memory import Fact, MemoryKind
from libs.shared.errors import StorageFull
from services.cognition import searchable
from services.cognition.embedding import Embedder
from services.cognition.searchable import Portions, Searchable, Text, Wanted

ONE_EACH = Portions(embed=1, write=1)


def text(number: int, said: str = "I like tea.") -> Text:
    return Text(f"m{number}", MemoryKind.MESSAGE, "user", said, datetime(2026, 1, 1, tzinfo=UTC))


@dataclass
class Around:
    """A bus to an index and an embedder, which wait for one another where a test says so."""

    embedded: int = 0
    written: list[IndexMessages] = field(default_factory=list)
    second_embedding: asyncio.Event = field(default_factory=asyncio.Event)
    wait_for_it: bool = False
    full: bool = False

    async def embed(self, texts: Sequence[str], **_: object) -> Embeddings:
        self.embedded += 1
        if self.embedded == 2:
            self.second_embedding.set()
        return Embeddings(embedder="minilm@1", dimensions=1, vectors=tuple(b"\0" * 4 for _ in texts), prompt_tokens=1)

    async def request(self, _: object, message: IndexMessages, **__: object) -> Indexed:
        if self.full:
            raise StorageFull
        if self.wait_for_it and not self.written:
            async with asyncio.timeout(0.5):
                await self.second_embedding.wait()
        self.written.append(message)
        return Indexed(count=len(message.rows))

    def searchable(self) -> Searchable:
        return Searchable(cast("Bus", self), cast("Embedder", self), nothing)


async def nothing(*_: object) -> tuple[Fact, ...]:
    return ()


async def check_the_next_is_embedded_while_one_is_written() -> None:
    around = Around(wait_for_it=True)
    await around.searchable().make([text(0), text(1)], Wanted("u1", jobs=("j",)), ONE_EACH)
    assert [(len(w.rows), w.done_jobs) for w in around.written] == [(1, ()), (1, ("j",))]


async def test_the_next_is_embedded_while_one_is_written() -> None:
    await check_the_next_is_embedded_while_one_is_written()


class Later:
    """A task that begins only when it is waited for."""

    def __init__(self, work: Coroutine[Any, Any, Any]) -> None:
        self._work = work
        self._begun = False

    def __await__(self) -> Generator[Any, Any, Any]:
        if self._begun:
            return None
        self._begun = True
        return (yield from self._work.__await__())

    def cancel(self) -> None:
        if not self._begun:
            self._begun = True
            self._work.close()


async def test_embedding_and_writing_by_turns_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.cognition.searchable.asyncio.create_task", Later)
    with pytest.raises(TimeoutError):
        await check_the_next_is_embedded_while_one_is_written()


async def test_no_more_than_one_batch_is_ahead() -> None:
    around = Around(full=True)
    with pytest.raises(StorageFull):
        await around.searchable().make([text(n) for n in range(9)], Wanted("u1"), ONE_EACH)
    assert around.embedded <= 2


async def test_nothing_to_index_still_ends_the_jobs() -> None:
    around = Around()
    await around.searchable().make([], Wanted("u1", jobs=("j",)), ONE_EACH)
    assert [(w.rows, w.done_jobs) for w in around.written] == [((), ("j",))]


async def test_a_user_s_importance_counts_before_a_judged_one() -> None:
    said = Text("m1", MemoryKind.NOTE, "user", "Remember this.", datetime(2026, 1, 1, tzinfo=UTC), importance=0.2)
    assert searchable.row(said, None).importance == 0.2
