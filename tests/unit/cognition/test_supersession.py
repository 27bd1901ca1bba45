"""Facts in time: whatever the order in which they were told, one value holds at a time, and the newest holds still."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.shared.contracts.keeping import FactChange
from libs.shared.contracts.memory import Fact
from services.cognition.extraction import supersession
from services.cognition.extraction.attributes import is_single, spoken_of, stored
from services.cognition.extraction.drawn import Drawn
from services.cognition.extraction.keeping import fact_id
from services.cognition.extraction.supersession import reconcile

START = datetime(2026, 1, 1, tzinfo=UTC)


def told(day: int, value: str, *, attribute: str = "residence", ended: bool = False, source: str = "") -> Drawn:
    at = START + timedelta(days=day)
    return Drawn(
        subject="user",
        attribute=attribute,
        value=value,
        text=f"{attribute} {value}",
        at=at,
        source=source or f"m{day}",
        said_at=at,
        extractor="rules@1",
        mark="0",
        ended=ended,
    )


class Known:
    """What persistence keeps of it, by its contract."""

    def __init__(self) -> None:
        self.facts: dict[str, Fact] = {}
        self.said: dict[str, datetime] = {}

    def tell(self, *drawn: Drawn) -> tuple[Sequence[Fact], Sequence[FactChange]]:
        self.said |= {one.source: one.said_at for one in drawn}
        new, changes = reconcile(drawn, self.found(), fact_id)
        for fact in new:
            self.facts.setdefault(fact.id, fact)
        for change in changes:
            self._change(change)
        return new, changes

    def _change(self, change: FactChange) -> None:
        fact = self.facts[change.id]
        about: dict[str, object] = {"valid_to": change.valid_to, "superseded_by": change.superseded_by}
        about["valid_from"] = change.valid_from or fact.valid_from
        about["sources"] = (*fact.sources, *change.sources)
        self.facts[change.id] = fact.model_copy(update=about)

    def found(self) -> list[Fact]:
        with_times = [
            fact.model_copy(update={"said_at": tuple(self.said[s] for s in fact.sources)})
            for fact in self.facts.values()
        ]
        return sorted(with_times, key=lambda fact: (fact.valid_from, fact.id))

    def timeline(self) -> list[tuple[str, str, int, int | None]]:
        """(attribute, value, from day, until day) of every stretch that lasted."""
        stretches = [
            (fact.attribute, fact.value, _day(fact.valid_from), None if fact.valid_to is None else _day(fact.valid_to))
            for fact in self.facts.values()
        ]
        return sorted((s for s in stretches if s[2] != s[3]), key=lambda s: (s[2], s[0], s[1]))


def _day(at: datetime) -> int:
    return (at - START).days


def known(*drawn: Drawn) -> Known:
    """Told one after the other."""
    found = Known()
    for one in drawn:
        found.tell(one)
    return found


def test_a_newer_value_ends_the_older_and_both_are_kept() -> None:
    assert known(told(1, "Paris"), told(5, "Lyon")).timeline() == [
        ("residence", "Paris", 1, 5),
        ("residence", "Lyon", 5, None),
    ]


def test_an_older_value_that_is_told_later_ends_at_once() -> None:
    assert known(told(5, "Lyon"), told(1, "Paris")).timeline() == [
        ("residence", "Paris", 1, 5),
        ("residence", "Lyon", 5, None),
    ]


def test_what_is_told_again_extends_and_does_not_double() -> None:
    found = known(told(3, "Lyon"), told(9, "lyon"), told(1, "Lyon"))
    (fact,) = found.facts.values()
    assert (_day(fact.valid_from), fact.valid_to) == (1, None)
    assert set(fact.sources) == {"m1", "m3", "m9"}


def test_a_value_between_two_tellings_of_another_parts_them() -> None:
    assert known(told(1, "Lyon"), told(9, "Lyon"), told(5, "Paris")).timeline() == [
        ("residence", "Lyon", 1, 5),
        ("residence", "Paris", 5, 9),
        ("residence", "Lyon", 9, None),
    ]


def test_a_negation_ends_what_it_names_and_nothing_else() -> None:
    found = known(
        told(1, "dog", attribute="pet"), told(2, "cat", attribute="pet"), told(5, "dog", attribute="pet", ended=True)
    )
    assert found.timeline() == [("pet", "dog", 1, 5), ("pet", "cat", 2, None), ("ended.pet", "dog", 5, None)]


def test_a_negation_that_names_nothing_ends_whatever_held() -> None:
    found = known(told(1, "Acme", attribute="employer"), told(5, "", attribute="employer", ended=True))
    assert found.timeline()[0] == ("employer", "Acme", 1, 5)


def test_a_negation_told_before_its_fact_ends_it_all_the_same() -> None:
    found = known(told(5, "dog", attribute="pet", ended=True), told(1, "dog", attribute="pet"))
    assert ("pet", "dog", 1, 5) in found.timeline()


def test_who_takes_it_up_again_has_it_again() -> None:
    found = known(
        told(1, "coffee", attribute="likes"),
        told(4, "coffee", attribute="likes", ended=True),
        told(8, "coffee", attribute="likes"),
    )
    assert found.timeline() == [
        ("likes", "coffee", 1, 4),
        ("dislikes", "coffee", 4, 8),
        ("likes", "coffee", 8, None),
    ]


def test_several_things_are_liked_at_a_time() -> None:
    found = known(told(1, "tea", attribute="likes"), told(2, "coffee", attribute="likes"))
    assert [stretch[3] for stretch in found.timeline()] == [None, None]


def test_what_superseded_a_fact_is_named() -> None:
    found = known(told(1, "Paris"), told(5, "Lyon"))
    old, new = found.found()
    assert old.superseded_by == new.id
    assert new.superseded_by is None


def test_a_source_that_says_it_once_more_than_enough_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supersession, "MOST_SOURCES", 3)
    (fact,) = known(*(told(day, "Lyon") for day in range(8))).facts.values()
    assert len(fact.sources) == 3


def test_without_times_of_sources_a_fact_holds_from_its_beginning() -> None:
    first = known(told(1, "Paris")).found()
    bare = [fact.model_copy(update={"said_at": ()}) for fact in first]
    new, changes = reconcile([told(5, "Lyon")], bare, fact_id)
    assert [fact.value for fact in new] == ["Lyon"]
    assert [_day(change.valid_to) for change in changes if change.valid_to] == [5]


VALUES = st.sampled_from(["Paris", "Lyon", "Oslo"])
TELLINGS = st.lists(
    st.tuples(st.integers(0, 30), VALUES, st.booleans()), max_size=8, unique_by=lambda telling: telling[0]
)


def _drawn(tellings: Iterable[tuple[int, str, bool]], attribute: str) -> list[Drawn]:
    return [told(day, value, attribute=attribute, ended=ended) for day, value, ended in tellings]


def check_one_at_a_time(found: Known, attribute: str, last: Drawn | None) -> None:
    """No two values of what there is but one of hold at once, and the newest statement holds still."""
    held = [stretch for stretch in found.timeline() if spoken_of(stretch[0]) == (attribute, False)]
    if is_single(attribute):
        for (_, _, _, until), (_, _, since, _) in pairwise(held):
            assert until is not None
            assert until <= since
    if last is not None:
        open_ = {(s[0], s[1]) for s in found.timeline() if s[3] is None}
        assert (stored(attribute, ended=last.ended), last.value) in open_


@settings(max_examples=300, deadline=None)
@given(TELLINGS, st.sampled_from(["residence", "pet", "likes", "favourite.city"]), st.randoms(use_true_random=False))
def test_whatever_the_order_the_timeline_is_the_same(
    tellings: list[tuple[int, str, bool]], attribute: str, chance: Random
) -> None:
    drawn = _drawn(tellings, attribute)
    shuffled = sorted(drawn, key=lambda _: chance.random())
    found = known(*shuffled)
    last = max(drawn, key=lambda one: one.at, default=None)
    check_one_at_a_time(found, attribute, last)
    at_once = Known()
    if drawn:
        at_once.tell(*drawn)
    assert found.timeline() == at_once.timeline()


@settings(max_examples=150, deadline=None)
@given(TELLINGS, st.sampled_from(["residence", "pet", "likes"]))
def test_the_same_again_changes_nothing(tellings: list[tuple[int, str, bool]], attribute: str) -> None:
    drawn = _drawn(tellings, attribute)
    found = known(*drawn)
    for one in drawn:
        assert found.tell(one) == ([], [])


def test_a_newer_value_that_ends_nothing_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supersession, "_close", lambda *_: None)
    with pytest.raises(AssertionError):
        check_one_at_a_time(known(told(1, "Paris"), told(5, "Lyon")), "residence", None)


def test_taking_statements_in_the_order_of_their_coming_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supersession.Statement, "order", property(lambda statement: (statement.known is None,)))
    late = told(1, "Paris")
    with pytest.raises(AssertionError):
        check_one_at_a_time(known(told(5, "Lyon"), late), "residence", told(5, "Lyon"))
