"""Tests of the tests of forgetting: each check must fail when what upholds its guarantee is taken away."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from libs.shared.bus.memory import MemoryBroker
from libs.shared.errors import ServiceError
from libs.shared.sealing import Unreadable
from services.persistence import forgetting, taking
from services.persistence.repositories import forgetting as forgetting_rows
from services.persistence.repositories import removal, work
from services.persistence.repositories import turns as turn_rows
from services.persistence.slot_file import KeyGone, SlotFile
from tests.integration.persistence import test_forgetting as tests
from tests.support.persistence import Client, RunningPersistence

Mutation = Callable[[pytest.MonkeyPatch], None]
Check = Callable[[Client, RunningPersistence, MemoryBroker, pytest.MonkeyPatch], Awaitable[None]]
FAILURES = (AssertionError, pytest.fail.Exception, ServiceError, KeyGone, Unreadable)


def answer(value: Any) -> Callable[..., Awaitable[Any]]:
    """A coroutine function that does nothing and answers ``value``."""

    async def answering(*_: Any, **__: Any) -> Any:
        return value

    return answering


def keep_the_keys(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SlotFile, "destroy", answer(0))


def keep_the_stream(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(forgetting, "_erase", answer(True))


def keep_the_mentions(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(removal, "remove_mentions", answer(1))


def keep_the_recalled(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(removal._UNRECALL, "fetch", answer([]))


def keep_the_facts(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(removal, "facts_without_source", answer([]))


def leave_the_ends(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(taking, "ends_without", lambda *_: ())


def seal_nothing_anew(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(taking, "_seal_anew", answer(None))


def bury_nothing(patch: pytest.MonkeyPatch) -> None:
    real = turn_rows.load_known

    async def load_known(*arguments: Any) -> turn_rows.Known:
        known = await real(*arguments)
        return turn_rows.Known(**(vars(known) | {"forgotten": False}))

    patch.setattr(turn_rows, "load_known", load_known)


def forget_anybodys(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(removal, "scope_of", answer("memory"))


def destroy_before_the_commit(patch: pytest.MonkeyPatch) -> None:
    """As if what a row still needs until the commit were overwritten before it."""
    real = taking.take

    async def take(driver: Any, promise: Any, parts: Any) -> taking.Taken:
        taken = await real(driver, promise, parts)
        await parts.keys.slots.destroy(taken.slots)
        return taken

    patch.setattr(forgetting, "take", take)


def release_at_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(work, "referenced_slots", answer(set()))


def forget_the_promise(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(forgetting_rows, "promised", answer([]))


MUTATIONS: list[tuple[Mutation, Check]] = [
    (keep_the_keys, lambda c, p, b, _: tests.check_a_forgotten_conversation_leaves_nothing(c, p, b)),
    (keep_the_stream, lambda c, p, b, _: tests.check_a_forgotten_conversation_leaves_nothing(c, p, b)),
    (keep_the_facts, lambda c, p, b, _: tests.check_a_forgotten_conversation_leaves_nothing(c, p, b)),
    (keep_the_mentions, lambda c, p, _, __: tests.check_nothing_names_a_forgotten_memory(c, p)),
    (keep_the_recalled, lambda c, p, _, __: tests.check_nothing_names_a_forgotten_memory(c, p)),
    (leave_the_ends, lambda c, p, _, __: tests.check_superseded_facts_get_the_end_they_would_have(c, p)),
    (seal_nothing_anew, lambda c, p, _, __: tests.check_what_stays_of_a_turn_reads_on(c, p)),
    (bury_nothing, lambda c, p, _, __: tests.check_a_late_turn_stays_forgotten(c, p)),
    (bury_nothing, lambda c, p, _, __: tests.check_a_turn_that_went_whole_does_not_come_back(c, p)),
    (forget_anybodys, lambda c, p, _, __: tests.check_only_the_owner_forgets(c, p)),
    (
        destroy_before_the_commit,
        lambda c, p, _, m: tests.check_a_forgetting_that_was_cut_short_is_finished(
            c, p, m, "memory", "before the promise knows what went"
        ),
    ),
    (
        forget_the_promise,
        lambda c, p, _, m: tests.check_a_forgetting_that_was_cut_short_is_finished(
            c, p, m, "conversation", "before the keys"
        ),
    ),
    (
        release_at_once,
        lambda c, p, _, m: tests.check_a_slot_of_an_unfinished_forgetting_is_given_to_nobody(c, p, m),
    ),
]


@pytest.mark.parametrize(("mutation", "check"), MUTATIONS, ids=[mutation.__name__ for mutation, _ in MUTATIONS])
async def test_the_check_notices(
    mutation: Mutation,
    check: Check,
    client: Client,
    persistence: RunningPersistence,
    broker: MemoryBroker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patched:
        mutation(patched)
        with pytest.raises(FAILURES):
            await check(client, persistence, broker, monkeypatch)
