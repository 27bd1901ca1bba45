"""What is told again is told once with its days, what ended says until when, and nothing that differs is lost."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.shared.contracts.digests import Digest
from libs.shared.contracts.memory import Fact, MemoryKind
from services.cognition import composing
from services.cognition.composing import POOL, composed, pooled
from services.cognition.digests import Told, with_told
from services.cognition.question import Question
from services.cognition.retelling import MOST_DAYS, told_again
from services.cognition.selection import Hit, tokens_of
from services.cognition.telling_apart import tells_apart
from tests.unit.cognition.household import memory

DAY = datetime(2026, 5, 3, 9, tzinfo=UTC)
QUESTION = Question("Where do I live?", ("live",))
JUNE = DAY + timedelta(days=37)
KEY, OTHER = b"lives in", b"has a do"


def hit(message_id: str, days: int = 0, *, until: datetime | None = None, score: float = 0.5, **about: Any) -> Hit:
    item = memory(message_id, "…", at=DAY + timedelta(days=days), **about).model_copy(update={"score": score})
    return Hit(item, evidence=score, until=until)


def digest(message_id: str, *told: str, keys: bytes = b"") -> Digest:
    return Digest(message_id=message_id, sentences=told, keys=keys)


def shown(hits: list[Hit], *digests: Digest, tokens: int = 300) -> list[str]:
    made = {one.message_id: one for one in digests}
    return [item.text for item in composed(hits, made, QUESTION, None, tokens=tokens, most=99)]


LYON = digest("m1", "I live in Lyon.", keys=KEY)
AGAIN = digest("m2", "By the way, in Lyon I live.", keys=KEY)


def check_it_is_told_once_with_the_days_of_each() -> None:
    found = shown([hit("m1", score=0.9), hit("m2", 37)], LYON, AGAIN)
    assert found == ["3 May 2026. User: I live in Lyon. (also said on 9 June 2026)"]


def test_what_was_told_twice_is_told_once_with_the_days_of_each() -> None:
    check_it_is_told_once_with_the_days_of_each()


def test_without_merging_a_day_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(composing, "merged", lambda found, code: list(found))
    with pytest.raises(AssertionError):
        check_it_is_told_once_with_the_days_of_each()


def test_what_is_forgotten_leaves_the_other_to_tell_it() -> None:
    """A forgotten memory is no hit and has no digest: the representative is chosen among those that are left."""
    assert shown([hit("m2", 37)], AGAIN) == ["9 June 2026. User: By the way, in Lyon I live."]


def test_an_item_names_the_memories_that_tell_it_again() -> None:
    made = {one.message_id: one for one in (LYON, AGAIN)}
    (item,) = composed([hit("m1", score=0.9), hit("m2", 37)], made, QUESTION, None, tokens=300, most=9)
    assert (item.sources, item.retold) == (("m1",), ("m2",))


def test_a_day_is_named_once_and_of_many_the_last() -> None:
    days = [(DAY + timedelta(days=place)).date() for place in range(MOST_DAYS + 2)]
    assert told_again("I live in Lyon.", days[1:2], "en") == "I live in Lyon. (also said on 4 May 2026)"
    assert told_again("J'y vis.", days[1:3], "fr") == "J'y vis. (dit aussi le 4 mai 2026, 5 mai 2026)"
    assert (
        told_again("I live in Lyon.", days, "en") == "I live in Lyon. (also said on 4 other days, last on 6 May 2026)"
    )
    hits = [hit("m1", score=0.9), hit("m2", 0), hit("m3", 1), hit("m4", 1)]
    told = [LYON, AGAIN, digest("m3", "I live in Lyon!", keys=KEY), digest("m4", "I live in Lyon, yes.", keys=KEY)]
    assert shown(hits, *told) == ["3 May 2026. User: I live in Lyon. (also said on 4 May 2026)"]


def test_a_document_is_not_said_on_days() -> None:
    hits = [hit(f"m{n}", n, kind=MemoryKind.PASSAGE, title="Flats", page=n) for n in (1, 2)]
    assert shown(hits, LYON, AGAIN) == ["Flats, p. 1. I live in Lyon."]


def test_what_repeats_takes_no_place_of_another() -> None:
    hits = [hit(f"m{n}", n) for n in range(POOL + 9)]
    repeated = {f"m{n}": digest(f"m{n}", "I live in Lyon.", keys=KEY) for n in range(10)}
    assert len(pooled(hits, {})) == POOL
    assert len(pooled(hits, repeated)) == POOL + 9


def test_a_memory_that_tells_something_beside_takes_one() -> None:
    hits = [hit(f"m{n}", n) for n in range(POOL + 9)]
    beside = {f"m{n}": digest(f"m{n}", "I live in Lyon.", f"{n}", keys=KEY + b"%08d" % n) for n in range(10)}
    assert len(pooled(hits, beside)) == POOL


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 3), st.booleans()), max_size=14), st.integers(1, 120))
def check_a_telling_stands_once_within_the_budget(said: list[tuple[int, int, bool]], tokens: int) -> None:
    """Whatever was told again and whenever; what ended is told by itself."""
    hits = [hit(f"m{n}", day, until=JUNE if over else None) for n, (day, _, over) in enumerate(said)]
    words = ("I live in Lyon.", "My dog is called Rex.", "I swim on Sundays with Ana.", "I bake bread.")
    made = {f"m{n}": digest(f"m{n}", words[what], keys=b"%08d" % what) for n, (_, what, _) in enumerate(said)}
    items = composed(hits, made, QUESTION, None, tokens=tokens, most=99)
    assert sum(tokens_of(item.text) for item in items) <= tokens
    for sentence in words:
        holds = sum(item.text.count(sentence) - item.text.count(f"{sentence} (until ") for item in items)
        assert holds <= 1


def test_a_telling_stands_once_within_the_budget() -> None:
    check_a_telling_stands_once_within_the_budget()


def test_noting_days_for_nothing_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(composing, "_bytes", lambda text: len(text.partition(" (also")[0].encode()))
    with pytest.raises(AssertionError):
        check_a_telling_stands_once_within_the_budget()


# ---------------------------------------------------------------- what ended


def fact(value: str, until: datetime | None) -> Fact:
    return Fact(
        id="f",
        subject="user",
        attribute="residence",
        value=value,
        text="",
        sources=("m1",),
        valid_from=DAY,
        valid_to=until,
        extractor="rules@1",
    )


def check_what_ended_says_until_when() -> None:
    old = hit("m1", until=JUNE, facts=(fact("Lyon", JUNE),))
    assert shown([old], digest("m1", "I live in Lyon.", "I have a dog.", keys=KEY + OTHER)) == [
        "3 May 2026. User: I live in Lyon. (until 9 June 2026) I have a dog."
    ]


def test_what_ended_says_until_when_and_what_holds_does_not() -> None:
    check_what_ended_says_until_when()
    assert shown([hit("m1", facts=(fact("Lyon", None),))], LYON) == ["3 May 2026. User: I live in Lyon."]


def test_a_sentence_that_tells_what_holds_has_no_end() -> None:
    moved = hit("m1", until=JUNE, facts=(fact("Lyon", JUNE), fact("Nantes", None)))
    found = shown([moved], digest("m1", "I moved from Lyon to Nantes.", "I have a dog."))
    assert found == ["3 May 2026. User: I moved from Lyon to Nantes. I have a dog."]
    liked = hit("m1", until=JUNE, facts=(fact("Lyon", JUNE), fact("Lyon", None)))
    assert "(until 9 June 2026)" in shown([liked], LYON)[0]


def test_a_context_that_took_every_fact_for_today_s_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(composing, "ended", lambda hit, said, alone: None)
    with pytest.raises(AssertionError):
        check_what_ended_says_until_when()


def test_a_memory_of_one_sentence_ends_with_what_it_tells() -> None:
    assert shown([hit("m1", until=JUNE)], LYON) == ["3 May 2026. User: I live in Lyon. (until 9 June 2026)"]


def test_what_holds_again_is_not_merged_with_what_had_ended() -> None:
    told = shown([hit("m2", 90, score=0.9), hit("m1", until=JUNE)], LYON, AGAIN)
    assert told == [
        "1 August 2026. User: By the way, in Lyon I live.",
        "3 May 2026. User: I live in Lyon. (until 9 June 2026)",
    ]


# ---------------------------------------------------------------- in a prompt


def told(*digests: Digest) -> Told:
    return Told(1, None, {one.message_id: one for one in digests})


def test_in_a_prompt_it_stands_once_too() -> None:
    beside = digest("m2", "In Lyon I live.", "I have a dog.", keys=KEY + OTHER)
    one, other = with_told([hit("m1"), hit("m2", 37)], told(LYON, beside))
    assert (one.told, other.told) == ("I live in Lyon. (also said on 9 June 2026)", "I have a dog.")
    assert [each.item.id for each in with_told([hit("m1"), hit("m2", 37)], told(LYON, AGAIN))] == ["m1"]


def test_in_a_prompt_what_ended_and_what_tells_nothing_stand_as_they_are() -> None:
    hits = [hit("m1", until=JUNE), hit("m2", 90), hit("m3")]
    found = with_told(hits, told(LYON, AGAIN, digest("m3")))
    assert [one.told for one in found] == ["I live in Lyon.", "By the way, in Lyon I live.", ""]


# ---------------------------------------------------------------- nearly the same

APART = [
    ("I have 2 cats at home.", "I have 3 cats at home."),
    ("I have two cats at home.", "I have three cats at home."),
    ("I eat meat on Fridays.", "I don't eat meat on Fridays."),
    ("I met Ana at the lake.", "I met Bo at the lake."),
    ("Je mange du poisson.", "Je ne mange pas de poisson."),
    ("I ran yesterday (7 May 2023).", "I ran yesterday (9 May 2023)."),
]


@pytest.mark.parametrize(("one", "other"), APART)
def test_nearly_the_same_with_another_number_name_or_not_is_told_beside(one: str, other: str) -> None:
    assert tells_apart(one, other)
    found = " ".join(shown([hit("m1"), hit("m2", 1)], digest("m1", one), digest("m2", other)))
    assert one in found
    assert other in found


def test_nearly_the_same_is_told_once() -> None:
    assert not tells_apart("I saw the blue lake today.", "I saw the blue lake!")


@pytest.mark.parametrize(("one", "other"), APART)
def test_taking_them_for_the_same_would_be_noticed(one: str, other: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(composing, "tells_apart", lambda one, other: False)
    monkeypatch.setattr(composing, "ALIKE", 0.1)
    found = " ".join(shown([hit("m1"), hit("m2", 1)], digest("m1", one), digest("m2", other)))
    assert one not in found or other not in found
