"""Thumbs and consents: one's own alone, off until they are given, gone with what they were given for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from libs.shared.contracts.conversations import (
    CHANGE_CONVERSATION,
    DELETE_CONVERSATION,
    READ_CONVERSATION,
    ChangeConversation,
    ConversationRef,
    ReadConversation,
)
from libs.shared.contracts.keeping import REWRITE_MEMORY, RewriteMemory
from libs.shared.contracts.memory import FORGET_MEMORY, MemoryRef
from libs.shared.contracts.ratings import (
    LIST_CONSENTS,
    LIST_RATINGS,
    RATE_TURN,
    SET_CONSENT,
    Consents,
    ListConsents,
    ListRatings,
    RateTurn,
    Rating,
    SetConsent,
    Thumb,
    TrainingChoices,
)
from libs.shared.errors import ConversationNotFound, ServiceError, TurnNotFound, UserNotFound
from services.persistence.postgres import Statement
from services.persistence.repositories import ratings
from tests.support.persistence import START, Client, RunningPersistence, imported, new_id
from tests.support.trained import allow, choose, talk


async def rate(client: Client, user_id: str, turn_id: str, thumb: Thumb | None = Thumb.UP) -> Rating | None:
    request = RateTurn(user_id=user_id, turn_id=turn_id, thumb=thumb)
    return (await client.bus.request(RATE_TURN, request)).rating


async def rated(client: Client, user_id: str, **more: Any) -> dict[str, str]:
    """Thumbs by turn."""
    found = await client.bus.request(LIST_RATINGS, ListRatings(user_id=user_id, **more))
    return {rating.turn_id: rating.thumb.value for rating in found.ratings}


async def consents(client: Client, user_id: str, **more: Any) -> Consents:
    return await client.bus.request(LIST_CONSENTS, ListConsents(user_id=user_id, **more))


async def allowed(client: Client, user_id: str) -> set[str]:
    found = await consents(client, user_id, allowed=True)
    return {one.conversation_id for one in found.conversations}


# ---------------------------------------------------------------- thumbs


async def test_a_thumb_is_given_turned_round_and_taken_back(client: Client, persistence: RunningPersistence) -> None:
    user_id = await client.user()
    turn = await talk(client, persistence, user_id, "c")
    first = await rate(client, user_id, turn.turn_id)
    assert first is not None
    assert (first.thumb, first.conversation_id) == (Thumb.UP, "c")
    assert await rate(client, user_id, turn.turn_id) == first
    assert await rate(client, user_id, turn.messages[1].message_id) == first
    turned = await rate(client, user_id, turn.turn_id, Thumb.DOWN)
    assert turned is not None
    assert turned.at > first.at
    assert await rated(client, user_id) == {turn.turn_id: "down"}
    for _ in range(2):
        assert await rate(client, user_id, turn.turn_id, None) is None
    assert await rated(client, user_id) == {}


async def test_thumbs_are_listed_newest_first_a_page_at_a_time(client: Client, persistence: RunningPersistence) -> None:
    user_id = await client.user()
    turns = [await talk(client, persistence, user_id, f"c{n}") for n in range(3)]
    for turn, thumb in zip(turns, (Thumb.UP, Thumb.DOWN, Thumb.UP), strict=True):
        await rate(client, user_id, turn.turn_id, thumb)
    first = await client.bus.request(LIST_RATINGS, ListRatings(user_id=user_id, limit=2))
    assert [rating.turn_id for rating in first.ratings] == [turns[2].turn_id, turns[1].turn_id]
    rest = await client.bus.request(LIST_RATINGS, ListRatings(user_id=user_id, limit=2, cursor=first.next_cursor))
    assert [rating.turn_id for rating in rest.ratings] == [turns[0].turn_id]
    assert rest.next_cursor is None
    assert await rated(client, user_id, thumb=Thumb.DOWN) == {turns[1].turn_id: "down"}


async def check_only_ones_own_answers_are_rated(client: Client, persistence: RunningPersistence) -> None:
    user_id, other = await client.user(), await client.user()
    turn = await talk(client, persistence, user_id, "c")
    for named in (turn.turn_id, turn.messages[1].message_id):
        for thumb in (Thumb.UP, None):
            with pytest.raises(TurnNotFound):
                await rate(client, other, named, thumb)
    assert await rated(client, user_id) == await rated(client, other) == {}


async def test_only_ones_own_answers_are_rated(client: Client, persistence: RunningPersistence) -> None:
    await check_only_ones_own_answers_are_rated(client, persistence)


async def test_the_check_notices_another_users_rating(
    client: Client, persistence: RunningPersistence, monkeypatch: pytest.MonkeyPatch
) -> None:
    anybodys = ratings.RATABLE_SQL.replace("t.user_id = :user_id", "t.user_id <> :user_id")
    monkeypatch.setattr(ratings, "_RATABLE", Statement(anybodys.replace("AND user_id = :user_id", "")))
    with pytest.raises((pytest.fail.Exception, AssertionError)):
        await check_only_ones_own_answers_are_rated(client, persistence)


async def test_what_is_no_answer_has_no_thumb(client: Client, persistence: RunningPersistence) -> None:
    user_id = await client.user()
    kept = await client.import_turns(user_id, imported("t1", "hello", speaker="assistant"))
    question = await talk(client, persistence, user_id, "c", "is anybody there?")
    note = await client.note(user_id, "a note")
    for named in (kept.items[0].id, note.id, question.turn_id, new_id()):
        with pytest.raises(TurnNotFound):
            await rate(client, user_id, named)


async def test_a_thumb_goes_with_what_it_was_given_for(client: Client, persistence: RunningPersistence) -> None:
    user_id = await client.user()
    turns = [await talk(client, persistence, user_id, f"c{n}") for n in range(4)]
    for turn in turns:
        await rate(client, user_id, turn.turn_id)
    await client.bus.request(DELETE_CONVERSATION, ConversationRef(user_id=user_id, conversation_id="c0"))
    await client.bus.request(FORGET_MEMORY, MemoryRef(user_id=user_id, id=turns[1].messages[0].message_id))
    edit = RewriteMemory(user_id=user_id, id=turns[2].messages[1].message_id, text="a Pi 4")
    await client.cognition.request(REWRITE_MEMORY, edit)
    assert await rated(client, user_id) == {turns[3].turn_id: "up"}


async def test_a_conversation_names_the_turns_that_can_be_rated(
    client: Client, persistence: RunningPersistence
) -> None:
    user_id = await client.user()
    turn = await talk(client, persistence, user_id, "c")
    request = ReadConversation(user_id=user_id, conversation_id="c")
    read = await client.bus.request(READ_CONVERSATION, request)
    assert {message.turn_id for message in read.messages} == {turn.turn_id}


# ---------------------------------------------------------------- consents


async def test_nothing_may_be_trained_on_until_it_is_allowed(client: Client, persistence: RunningPersistence) -> None:
    user_id = await client.user()
    turn = await talk(client, persistence, user_id, "c")
    await rate(client, user_id, turn.turn_id)
    found = await consents(client, user_id)
    assert found.choices == TrainingChoices(future=False, future_since=None, share_adapters=False)
    (one,) = found.conversations
    assert (one.conversation_id, one.allowed, one.decided, one.messages) == ("c", False, False, 2)


async def test_a_conversation_is_allowed_and_withdrawn(client: Client, persistence: RunningPersistence) -> None:
    user_id = await client.user()
    for where in ("c1", "c2"):
        await talk(client, persistence, user_id, where)
    await client.bus.request(
        CHANGE_CONVERSATION, ChangeConversation(user_id=user_id, conversation_id="c1", title="Boards")
    )
    given = await client.bus.request(SET_CONSENT, SetConsent(user_id=user_id, conversation_id="c1", allowed=True))
    assert (given.consent.title, given.consent.allowed, given.consent.decided) == ("Boards", True, True)
    again = await client.bus.request(SET_CONSENT, SetConsent(user_id=user_id, conversation_id="c1", allowed=True))
    assert again == given
    assert await allowed(client, user_id) == {"c1"}
    await allow(client, user_id, "c1", False)
    assert await allowed(client, user_id) == set()


async def test_the_default_is_for_conversations_that_begin_after_it(
    client: Client, persistence: RunningPersistence
) -> None:
    user_id = await client.user()
    await talk(client, persistence, user_id, "before", at=START)
    on = await choose(client, user_id, future=True)
    assert on.future_since is not None
    later = on.future_since + timedelta(minutes=1)
    for where in ("after", "refused"):
        await talk(client, persistence, user_id, where, at=later)
    assert await choose(client, user_id, future=True) == on
    await allow(client, user_id, "refused", False)
    assert await allowed(client, user_id) == {"after"}
    assert (await choose(client, user_id, future=False)).future_since is None
    assert await allowed(client, user_id) == set()


async def test_what_is_not_remembered_is_not_trained_on(client: Client, persistence: RunningPersistence) -> None:
    user_id = await client.user()
    await talk(client, persistence, user_id, "c")
    await allow(client, user_id, "c")
    for remembered in (False, True):
        change = ChangeConversation(user_id=user_id, conversation_id="c", remembered=remembered)
        await client.bus.request(CHANGE_CONVERSATION, change)
        assert await allowed(client, user_id) == ({"c"} if remembered else set())


async def test_others_may_use_adapters_only_once_that_is_said(client: Client, persistence: RunningPersistence) -> None:
    user_id = await client.user()
    assert (await choose(client, user_id, share_adapters=True)).share_adapters
    assert (await choose(client, user_id, future=True)).share_adapters
    assert not (await choose(client, user_id, share_adapters=False)).share_adapters


async def test_nobody_decides_on_what_is_not_theirs(client: Client, persistence: RunningPersistence) -> None:
    user_id, other = await client.user(), await client.user()
    await talk(client, persistence, user_id, "c")
    kept = await client.import_turns(user_id, imported("t1", "hello"))
    cases: list[tuple[Callable[[], Awaitable[object]], type[ServiceError]]] = [
        (lambda: allow(client, other, "c"), ConversationNotFound),
        (lambda: allow(client, user_id, "nowhere"), ConversationNotFound),
        (lambda: allow(client, user_id, kept.items[0].conversation_id), ConversationNotFound),
        (lambda: allow(client, "nobody", "c"), UserNotFound),
        (lambda: choose(client, "nobody", future=True), UserNotFound),
    ]
    for refused, error in cases:
        with pytest.raises(error):
            await refused()
    assert await allowed(client, user_id) == await allowed(client, other) == set()
    assert [one.conversation_id for one in (await consents(client, user_id)).conversations] == ["c"]


async def test_consents_are_listed_a_page_at_a_time(client: Client, persistence: RunningPersistence) -> None:
    user_id = await client.user()
    for minute in range(3):
        await talk(client, persistence, user_id, f"c{minute}", at=START + timedelta(minutes=minute))
    first = await consents(client, user_id, limit=2)
    rest = await consents(client, user_id, limit=2, cursor=first.next_cursor)
    assert [one.conversation_id for one in (*first.conversations, *rest.conversations)] == ["c2", "c1", "c0"]
    assert rest.next_cursor is None
