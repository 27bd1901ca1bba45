"""Tests of the tests: each guarantee's check must fail when what upholds the guarantee is taken away."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from libs.shared.bus.memory import MemoryBroker
from libs.shared.errors import ServiceError
from services.persistence import applying
from services.persistence.applying import TurnApplier, Verdict
from services.persistence.handlers import accounts as account_handlers
from services.persistence.repositories import accounts, work
from services.persistence.repositories.sessions import Use, judge_use
from services.persistence.watermark import Watermark
from tests.integration.persistence import test_keeping_accounts as account_tests
from tests.integration.persistence import test_keeping_turns as turn_tests
from tests.support.persistence import Client, RunningPersistence

Mutation = Callable[[pytest.MonkeyPatch], None]
Check = Callable[[Client, RunningPersistence, MemoryBroker, pytest.MonkeyPatch], Awaitable[None]]
FAILURES = (AssertionError, pytest.fail.Exception, ServiceError)


async def _nothing(*_: Any, **__: Any) -> None:
    return None


def apply_again(patch: pytest.MonkeyPatch) -> None:
    real = applying.judge
    patch.setattr(
        applying, "judge", lambda turn, known: v if (v := real(turn, known)) is not Verdict.DUPLICATE else Verdict.KEEP
    )


def never_wait(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Watermark, "wait_for", _nothing)


def leave_the_watermark(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Watermark, "advance", lambda *_: None)


def trust_every_key(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(TurnApplier, "_read", lambda *_: (Verdict.KEEP, {}))


def get_stuck_on_poison(patch: pytest.MonkeyPatch) -> None:
    async def set_aside(*_: Any) -> Verdict:
        raise RuntimeError("not set aside")

    patch.setattr(TurnApplier, "_set_aside", set_aside)


def forget_which_keys_are_used(patch: pytest.MonkeyPatch) -> None:
    async def none(*_: Any) -> set[int]:
        return set()

    patch.setattr(work, "slots_needed", none)
    patch.setattr(TurnApplier, "_tell", lambda *_: None)


def forgive_reuse(patch: pytest.MonkeyPatch) -> None:
    def judge(*arguments: Any) -> Use:
        use = judge_use(*arguments)
        return Use.ENDED if use is Use.REUSED else use

    patch.setattr(account_handlers, "judge_use", judge)


def spare_no_admin(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(accounts, "keep_an_admin", _nothing)


MUTATIONS: list[tuple[Mutation, Check]] = [
    (apply_again, lambda c, p, _, __: turn_tests.test_a_redelivered_turn_is_kept_once(p, c)),
    (never_wait, lambda c, p, _, __: turn_tests.test_a_reader_sees_the_turn_that_is_still_being_applied(p, c)),
    (leave_the_watermark, lambda c, _, __, ___: turn_tests.test_a_kept_turn_is_readable_by_who_waits_for_it(c)),
    (
        trust_every_key,
        lambda c, p, _, __: turn_tests.test_a_turn_under_a_wrong_key_is_set_aside_and_the_next_is_kept(c, p),
    ),
    (
        get_stuck_on_poison,
        lambda c, p, _, __: turn_tests.test_values_that_the_database_refuses_are_set_aside_whole(c, p),
    ),
    (
        forget_which_keys_are_used,
        lambda c, p, _, __: turn_tests.test_a_key_whose_turn_never_came_is_taken_back_and_a_used_one_is_not(p, c),
    ),
    (
        forgive_reuse,
        lambda c, _, __, ___: account_tests.test_a_refresh_token_works_once_and_its_reuse_ends_the_session(c),
    ),
    (spare_no_admin, lambda c, _, __, ___: account_tests.test_the_last_admin_stays(c)),
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
