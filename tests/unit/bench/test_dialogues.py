"""Made-up dialogues are the same for a seed, say the same in each language, and their gold is what they claim."""

from __future__ import annotations

from dataclasses import fields

import pytest

from bench.dialogues import FIRST_DAY, LANGUAGES, LAST_DAY, NOW, Dialogue, Kind, dialogue
from bench.wordings import Attribute, Wordings
from bench.wordings_en import ENGLISH
from bench.wordings_fr import FRENCH


def shape(value: object) -> object:
    """How long every list is, all the way down."""
    if isinstance(value, Attribute | Wordings):
        return {f.name: shape(getattr(value, f.name)) for f in fields(value) if f.name != "elides"}
    if isinstance(value, dict):
        return {name: shape(part) for name, part in value.items()}
    return len(value) if isinstance(value, tuple) else None


def test_both_languages_have_as_much_to_say() -> None:
    assert shape(ENGLISH) == shape(FRENCH)


def test_no_value_stands_twice_in_a_list() -> None:
    for words in LANGUAGES.values():
        for attribute in words.attributes.values():
            assert len(set(attribute.values)) == len(attribute.values)


@pytest.mark.parametrize("memories", [100, 2000, 20_000])
def test_it_has_the_size_that_was_asked_for_in_the_order_of_time(memories: int) -> None:
    said = dialogue("ana", memories, seed=1)
    assert len(said.turns) == memories
    assert len({turn.id for turn in said.turns}) == memories
    times = [turn.at for turn in said.turns]
    assert times == sorted(times)
    assert times[0] >= FIRST_DAY
    assert times[-1] <= LAST_DAY < NOW


def test_a_seed_makes_one_dialogue_and_another_makes_another() -> None:
    assert dialogue("ana", 400, seed=1) == dialogue("ana", 400, seed=1)
    assert dialogue("ana", 400, seed=1).turns != dialogue("ana", 400, seed=2).turns


def by_id(said: Dialogue) -> dict[str, str]:
    return {turn.id: turn.text for turn in said.turns}


def test_languages_ask_for_the_same_turns() -> None:
    english, french = (dialogue("ana", 1000, seed=3, language=language) for language in ("en", "fr"))
    assert [(p.kind, p.gold, p.stale) for p in english.probes] == [(p.kind, p.gold, p.stale) for p in french.probes]
    assert not {p.question for p in english.probes} & {p.question for p in french.probes}
    assert [(t.id, t.at, t.speaker) for t in english.turns] == [(t.id, t.at, t.speaker) for t in french.turns]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_probe_has_its_evidence_and_the_newest_is_the_current_one(language: str) -> None:
    said = dialogue("ana", 2000, seed=4, language=language)
    place = {turn.id: number for number, turn in enumerate(said.turns)}
    assert {probe.kind for probe in said.probes} == set(Kind)
    for probe in said.probes:
        assert probe.gold <= set(place)
        assert not probe.gold & probe.stale
        if probe.kind is Kind.CURRENT:
            assert probe.stale
            assert max(map(place.__getitem__, probe.stale)) < min(map(place.__getitem__, probe.gold))
        assert "{" not in probe.question


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_question_is_asked_twice_and_no_blank_is_left(language: str) -> None:
    said = dialogue("ana", 2000, seed=5, language=language)
    questions = [(probe.kind, probe.question) for probe in said.probes]
    assert len(set(questions)) == len(questions)
    assert not [text for text in by_id(said).values() if "{" in text or "  " in text or not text.strip()]


def test_people_of_different_users_have_names_in_common() -> None:
    one, other = (dialogue(name, 2000, seed=seed) for name, seed in (("ana", 1), ("ben", 2)))
    assert {p.question for p in one.probes} & {p.question for p in other.probes}


def test_more_facts_than_there_are_people_for_are_refused() -> None:
    with pytest.raises(ValueError, match="facts to tell"):
        dialogue("ana", 200_000, seed=1)


@pytest.mark.parametrize(
    ("name", "wanted"), [("Ada Fortin", "d'Ada Fortin"), ("Paul", "de Paul"), ("Émile", "d'Émile")]
)
def test_french_possession_elides(name: str, wanted: str) -> None:
    assert FRENCH.of(name) == wanted
