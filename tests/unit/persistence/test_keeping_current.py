"""What may happen between two awaits: indexes follow changes that come while they load, and keys stay with who has them
now; and what a reply may hold."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio

from libs.shared.contracts.keeping import KeepNote
from libs.shared.contracts.recall import Profile
from libs.shared.errors import Unavailable
from services.persistence import forgetting, housekeeping, indexes, takeover
from services.persistence.handlers import keeping as keeping_handlers
from services.persistence.handlers.finding import fitting
from services.persistence.indexes import Indexes
from services.persistence.memory_index import MemoryIndex
from services.persistence.repositories import accounts, keeping, work
from services.persistence.repositories import forgetting as forgetting_rows
from services.persistence.repositories import segments as segment_rows
from services.persistence.repositories.segments import SegmentHead
from services.persistence.retiring import destroy_retired
from services.persistence.sealing import UserKeys
from services.persistence.segment_store import Contents
from services.persistence.segments import TermRow, TermRows, as_rows
from services.persistence.slot_file import SEALED_KEY_BYTES, SlotFile
from services.persistence.undisturbed import undisturbed
from services.persistence.unindexed import Unindexed
from services.persistence.unused_keys import UnusedKeys

USER = "u1"
NOW = datetime(2026, 3, 1, tzinfo=UTC)
KEY = b"k" * SEALED_KEY_BYTES
HEAD = SegmentHead(segment_id=1, embedder="", tier=0, count=1, slot=7)
NO_OUTBOX = SimpleNamespace(unindexed=Unindexed())


def terms(*ordinals: int) -> TermRows:
    return as_rows([TermRow(ordinal, "c1", "user", 0.0, 1, 0, 0.5, {b"12345678": 1}) for ordinal in ordinals])


class NoDatabase:
    """Connections to nothing: what is asked over them is answered by the test."""

    def __init__(self, *rows: tuple[object, ...]) -> None:
        self._rows = list(rows)

    @asynccontextmanager
    async def plainly(self) -> AsyncIterator[NoDatabase]:
        yield self

    writing = plainly

    @asynccontextmanager
    async def transaction(self, **_: object) -> AsyncIterator[NoDatabase]:
        yield self

    async def fetch(self, *_: object) -> list[tuple[object, ...]]:
        return self._rows


def answering(value: object) -> Callable[..., Any]:
    async def answer(*_: object, **__: object) -> object:
        return value

    return answer


def raising(error: Exception) -> Callable[..., Any]:
    async def fail(*_: object, **__: object) -> object:
        raise error

    return fail


@pytest_asyncio.fixture
async def held() -> AsyncIterator[Indexes]:
    made = Indexes(
        database=NoDatabase(),  # type: ignore[arg-type]
        keys=None,  # type: ignore[arg-type]
        unused=UnusedKeys(),
        budget_bytes=2**20,
        clock=lambda: NOW,
        new_id=lambda: "id",
        on_job=lambda: None,
    )
    yield made
    await made.settled()


# ---------------------------------------------------------------- indexes


def reads(held: Indexes, patch: pytest.MonkeyPatch, contents: Iterable[Contents]) -> Iterator[Contents]:
    """What the store reads, one after another; the answer tells what is left."""
    waiting = iter(contents)

    async def read(*_: object) -> Contents:
        return next(waiting)

    patch.setattr(held._store, "read", read)
    patch.setattr(accounts, "keys_of", answering(None))
    answers: dict[str, object] = {"embedders": {}, "states": {}, "newer": [], "lock": None}
    for name, value in answers.items():
        patch.setattr(segment_rows, name, answering(value))
    return waiting


async def check_pieces_joined_while_they_are_read_are_read_again(held: Indexes, patch: pytest.MonkeyPatch) -> None:
    joined = Contents(terms=[terms(1, 2)])
    reads(held, patch, [Contents(terms=[terms(1)], lost=[HEAD]), joined, joined, joined])
    assert (await held.profile(USER)).memories == 2


async def test_pieces_joined_while_they_are_read_are_read_again(held: Indexes, monkeypatch: pytest.MonkeyPatch) -> None:
    await check_pieces_joined_while_they_are_read_are_read_again(held, monkeypatch)


async def test_believing_the_first_reading_would_be_noticed(held: Indexes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexes, "_LOADS", 1)
    with pytest.raises(AssertionError):
        await check_pieces_joined_while_they_are_read_are_read_again(held, monkeypatch)


async def test_pieces_that_turn_out_to_be_there_are_not_given_up(
    held: Indexes, monkeypatch: pytest.MonkeyPatch
) -> None:
    joined, half = Contents(terms=[terms(1, 2)]), Contents(terms=[terms(1)], lost=[HEAD])
    reads(held, monkeypatch, [half, half, half, joined, joined])
    assert (await held.profile(USER)).memories == 1
    await held.settled()
    assert (await held.profile(USER)).memories == 2


async def test_what_is_dropped_while_it_is_read_is_read_until_it_is_not(
    held: Indexes, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = reads(held, monkeypatch, [Contents(terms=[terms(1)])] * 6 + [Contents()])
    newer = iter(range(6))

    async def dropped_meanwhile(*_: object) -> list[tuple[int, int]]:
        if next(newer, None) is not None:
            held.drop(USER)
        return []

    monkeypatch.setattr(segment_rows, "newer", dropped_meanwhile)
    assert (await held.profile(USER)).memories == 0
    assert next(left, None) is None


class SlowIndex(MemoryIndex):
    """Takes rows in only when it is told to."""

    began: Callable[[], object]
    go: Event

    def add(self, terms: TermRows | None, vectors: Any, embedder: str | None = None) -> None:
        self.began()
        assert self.go.wait(5)
        super().add(terms, vectors, embedder)


async def check_what_is_forgotten_while_it_is_added_is_not_found(held: Indexes) -> None:
    entry, began = held._entry(USER), asyncio.Event()
    index = entry.index = SlowIndex()
    loop = asyncio.get_running_loop()
    index.began, index.go = partial(loop.call_soon_threadsafe, began.set), Event()
    async with entry.lock:
        adding = asyncio.create_task(held._take_in(entry, terms(1, 2), None, None, {}))
        async with asyncio.timeout(5):
            await began.wait()
        held.forgotten(USER, [2])
        index.go.set()
        await adding
    await held.settled()
    assert index.view.documents == 1
    assert index.numbers_of([1, 2]).tolist() == [0, -1]


async def test_what_is_forgotten_while_it_is_added_is_not_found(held: Indexes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexes, "MANY_ROWS", 1)
    await check_what_is_forgotten_while_it_is_added_is_not_found(held)


async def test_forgetting_only_what_is_there_already_would_be_noticed(
    held: Indexes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexes, "MANY_ROWS", 1)
    forget = SlowIndex.forget

    def only_before(self: SlowIndex, ordinals: Iterable[int]) -> None:
        if not self._taken:
            forget(self, ordinals)

    monkeypatch.setattr(SlowIndex, "forget", only_before)
    with pytest.raises(AssertionError):
        await check_what_is_forgotten_while_it_is_added_is_not_found(held)


async def test_an_embedder_is_not_given_up_while_something_lacks_the_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    removed: list[str] = []

    async def remove(_: object, __: str, embedder: str) -> frozenset[int]:
        removed.append(embedder)
        return frozenset()

    monkeypatch.setattr(segment_rows, "lock", answering(None))
    monkeypatch.setattr(segment_rows, "embedders", answering({"old@1": 3, "new@1": 2}))
    monkeypatch.setattr(segment_rows, "remove_embedder", remove)
    parts: Any = SimpleNamespace(database=NoDatabase())
    monkeypatch.setattr(segment_rows, "uncovered", answering(["came meanwhile"]))
    await takeover._give_up_others(USER, "new@1", parts)
    assert removed == []
    monkeypatch.setattr(segment_rows, "uncovered", answering([]))
    await takeover._give_up_others(USER, "new@1", parts)
    assert removed == ["old@1"]


def test_what_was_just_said_is_told_as_far_as_a_reply_holds_it() -> None:
    rows: list[Any] = [SimpleNamespace(text=b"x" * size) for size in (30, 80, 50, 30, 20)]
    assert fitting(rows, 100) == [rows[0], rows[2], rows[4]]
    assert fitting(rows, 210) == rows


# ---------------------------------------------------------------- keys


@pytest_asyncio.fixture
async def slots(tmp_path: Path) -> AsyncIterator[SlotFile]:
    opened = SlotFile.open(tmp_path / "slots" / "data-keys.slots", ())
    yield opened
    await opened.close()


async def test_a_slot_that_is_withheld_is_given_out_once_it_is_released(slots: SlotFile) -> None:
    slots.withhold({await slots.allocate(KEY) + 1})
    given = await slots.allocate(KEY)
    assert given == 2
    slots.release((1,))
    assert 1 in await slots.allocate_many([KEY] * (slots.size - 2))


async def test_a_slot_that_is_given_out_again_waits_anew(slots: SlotFile) -> None:
    slot, unused = await slots.allocate(KEY), UnusedKeys()
    unused.handed_out(slot, now=0.0)
    await destroy_retired(NoDatabase(([slot],)), slots, unused, 1)  # type: ignore[arg-type]
    assert unused.overdue(now=10_000.0, grace_s=60.0) == frozenset()
    assert slot not in slots.used


async def check_a_key_that_was_handed_out_meanwhile_stays(slots: SlotFile, patch: pytest.MonkeyPatch) -> None:
    slot, unused = await slots.allocate(KEY), UnusedKeys()
    unused.handed_out(slot, now=float("-inf"))

    async def handed_out_meanwhile(*_: object) -> set[int]:
        unused.handed_out(slot, now=float("inf"))
        return set()

    patch.setattr(work, "slots_needed", handed_out_meanwhile)
    parts: Any = SimpleNamespace(
        unused_keys=unused,
        watermark=SimpleNamespace(caught_up=True),
        applier=SimpleNamespace(lock=asyncio.Lock()),
        database=NoDatabase(),
        keys=SimpleNamespace(slots=slots),
    )
    assert await housekeeping.take_back_unused(parts, grace_s=60.0) == 0
    assert slots.read(slot) == KEY


async def test_a_key_that_was_handed_out_meanwhile_stays(slots: SlotFile, monkeypatch: pytest.MonkeyPatch) -> None:
    await check_a_key_that_was_handed_out_meanwhile_stays(slots, monkeypatch)


async def test_looking_only_once_would_be_noticed(slots: SlotFile, monkeypatch: pytest.MonkeyPatch) -> None:
    first: list[frozenset[int]] = []

    def once(self: UnusedKeys, now: float, grace_s: float) -> frozenset[int]:
        if not first:
            first.append(frozenset(self._since))
        return first[0]

    monkeypatch.setattr(UnusedKeys, "overdue", once)
    with pytest.raises(AssertionError):
        await check_a_key_that_was_handed_out_meanwhile_stays(slots, monkeypatch)


# ---------------------------------------------------------------- promises


class Enough(Exception):
    """What comes after it is not looked at."""


async def check_a_note_lifts_the_tombstone_while_nothing_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    parts: Any = SimpleNamespace(
        database=NoDatabase(),
        keys=None,
        forgetting=asyncio.Lock(),
        outbox=NO_OUTBOX,
        indexes=SimpleNamespace(profile=answering(Profile())),
    )

    async def lift(*_: object) -> None:
        assert parts.forgetting.locked()
        done.append("lifted")

    patch.setattr(accounts, "keys_of", answering(UserKeys(b"k" * 32)))
    patch.setattr(keeping, "is_promised", answering(False))
    patch.setattr(keeping, "lift_tombstones", lift)
    patch.setattr(keeping_handlers, "fresh_keys", raising(Enough()))
    with pytest.raises(Enough):
        await keeping_handlers.keep_note(KeepNote(user_id=USER, text="a note"), parts)
    assert done == ["lifted"]


async def test_a_note_lifts_the_tombstone_while_nothing_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    await check_a_note_lifts_the_tombstone_while_nothing_is_forgotten(monkeypatch)


async def test_lifting_it_before_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    @asynccontextmanager
    async def anytime(*_: object) -> AsyncIterator[NoDatabase]:
        yield NoDatabase()

    monkeypatch.setattr(keeping_handlers, "undisturbed", anytime)
    with pytest.raises(AssertionError):
        await check_a_note_lifts_the_tombstone_while_nothing_is_forgotten(monkeypatch)


async def test_another_users_forgetting_that_fails_keeps_nobody_from_writing(monkeypatch: pytest.MonkeyPatch) -> None:
    promised = iter((True, False))

    async def is_promised(*_: object) -> bool:
        return next(promised)

    monkeypatch.setattr(keeping, "is_promised", is_promised)
    monkeypatch.setattr(forgetting, "finish_promised", raising(Unavailable("another user's")))
    parts: Any = SimpleNamespace(forgetting=asyncio.Lock(), database=NoDatabase(), outbox=NO_OUTBOX)
    async with undisturbed(parts, USER) as driver:
        assert driver is not None


async def test_a_promise_that_cannot_be_kept_yet_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[int] = []

    async def finish(promise: int, *_: object) -> None:
        if promise == 1:
            raise Unavailable("the database is away")
        kept.append(promise)

    monkeypatch.setattr(forgetting, "_finish", finish)
    monkeypatch.setattr(forgetting_rows, "promised", answering([(1, "memory"), (2, "keys"), (3, "everything")]))
    parts: Any = SimpleNamespace(forgetting=asyncio.Lock(), database=NoDatabase())
    with pytest.raises(Unavailable):
        await forgetting.finish_promised(parts)
    assert kept == [2, 3]
