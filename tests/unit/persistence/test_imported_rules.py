"""What becomes of imported turns, of facts and of edits, decided before anything is written."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as some

from libs.shared.contracts.keeping import FactChange, KeepFacts
from libs.shared.contracts.memory import Fact, ImportedTurn
from libs.shared.errors import InvalidRequest
from services.persistence.derived_ids import derived_conversation_id, document_hash, notes_conversation_id, source_hash
from services.persistence.fact_keys import FactKeys, KeyedFact, fact_key
from services.persistence.handlers.facts import accept
from services.persistence.handlers.rewriting import edited
from services.persistence.imported import NO_TAIL, Tail, checked, follow, in_utc, speaker_column
from services.persistence.sealing import UserKeys

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ADA, BOB = UserKeys(b"a" * 32), UserKeys(b"b" * 32)


def turn(turn_id: str = "1", at: datetime = NOW, **changes: str) -> ImportedTurn:
    return ImportedTurn(**({"id": turn_id, "conversation_id": "c", "speaker": "Zoé", "text": "x"} | changes), at=at)


# ---------------------------------------------------------------- imports


def test_turns_stand_as_they_were_said_and_equal_times_as_they_were_given() -> None:
    given_ = [turn("b", NOW), turn("c", NOW), turn("a", NOW - timedelta(hours=1))]
    assert [one.id for one in checked(given_, NOW)] == ["a", "b", "c"]


def test_an_hour_ahead_is_another_clock_and_a_week_is_refused() -> None:
    assert checked([turn(at=NOW + timedelta(hours=1))], NOW)
    with pytest.raises(InvalidRequest):
        checked([turn(at=NOW + timedelta(days=7))], NOW)


OFFSETS = some.timedeltas(timedelta(hours=-23), timedelta(hours=23))


@given(some.datetimes(timezones=OFFSETS.map(timezone)))
def test_every_moment_is_either_in_utc_or_refused(at: datetime) -> None:
    moment = in_utc(at)
    assert moment.tzinfo is UTC
    assert moment == at or moment.year == 1


def test_only_the_two_of_a_chat_are_no_names() -> None:
    speakers = ("User", "ASSISTANT", "Zoé", "users", "")
    assert [speaker_column(name) for name in speakers] == ["user", "assistant", "other", "other", "other"]


def test_new_turns_follow_the_last_one() -> None:
    later = [NOW + timedelta(hours=hour) for hour in (1, 2)]
    before, added = follow(["a", "b"], later, Tail("z", NOW, imported=True))
    assert before == ["z", "a"]
    assert (added.count, added.leaf, added.out_of_order) == (2, "b", False)


def test_the_first_turns_of_a_conversation_begin_it() -> None:
    before, added = follow(["a"], [NOW], NO_TAIL)
    assert (before, added.leaf, added.out_of_order) == ([None], "a", False)


def test_what_was_said_before_the_last_one_makes_the_chain_anew_and_leaves_the_leaf() -> None:
    _, added = follow(["a"], [NOW - timedelta(hours=1)], Tail("z", NOW, imported=True))
    assert (added.leaf, added.out_of_order) == (None, True)


def test_a_conversation_that_somebody_continued_keeps_its_leaf() -> None:
    before, added = follow(["a"], [NOW + timedelta(hours=1)], Tail("chat", NOW, imported=False))
    assert (before, added.leaf, added.out_of_order) == ([None], None, True)


def test_derived_ids_tell_users_and_purposes_apart() -> None:
    assert derived_conversation_id(ADA, "trip") == derived_conversation_id(ADA, "trip")
    ids = {
        *(derived_conversation_id(user, name) for user in (ADA, BOB) for name in ("", "trip", "Trip")),
        *(notes_conversation_id(user) for user in (ADA, BOB)),
        *(made(user, "trip").hex() for made in (source_hash, document_hash) for user in (ADA, BOB)),
    }
    assert len(ids) == 12
    assert all(len(one) == 32 for one in ids)


# ---------------------------------------------------------------- facts


def fact(fact_id: str, *sources: str, superseded_by: str | None = None) -> Fact:
    return Fact(
        id=fact_id,
        subject="user",
        attribute="residence",
        value="Paris",
        text="Lives in Paris",
        sources=sources,
        valid_from=NOW,
        valid_to=NOW if superseded_by else None,
        superseded_by=superseded_by,
        extractor="rules@1",
    )


def test_of_facts_those_with_a_source_are_accepted_each_once() -> None:
    request = KeepFacts(
        user_id="u", facts=(fact("a", "m1", "gone"), fact("a", "m2"), fact("b", "gone"), fact("known", "m1"))
    )
    accepted = accept(request, {"known"}, {"m1", "m2"})
    assert [(one.id, one.sources) for one in accepted.facts] == [("a", ("m1",))]


def test_what_ends_a_fact_has_to_exist() -> None:
    request = KeepFacts(
        user_id="u",
        facts=(fact("a", "m1", superseded_by="b"), fact("b", "m1", superseded_by="gone")),
        changes=(
            FactChange(id="known", valid_to=NOW, superseded_by="a", sources=("m1", "gone")),
            FactChange(id="known", valid_to=NOW, superseded_by="gone"),
            FactChange(id="gone", valid_to=NOW, superseded_by="a"),
        ),
    )
    accepted = accept(request, {"known"}, {"m1"})
    assert [(one.id, one.superseded_by, one.valid_to) for one in accepted.facts] == [("a", "b", NOW), ("b", None, None)]
    assert [(one.id, one.superseded_by, one.sources) for one in accepted.changes] == [("known", "a", ("m1",))]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Lives in Lyon", "Lyon"),
        ("Lives in Saint-Jean-sur-Richelieu", "Saint-Jean-sur-Richelieu"),
        ("Moved to Lyon", "Moved to Lyon"),
        ("Lives in ", "Lives in "),
        ("Lives", "Lives"),
    ],
)
def test_an_edited_fact_has_the_value_that_its_sentence_says(text: str, value: str) -> None:
    assert edited(fact("a", "m1"), text).value == value


def test_what_facts_speak_of_is_told_apart_by_user_and_not_by_case() -> None:
    assert fact_key(ADA, "User", " residence") == fact_key(ADA, "user", "Residence")
    assert fact_key(ADA, "user", "residence") != fact_key(BOB, "user", "residence")
    assert fact_key(ADA, "ab", "c") != fact_key(ADA, "a", "bc")


class Loads:
    """A user's facts, as the database would give them; each load can be held up."""

    def __init__(self, *facts: KeyedFact) -> None:
        self.facts = list(facts)
        self.count = 0
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def __call__(self) -> list[KeyedFact]:
        self.count += 1
        read = list(self.facts)
        self.begun.set()
        await self.go_on.wait()
        return read


async def test_facts_are_read_once_however_many_ask_at_once() -> None:
    keys, loads = FactKeys(), Loads((b"k", "f1"))
    async with asyncio.timeout(5):
        found = await asyncio.gather(*(keys.find("u", [b"k", b"k"], loads) for _ in range(5)))
    assert (found, loads.count) == ([["f1"]] * 5, 1)


async def test_a_user_without_facts_is_read_once_too() -> None:
    keys, loads = FactKeys(), Loads()
    for _ in range(3):
        assert await keys.find("u", [b"k"], loads) == []
    assert loads.count == 1


async def test_what_is_kept_while_facts_are_being_read_is_not_lost() -> None:
    keys, loads = FactKeys(), Loads()
    loads.go_on.clear()
    async with asyncio.timeout(5):
        asked = asyncio.create_task(keys.find("u", [b"k"], loads))
        await loads.begun.wait()
        loads.facts.append((b"k", "f1"))
        keys.add("u", [(b"k", "f1")])
        loads.go_on.set()
        await asked
        assert await keys.find("u", [b"k"], loads) == ["f1"]


async def test_what_was_dropped_is_read_anew_and_the_longest_unused_goes() -> None:
    keys = FactKeys(capacity=2)
    loads = {user: Loads((b"k", user)) for user in "abc"}
    for user in "abac":
        assert await keys.find(user, [b"k"], loads[user]) == [user]
    assert await keys.find("a", [b"k"], loads["a"]) == ["a"]
    keys.drop("c")
    for user in "cb":
        await keys.find(user, [b"k"], loads[user])
    assert {user: one.count for user, one in loads.items()} == {"a": 1, "b": 2, "c": 2}
