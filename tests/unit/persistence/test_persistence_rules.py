"""Decisions of persistence: pure, and so tested without a database."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import asyncpg
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
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
from services.persistence.postgres import SchemaMismatch, Statement, decode_vector, encode_vector, judge_schema, refusal
from services.persistence.postings import BLOCK_POSTINGS, POSTING_BYTES, Block, append, pack
from services.persistence.repositories.sessions import Use, judge_use
from services.persistence.repositories.turns import Known
from services.persistence.scoring import bm25, without
from services.persistence.sealing import UserKeys
from services.persistence.tables import RefreshFamilyRow, RefreshTokenRow, UserRow
from services.persistence.unused_keys import UnusedKeys
from services.persistence.watermark import Watermark

NOW = datetime(2026, 3, 1, tzinfo=UTC)
KNOWN = Known(1, False, False, "u", "newest", frozenset({"older"}))


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


# ---------------------------------------------------------------- postings


@given(st.integers(0, 3 * BLOCK_POSTINGS), st.integers(0, 3 * BLOCK_POSTINGS))
@settings(max_examples=50, deadline=None)
def test_appended_postings_fill_blocks_in_order(first: int, second: int) -> None:
    blocks: dict[int, bytes] = {}
    postings = [(number, 1, 5) for number in range(first + second)]
    for part in (postings[:first], postings[first:]):
        last = Block(max(blocks), blocks[max(blocks)]) if blocks else None
        blocks |= {block.block: block.postings for block in append(last, pack(part))} if part else {}
    assert b"".join(blocks[i] for i in sorted(blocks)) == pack(postings)
    assert all(len(content) <= BLOCK_POSTINGS * POSTING_BYTES for content in blocks.values())
    assert len(blocks) == math.ceil((first + second) / BLOCK_POSTINGS)


def test_removed_documents_leave_the_others_as_they_were() -> None:
    packed = pack([(1, 2, 3), (5, 1, 9), (70_000, 4, 65_535)])
    assert without(packed, [5, 6]) == pack([(1, 2, 3), (70_000, 4, 65_535)])


def test_counts_beyond_the_format_are_cut() -> None:
    assert pack([(1, 70_000, 80_000)]) == pack([(1, 65_535, 65_535)])


def _reference(documents: list[list[str]], query: set[str]) -> list[float]:
    """BM25 written down as in the paper, one document at a time."""
    mean = sum(map(len, documents)) / max(len(documents), 1)
    scores = []
    for document in documents:
        counts, score = Counter(document), 0.0
        for term in query & set(counts):
            n = sum(term in other for other in documents)
            idf = math.log(1 + (len(documents) - n + 0.5) / (n + 0.5))
            score += idf * counts[term] * 2.2 / (counts[term] + 1.2 * (0.25 + 0.75 * len(document) / mean))
        scores.append(score)
    return scores


@given(
    st.lists(st.lists(st.sampled_from("abcdef"), max_size=12), min_size=1, max_size=30),
    st.sets(st.sampled_from("abcxy")),
)
@settings(deadline=None)
def test_scores_equal_the_formula(documents: list[list[str]], query: set[str]) -> None:
    postings = {
        term.encode(): [pack((i, words.count(term), len(words)) for i, words in enumerate(documents) if term in words)]
        for term in query
    }
    scores = bm25(postings, documents=len(documents), tokens=sum(map(len, documents)))
    wanted = _reference(documents, query)
    np.testing.assert_allclose([scores.of(i) for i in range(len(documents))], wanted, rtol=1e-9)
    best = sorted((i for i, score in enumerate(wanted) if score > 0), key=lambda i: (-round(wanted[i], 9), i))
    got = scores.best(5)
    np.testing.assert_allclose([wanted[i] for i in got], [wanted[i] for i in best[:5]], rtol=1e-9)
    assert set(scores.best(30, excluded=got)).isdisjoint(got)


def test_two_users_hashes_of_a_term_differ() -> None:
    one, two = UserKeys(b"1" * 32), UserKeys(b"2" * 32)
    assert one.hash_term("chat") == one.hash_term("chat") != two.hash_term("chat")
    assert "111" not in repr(one)


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=20))
def test_vectors_survive_the_databases_format(numbers: list[float]) -> None:
    value = np.array(numbers, dtype="<f4").tobytes()
    assert decode_vector(encode_vector(value)) == value


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


@pytest.mark.parametrize("revision", [None, "0000", "0002", "9999"])
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
