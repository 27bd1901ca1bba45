"""Tests of the tests: each guarantee of the index is checked by something that fails when it is taken away."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from libs.shared.errors import ServiceError
from libs.shared.sealing import Unreadable
from services.persistence import segment_store
from services.persistence.indexes import Indexes
from services.persistence.memory_index import MemoryIndex
from services.persistence.nearest import Vectors
from services.persistence.repositories import segments as rows
from services.persistence.segment_store import SegmentStore
from services.persistence.segments import TermRows
from services.persistence.slot_file import SlotFile
from services.persistence.unindexed import Unindexed
from tests.integration.persistence import test_finding_memories as finding
from tests.support.persistence import Client, RunningPersistence

Mutation = Callable[[pytest.MonkeyPatch], None]
Check = Callable[[Client, RunningPersistence, pytest.MonkeyPatch], Awaitable[None]]
FAILURES = (AssertionError, pytest.fail.Exception, ServiceError, Unreadable, ValueError)


async def _nothing(*_: Any, **__: Any) -> None:
    return None


def drop_the_seal(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(segment_store, "seal", lambda _key, plain: plain)
    patch.setattr(segment_store, "unseal", lambda _key, sealed: sealed)


def skip_the_rewrite(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SegmentStore, "_rewrite", _nothing)


def keep_the_old_keys(patch: pytest.MonkeyPatch) -> None:
    async def destroy(_: SlotFile, slots: frozenset[int]) -> int:
        return len(slots)

    patch.setattr(SlotFile, "destroy", destroy)


def show_the_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Indexes, "forgotten", lambda *_: None)


def leave_the_neighbours(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemoryIndex, "settle", lambda *_: None)


def take_anyones_rows(patch: pytest.MonkeyPatch) -> None:
    real = rows.owned

    async def owned(driver: Any, user_id: str, message_ids: Any, embedder: str | None) -> dict[str, rows.Owned]:
        owner = await driver.fetchval("SELECT user_id FROM messages WHERE message_id = ANY($1)", list(message_ids))
        return await real(driver, owner or user_id, message_ids, embedder)

    patch.setattr(rows, "owned", owned)


def search_in_one_for_all(patch: pytest.MonkeyPatch) -> None:
    real = Indexes._entry
    patch.setattr(Indexes, "_entry", lambda self, _user_id: real(self, "anyone"))
    patch.setattr(Indexes, "_held", _held_for_all(Indexes._held))


def _held_for_all(real: Any) -> Any:
    return lambda self, _user_id: real(self, "anyone")


def never_join(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Indexes, "_merge_soon", lambda *_: None)


def join_without_reading(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(segment_store, "_joined", lambda contents: contents[0])


def keep_the_order_of_arrival(patch: pytest.MonkeyPatch) -> None:
    real = MemoryIndex._in_order

    def in_order(self: MemoryIndex, chosen: Any) -> Any:
        numbers, of = real(self, chosen)
        order = sorted(range(len(numbers)), key=lambda i: (of[i], numbers[i]))
        return numbers[order], of[order]

    patch.setattr(MemoryIndex, "_in_order", in_order)


def forget_the_vectors(patch: pytest.MonkeyPatch) -> None:
    real = SegmentStore.write

    async def write(self: SegmentStore, driver: Any, user_id: str, user: Any, embedder: str, content: Any) -> None:
        if isinstance(content, TermRows):
            await real(self, driver, user_id, user, embedder, content)

    patch.setattr(SegmentStore, "write", write)


def round_the_vectors(patch: pytest.MonkeyPatch) -> None:
    real = Vectors.put

    def put(self: Vectors, numbers: Any, matrix: Any, size: int) -> None:
        real(self, numbers, matrix.round(0), size)

    patch.setattr(Vectors, "put", put)


def load_for_everyone(patch: pytest.MonkeyPatch) -> None:
    async def opened(self: Indexes, user_id: str) -> MemoryIndex:
        return (await self._read(user_id))[0]

    patch.setattr(Indexes, "_opened", opened)


def give_nothing_up(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Indexes, "_make_room", lambda *_: None)


def leave_the_lost(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Indexes, "_give_up", _nothing)


def hide_what_was_just_said(patch: pytest.MonkeyPatch) -> None:
    async def fresh(*_: Any) -> list[int]:
        return []

    patch.setattr(rows, "fresh", fresh)


def miss_what_is_committed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Unindexed, "committed", lambda _: None)


def load_without_looking_back(patch: pytest.MonkeyPatch) -> None:
    real = Indexes.forgotten

    def forgotten(self: Indexes, user_id: str, ordinals: Any) -> None:
        if self._entries[user_id].index is not None:
            real(self, user_id, ordinals)

    patch.setattr(Indexes, "forgotten", forgotten)


def check(name: str) -> Check:
    test = getattr(finding, name)

    async def run(client: Client, persistence: RunningPersistence, patch: pytest.MonkeyPatch) -> None:
        names = test.__code__.co_varnames[: test.__code__.co_argcount]
        given = {"client": client, "persistence": persistence, "monkeypatch": patch}
        await test(**{name: given[name] for name in names})

    return run


MUTATIONS: list[tuple[Mutation, str]] = [
    (drop_the_seal, "test_no_segment_opens_with_another_key"),
    (skip_the_rewrite, "test_forgetting_rewrites_only_what_it_touches"),
    (keep_the_old_keys, "test_forgetting_rewrites_only_what_it_touches"),
    (keep_the_old_keys, "test_small_segments_are_joined_under_a_fresh_key"),
    (show_the_forgotten, "test_forgetting_rewrites_only_what_it_touches"),
    (leave_the_neighbours, "test_forgetting_rewrites_only_what_it_touches"),
    (take_anyones_rows, "test_a_message_of_another_user_is_not_indexed"),
    (search_in_one_for_all, "test_nobody_finds_anothers"),
    (never_join, "test_small_segments_are_joined_under_a_fresh_key"),
    (join_without_reading, "test_small_segments_are_joined_under_a_fresh_key"),
    (keep_the_order_of_arrival, "test_a_turn_between_two_others_changes_what_stands_around"),
    (forget_the_vectors, "test_what_was_indexed_is_found_after_a_restart"),
    (round_the_vectors, "test_every_candidate_has_both_scores"),
    (load_for_everyone, "test_one_load_serves_all_who_wait"),
    (give_nothing_up, "test_the_longest_unused_index_makes_room"),
    (leave_the_lost, "test_what_no_key_opens_is_asked_for_again"),
    (hide_what_was_just_said, "test_what_was_just_said_comes_until_it_is_indexed"),
    (miss_what_is_committed, "test_what_comes_after_a_search_that_found_nothing_new_is_found"),
    (load_without_looking_back, "test_what_is_forgotten_while_it_is_loaded_does_not_come_back"),
]


@pytest.mark.parametrize(
    ("mutate", "name"), MUTATIONS, ids=[f"{mutate.__name__}-{name[5:]}" for mutate, name in MUTATIONS]
)
async def test_the_check_notices(
    mutate: Mutation,
    name: str,
    client: Client,
    persistence: RunningPersistence,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mutate(monkeypatch)
    with pytest.raises(FAILURES):
        await check(name)(client, persistence, monkeypatch)
