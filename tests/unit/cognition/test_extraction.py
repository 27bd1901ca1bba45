"""What people state is drawn, in both languages alike; what they ask, suppose, quote or hear is not."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from time import process_time

import pytest

from libs.shared.contracts.memory import MemoryKind
from services.cognition.extraction import clauses, rules
from services.cognition.extraction.attributes import is_known, stored
from services.cognition.extraction.drawn import Drawn, value_key
from services.cognition.extraction.keeping import fact_id
from services.cognition.extraction.rules import draw
from services.cognition.searchable import Text
from tests.unit.cognition.statements import NO_STATEMENTS, STATEMENTS, Pair

AT = datetime(2026, 5, 20, 12, tzinfo=UTC)
LANGUAGES = ("en", "fr")


def said(text: str, *, speaker: str = "user", kind: MemoryKind = MemoryKind.MESSAGE) -> list[Drawn]:
    return draw(Text("m1", kind, speaker, text, AT))


def written(drawn: Drawn) -> str:
    """As in ``statements``."""
    attribute = stored(drawn.attribute, ended=drawn.ended).removeprefix("ended.")
    sign = "-" if drawn.ended and not attribute.endswith("dislikes") else ""
    about = "" if drawn.subject == "user" else f"{drawn.subject}: "
    return f"{about}{sign}{attribute}={drawn.value}"


def sentence(pair: Pair, language: str) -> str:
    return pair.english if language == "en" else pair.french


def measure(pairs: Sequence[Pair], language: str) -> tuple[float, float, list[str]]:
    """Precision, recall, and what was wrong."""
    right = drawn_in_all = expected_in_all = 0
    wrong: list[str] = []
    for pair in pairs:
        drawn = {written(one) for one in said(sentence(pair, language))}
        expected = pair.expected(language)
        right += len(drawn & expected)
        drawn_in_all += len(drawn)
        expected_in_all += len(expected)
        if drawn != expected:
            wrong.append(f"{sentence(pair, language)} → {sorted(drawn)}, not {sorted(expected)}")
    return right / max(1, drawn_in_all), right / max(1, expected_in_all), wrong


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_drawn_is_stated_and_what_is_stated_is_drawn(language: str) -> None:
    precision, recall, wrong = measure((*STATEMENTS, *NO_STATEMENTS), language)
    assert len(STATEMENTS) >= 80
    assert (precision, recall) >= (0.98, 0.95), "\n".join(wrong)


@pytest.mark.parametrize("pair", NO_STATEMENTS, ids=lambda pair: pair.english)
@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_not_stated_is_no_fact(pair: Pair, language: str) -> None:
    assert said(sentence(pair, language)) == []


@pytest.mark.parametrize("pair", STATEMENTS, ids=lambda pair: pair.english)
def test_french_tells_as_much_as_english(pair: Pair) -> None:
    english, french = ({(d.attribute.partition(".")[0], d.ended) for d in said(s)} for s in (pair.english, pair.french))
    families = {"rendez-vous": "appointment"}
    assert english == {(families.get(name, name), ended) for name, ended in french}


def test_statements_that_are_taken_for_granted_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clauses, "states", lambda _: True)
    for language in LANGUAGES:
        precision, _, wrong = measure(NO_STATEMENTS, language)
        assert len(wrong) > 5, "questions, hypotheses and hearsay become facts"
        assert precision == 0.0


@pytest.mark.parametrize("language", LANGUAGES)
def test_rules_of_one_language_that_are_missing_would_be_noticed(
    language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = len(rules.ALL) // 2
    monkeypatch.setattr(rules, "ALL", rules.ALL[half:] if language == "en" else rules.ALL[:half])
    _, recall, _ = measure(STATEMENTS, language)
    assert recall < 0.5


def test_everything_that_is_drawn_is_on_the_closed_list() -> None:
    drawn = [one for pair in STATEMENTS for language in LANGUAGES for one in said(sentence(pair, language))]
    assert all(is_known(one.attribute) for one in drawn)
    assert all(value_key(one.value) for one in drawn)


def test_the_assistant_and_documents_state_nothing() -> None:
    assert said("I live in Lyon.", speaker="assistant") == []
    assert said("I live in Lyon.", kind=MemoryKind.PASSAGE) == []
    assert [one.value for one in said("I live in Lyon.", kind=MemoryKind.NOTE)] == ["Lyon"]


def test_who_is_imported_by_name_speaks_of_themselves() -> None:
    (drawn,) = said("I live in Lyon.", speaker="Melanie Roy")
    assert (drawn.subject, drawn.attribute) == ("Melanie Roy", "residence")


@pytest.mark.parametrize(
    ("text", "since"),
    [
        ("I moved to Berlin last month.", datetime(2026, 4, 1, tzinfo=UTC)),
        ("J'ai déménagé à Berlin le mois dernier.", datetime(2026, 4, 1, tzinfo=UTC)),
        ("I moved to Berlin in 2019.", datetime(2019, 1, 1, tzinfo=UTC)),
        ("J'habite à Berlin depuis 2019.", datetime(2019, 1, 1, tzinfo=UTC)),
        ("I moved to Berlin.", AT),
        ("I moved to Berlin last week.", AT),
        ("J'ai déménagé à Berlin la semaine dernière.", AT),
        ("I live in Berlin until next month.", AT),
    ],
)
def test_a_time_that_is_told_is_when_it_began(text: str, since: datetime) -> None:
    (drawn,) = said(text)
    assert (drawn.value, drawn.at, drawn.said_at) == ("Berlin", since, AT)


def test_of_two_values_in_one_text_the_last_counts() -> None:
    assert [one.value for one in said("I live in Paris. Sorry, I live in Lyon.")] == ["Lyon"]


def test_marks_tell_the_facts_of_one_text_apart_and_tell_nothing_of_them() -> None:
    drawn = said("I live in Lyon. My dog is called Rex. I love jazz.")
    assert [one.mark for one in drawn] == ["0", "1", "2"]
    other = said("I live in Oslo. My dog is called Max. I love rock.")
    assert [fact_id(one) for one in drawn] == [fact_id(one) for one in other], "an id gives no value away"


def test_what_a_text_may_hold_is_bounded() -> None:
    assert len(said(" ".join(f"I love jazz{number}." for number in range(500)))) == rules.MOST_OF_A_TEXT


@pytest.mark.parametrize(
    "text",
    [
        "My " * 20_000,
        "I live in " * 5_000,
        "a" * 65_536,
        "I " + "have a new " * 4_000,
        "J'ai " + "un nouveau " * 4_000 + "téléphone",
        "Ada " * 16_000 + "lives in Lyon",
        "“" * 30_000 + "I love jazz" + "”" * 30_000,
        "je n'aime pas " * 4_000,
        "😀" * 30_000 + " I live in Lyon",
        "I live in Lyon" + " " * 15_000 + "x",
        "I live in Lyon" + "\t" * 15_000 + ", and",
        "«" * 30_000,
        "« " + " " * 15_000 + "I live in Lyon",
        "“x " * 10_000,
        "\n" * 19_000 + "> x",
    ],
    ids=[
        *("my", "live", "long", "have", "jai", "names", "quotes", "naime", "emoji"),
        *("spaces", "tabs", "unclosed", "unclosed-spaces", "unclosed-words", "empty-lines"),
    ],
)
def test_no_text_keeps_the_rules_busy(text: str) -> None:
    began = process_time()
    said(text)
    assert process_time() - began < 2.0


@pytest.mark.parametrize(
    "text", ["“ I live in Lyon.", "Look « here. I live in Lyon.", "Well,     I   live \t in   Lyon ."]
)
def test_marks_that_nothing_closes_and_gaps_between_words_hide_nothing(text: str) -> None:
    assert [written(one) for one in said(text)] == ["residence=Lyon"]


@pytest.mark.parametrize("text", ["« J'habite à Lyon depuis mai. »", "She said: “ I live in Lyon with Bob. ” Well."])
def test_what_stands_between_marks_stays_a_quotation(text: str) -> None:
    assert said(text) == []
