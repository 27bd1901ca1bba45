"""Tests of the tests of memories: each check must fail when what upholds its guarantee is taken away."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from libs.shared.errors import ServiceError
from services.persistence import applying, underived
from services.persistence.handlers import keeping as keeping_handlers
from services.persistence.postgres import Statement
from services.persistence.repositories import conversations, facts, keeping, memories, segments
from services.persistence.repositories import forgetting as forgetting_rows
from services.persistence.repositories import turns as turn_rows
from tests.integration.persistence import test_editing_memories as editing
from tests.integration.persistence import test_importing_turns as importing
from tests.integration.persistence import test_keeping_documents as documents
from tests.integration.persistence import test_keeping_facts as fact_tests
from tests.support.persistence import Client, RunningPersistence

Mutation = Callable[[pytest.MonkeyPatch, RunningPersistence], None]
Check = Callable[[Client, RunningPersistence], Awaitable[None]]
FAILURES = (AssertionError, pytest.fail.Exception, ServiceError, ValueError)


async def _nothing(*_: Any, **__: Any) -> None:
    return None


def _rewrite(patch: pytest.MonkeyPatch, statement: Statement, before: str, after: str) -> None:
    assert before in statement.sql, "the mutation no longer bites"
    patch.setattr(statement, "sql", statement.sql.replace(before, after))


def read_anybodys(patch: pytest.MonkeyPatch, _: RunningPersistence) -> None:
    _rewrite(patch, memories._BY_ORDINAL, "WHERE m.user_id = $2", "WHERE $2 <> ''")


def know_no_source(patch: pytest.MonkeyPatch, _: RunningPersistence) -> None:
    patch.setattr(keeping_handlers, "source_hash", lambda *_: os.urandom(16))


class _NoLock:
    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, *_: object) -> None:
        return None


def write_side_by_side(_: pytest.MonkeyPatch, persistence: RunningPersistence) -> None:
    object.__setattr__(persistence.parts, "forgetting", _NoLock())


def keep_tombstones(patch: pytest.MonkeyPatch, _: RunningPersistence) -> None:
    patch.setattr(keeping._LIFT, "fetch", _nothing)


def link_as_they_come(patch: pytest.MonkeyPatch, _: RunningPersistence) -> None:
    patch.setattr(keeping._CHAIN, "fetch", _nothing)


def keep_old_keys(patch: pytest.MonkeyPatch, _: RunningPersistence) -> None:
    patch.setattr(underived, "destroy_retired", _nothing)


def keep_what_was_derived(patch: pytest.MonkeyPatch, _: RunningPersistence) -> None:
    patch.setattr(underived, "take_derived", _nothing)


def index_any_version(patch: pytest.MonkeyPatch, _: RunningPersistence) -> None:
    _rewrite(patch, segments._OWNED, "asked.version IS NULL OR asked.version = m.slot", "true")


def keep_sources_of_facts(patch: pytest.MonkeyPatch, _: RunningPersistence) -> None:
    patch.setattr(underived._UNLINK, "fetch", _nothing)


def count_anybodys(patch: pytest.MonkeyPatch, _: RunningPersistence) -> None:
    _rewrite(patch, turn_rows._KEEP, "WHERE user_id = $2 AND message_id = ANY", "WHERE message_id = ANY")


def count_nothing(patch: pytest.MonkeyPatch, _: RunningPersistence) -> None:
    _rewrite(patch, turn_rows._KEEP, "uses = state.uses + 1", "uses = state.uses")


def remember_everything(patch: pytest.MonkeyPatch, _: RunningPersistence) -> None:
    patch.setattr(applying, "is_remembered", lambda *_: True)


def keep_the_replaced(patch: pytest.MonkeyPatch, _: RunningPersistence) -> None:
    patch.setattr(forgetting_rows, "promise", _nothing)


def change_anybodys_facts(patch: pytest.MonkeyPatch, _: RunningPersistence) -> None:
    _rewrite(patch, facts._KNOWN, "user_id = $1 AND", "$1 <> '' AND")
    _rewrite(patch, facts._CHANGE, "AND f.user_id = $5", "AND $5 <> ''")


def draw_on_anybodys(patch: pytest.MonkeyPatch, _: RunningPersistence) -> None:
    _rewrite(patch, facts._SOURCES, "m.user_id = $3 AND", "$3 <> '' AND")


def draw_on_what_is_not_remembered(patch: pytest.MonkeyPatch, _: RunningPersistence) -> None:
    _rewrite(patch, facts._SOURCES, "AND c.remembered", "")


def show_notes_as_conversations(patch: pytest.MonkeyPatch, _: RunningPersistence) -> None:
    patch.setattr(conversations, "TALKS", ("chat", "import", "notes"))


def draw_on_any_version(patch: pytest.MonkeyPatch, _: RunningPersistence) -> None:
    _rewrite(patch, facts._SOURCES, "(drawn.version IS NULL OR drawn.version = m.slot)", "true")


def hold_no_source(patch: pytest.MonkeyPatch, _: RunningPersistence) -> None:
    _rewrite(patch, facts._SOURCES, "FOR SHARE OF m", "")
    _rewrite(patch, facts._HOLD_USER, "FOR KEY SHARE", "")


MUTATIONS: list[tuple[Mutation, Check]] = [
    (read_anybodys, importing.check_nobody_reads_anothers_memories),
    (know_no_source, importing.test_the_same_id_is_imported_once),
    (write_side_by_side, importing.check_imports_at_once_keep_each_once),
    (keep_tombstones, lambda c, _: importing.test_what_was_forgotten_can_be_imported_again(c)),
    (link_as_they_come, lambda c, _: importing.test_turns_that_come_late_take_their_place_in_the_conversation(c)),
    (show_notes_as_conversations, lambda c, _: importing.test_notes_are_kept_together_and_are_no_conversation(c)),
    (keep_old_keys, editing.check_an_edit_leaves_nothing_of_the_old_text),
    (keep_what_was_derived, editing.check_an_edit_leaves_nothing_of_the_old_text),
    (index_any_version, editing.check_what_was_read_before_an_edit_is_not_indexed_after_it),
    (keep_what_was_derived, editing.check_what_is_no_longer_remembered_is_not_found),
    (remember_everything, editing.check_what_is_no_longer_remembered_is_not_found),
    (count_anybodys, editing.check_a_turn_counts_what_it_recalled),
    (count_nothing, editing.check_a_turn_counts_what_it_recalled),
    (keep_the_replaced, documents.check_a_newer_document_of_the_name_replaces_the_older),
    (keep_what_was_derived, fact_tests.check_an_edit_takes_back_what_was_drawn_from_the_old_text),
    (keep_sources_of_facts, fact_tests.check_an_edit_takes_back_what_was_drawn_from_the_old_text),
    (change_anybodys_facts, lambda c, _: fact_tests.test_nobody_finds_or_changes_anothers_facts(c)),
    (draw_on_anybodys, lambda c, _: fact_tests.test_a_fact_without_a_source_that_exists_is_passed_over(c)),
    (
        draw_on_what_is_not_remembered,
        fact_tests.test_facts_of_a_conversation_that_is_no_longer_remembered_go_and_none_come,
    ),
    (draw_on_any_version, fact_tests.check_facts_of_a_text_that_was_edited_meanwhile_are_not_kept),
    (hold_no_source, fact_tests.check_a_source_stays_until_its_facts_are_kept),
]


@pytest.mark.parametrize(("mutation", "check"), MUTATIONS, ids=[mutation.__name__ for mutation, _ in MUTATIONS])
async def test_the_check_notices(
    mutation: Mutation,
    check: Check,
    client: Client,
    persistence: RunningPersistence,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patched:
        mutation(patched, persistence)
        with pytest.raises(FAILURES):
            await check(client, persistence)
