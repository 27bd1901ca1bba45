"""Decisions of persistence: pure, and so tested without a database."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from sqlalchemy.exc import DataError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from libs.shared.contracts.common import Position, SealedText, Speaker
from libs.shared.contracts.turns import KeptMessage, TurnCompleted
from libs.shared.errors import (
    InvalidRequest,
    NotYetApplied,
    Overloaded,
    ServiceError,
    StorageFull,
    Unavailable,
)
from services.persistence.applying import Verdict, attach, judge
from services.persistence.conversation_owners import ConversationOwners
from services.persistence.cursors import decode_cursor, encode_cursor
from services.persistence.postgres import SchemaMismatch, Statement, judge_schema, refusal
from services.persistence.repositories.sessions import Use, judge_use
from services.persistence.repositories.turns import Known
from services.persistence.sealing import UserKeys
from services.persistence.tables import RefreshFamilyRow, RefreshTokenRow, UserRow
from services.persistence.unused_keys import UnusedKeys
from services.persistence.watermark import Watermark

NOW = datetime(2026, 3, 1, tzinfo=UTC)
KNOWN = Known(1, False, False, "u", True, "newest", frozenset({"older"}))


def turn(*parents: str | None, slots: tuple[int, ...] = (7, 7, 7)) -> TurnCompleted:
    messages = tuple(
        KeptMessage(
            message_id=f"m{i}",
            parent_id=parent,
            speaker=Speaker.USER,
            text=SealedText(slot=slot, sealed=b""),
            at=NOW,
        )
        for i, (parent, slot) in enumerate(zip(parents, slots, strict=False))
    )
    return TurnCompleted(
        turn_id="t", user_id="u", conversation_id="c", new_conversation=False, messages=messages, model=None, at=NOW
    )


@pytest.mark.parametrize(
    ("known", "verdict"),
    [
        (KNOWN, Verdict.KEEP),
        (replace(KNOWN, forgotten=True), Verdict.FORGOTTEN),
        (replace(KNOWN, forgotten=True, applied=True), Verdict.FORGOTTEN),
        (replace(KNOWN, applied=True), Verdict.DUPLICATE),
        (replace(KNOWN, key_slot=None), Verdict.UNKNOWN_USER),
        (replace(KNOWN, key_slot=None, forgotten=True), Verdict.FORGOTTEN),
        (replace(KNOWN, conversation_owner="another"), Verdict.FOREIGN_CONVERSATION),
        (replace(KNOWN, conversation_owner=None), Verdict.KEEP),
    ],
)
def test_a_turn_is_judged_by_what_is_known_of_it(known: Known, verdict: Verdict) -> None:
    assert judge(turn(None), known) is verdict


def test_a_turn_sealed_with_two_keys_is_set_aside() -> None:
    assert judge(turn(None, "m0", slots=(7, 8)), KNOWN) is Verdict.SEVERAL_KEYS


@pytest.mark.parametrize(
    ("parents", "attached"),
    [
        ((None, "m0"), ["newest", "m0"]),
        (("older", "m0"), ["older", "m0"]),
        (("lost", "m0"), ["newest", "m0"]),
        ((None, "lost"), ["newest", "m0"]),
        (("older", "older"), ["older", "older"]),
    ],
)
def test_every_message_hangs_on_one_that_exists(parents: tuple[str | None, ...], attached: list[str]) -> None:
    assert [message.parent_id for message in attach(turn(*parents), KNOWN)] == attached


def test_a_new_conversation_begins_with_a_root() -> None:
    known = replace(KNOWN, newest_message_id=None, parents=frozenset())
    assert [message.parent_id for message in attach(turn(None, "m0"), known)] == [None, "m0"]


# ---------------------------------------------------------------- watermark


async def test_a_reader_waits_until_its_position_is_applied() -> None:
    watermark = Watermark("e", 3)
    waiting = asyncio.create_task(watermark.wait_for(Position(epoch="e", sequence=5)))
    await asyncio.sleep(0)
    watermark.advance(Position(epoch="e", sequence=4))
    await asyncio.sleep(0)
    assert not waiting.done()
    watermark.advance(Position(epoch="e", sequence=5))
    async with asyncio.timeout(5):
        await waiting


async def test_a_position_of_another_life_of_the_stream_is_not_waited_for() -> None:
    async with asyncio.timeout(1):
        await Watermark("e", 3).wait_for(Position(epoch="old", sequence=99))


async def test_readers_are_let_go_when_the_stream_begins_a_new_life() -> None:
    watermark = Watermark("e", 3)
    waiting = asyncio.create_task(watermark.wait_for(Position(epoch="e", sequence=99)))
    await asyncio.sleep(0)
    watermark.advance(Position(epoch="new", sequence=1))
    async with asyncio.timeout(1):
        await waiting


async def test_a_position_that_does_not_come_is_refused_in_time() -> None:
    with pytest.raises(NotYetApplied):
        await Watermark("e", 3).wait_for(Position(epoch="e", sequence=4), timeout_s=0.01)


def test_the_watermark_never_goes_back() -> None:
    watermark = Watermark("e", 3)
    watermark.advance(Position(epoch="e", sequence=2))
    assert watermark.sequence == 3


# ---------------------------------------------------------------- keys


def test_two_users_hashes_of_a_term_differ() -> None:
    one, two = UserKeys(b"1" * 32), UserKeys(b"2" * 32)
    assert one.hash_term("chat") == one.hash_term("chat") != two.hash_term("chat")
    assert "111" not in repr(one)


# ---------------------------------------------------------------- the rest


@pytest.mark.parametrize(
    "cursor", ["", "x", "bm9wZQ==", encode_cursor("a"), encode_cursor(1, "a"), encode_cursor("a", 2), "é"]
)
def test_a_cursor_of_another_listing_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidRequest):
        decode_cursor(cursor, str, str)


def test_a_cursor_comes_back_as_it_went() -> None:
    assert decode_cursor(encode_cursor(NOW, "id", 4), datetime, str, int) == (NOW, "id", 4)


class _Failure(Exception):
    def __init__(self, sqlstate: str | None) -> None:
        super().__init__()
        self.sqlstate = sqlstate


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OperationalError("", {}, _Failure("53100")), StorageFull),
        (OperationalError("", {}, _Failure("53300")), Overloaded),
        (OperationalError("", {}, _Failure("57014")), Overloaded),
        (OperationalError("", {}, _Failure("57P01")), Unavailable),
        (OperationalError("", {}, _Failure("08006")), Unavailable),
        (OperationalError("", {}, _Failure(None)), Unavailable),
        (OperationalError("", {}, _Failure("42P01")), None),
        (IntegrityError("", {}, _Failure("23505")), None),
        (DataError("", {}, _Failure("22021")), InvalidRequest),
        (PoolTimeout(), Overloaded),
        (OSError(28, "full"), StorageFull),
        (ConnectionRefusedError(), Unavailable),
        (asyncpg.InternalClientError("cannot switch to state 12"), Unavailable),
        (ValueError(), None),
        (asyncpg.DiskFullError(""), StorageFull),
        (asyncpg.AdminShutdownError(""), Unavailable),
        (asyncpg.QueryCanceledError(""), Overloaded),
        (asyncpg.UniqueViolationError(""), None),
        (asyncpg.CharacterNotInRepertoireError(""), InvalidRequest),
        (asyncpg.InterfaceError("the connection is closed"), Unavailable),
        (asyncpg.exceptions._base.DataError("not an integer"), InvalidRequest),
    ],
)
def test_the_databases_troubles_are_told_in_our_words(error: Exception, told: type[ServiceError] | None) -> None:
    found = refusal(error)
    assert (None if found is None else type(found)) is told


@pytest.mark.parametrize("revision", [None, "0000", "0001", "9999"])
def test_another_schema_is_refused(revision: str | None) -> None:
    with pytest.raises(SchemaMismatch):
        judge_schema(revision)


@pytest.mark.parametrize(
    ("used", "ended", "disabled", "left_s", "use"),
    [
        (False, False, False, 1, Use.VALID),
        (False, False, False, 0, Use.EXPIRED),
        (False, True, False, 1, Use.ENDED),
        (False, False, True, 1, Use.DISABLED),
        (True, False, False, 1, Use.REUSED),
        (True, True, True, 0, Use.REUSED),
    ],
)
def test_a_refresh_token_is_judged(used: bool, ended: bool, disabled: bool, left_s: int, use: Use) -> None:
    token = RefreshTokenRow(used_at=NOW if used else None, expires_at=NOW + timedelta(seconds=left_s))
    family = RefreshFamilyRow(ended_at=NOW if ended else None)
    assert judge_use(token, family, UserRow(disabled=disabled), NOW) is use


def test_unused_keys_are_overdue_by_a_clock_that_does_not_jump() -> None:
    unused = UnusedKeys((1, 2), now=100.0)
    unused.handed_out(3, 150.0)
    unused.used(2)
    assert unused.overdue(161.0, 60.0) == {1}
    assert len(unused) == 2


def test_conversation_owners_stay_few() -> None:
    owners = ConversationOwners(capacity=2)
    for conversation_id in ("a", "b"):
        owners.put(conversation_id, "u")
    assert owners.get("a") == "u"
    owners.put("c", "v")
    assert (owners.get("a"), owners.get("b"), owners.get("c")) == ("u", None, "v")
    owners.drop_user("u")
    assert (owners.get("a"), owners.get("c")) == (None, "v")


def test_a_statement_names_its_parameters_and_casts_stay_casts() -> None:
    statement = Statement("SELECT :one::int, CAST(:two AS bigint), :one")
    assert statement.sql == "SELECT $1::int, CAST($2 AS bigint), $1"


async def test_a_statement_takes_its_own_parameters_alone() -> None:
    with pytest.raises(TypeError):
        await Statement("SELECT :one").fetch(None, one=1, two=2)
