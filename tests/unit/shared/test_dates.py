"""The times that questions name, in both languages, against the asker's clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.shared.dates import DAY_S, Time, between, find
from libs.shared.text import fold

NOW = datetime(2026, 11, 22, 15, tzinfo=UTC)
"""A Sunday."""


def days(text: str, now: datetime = NOW, *, day_first: bool = False) -> list[tuple[str, str]]:
    """First day, and the day after the last; of a yearly time the newest."""
    times, _ = find(fold(text), now, day_first=day_first)
    spans = (time.latest(now.timestamp(), 1)[0] for time in times)
    return [tuple(f"{datetime.fromtimestamp(at, now.tzinfo):%Y-%m-%d}" for at in span) for span in spans]  # type: ignore[misc]


@pytest.mark.parametrize(
    ("english", "french", "span"),
    [
        ("yesterday", "hier", ("2026-11-21", "2026-11-22")),
        ("the day before yesterday", "avant-hier", ("2026-11-20", "2026-11-21")),
        ("this morning", "ce matin", ("2026-11-22", "2026-11-23")),
        ("last night", "hier soir", ("2026-11-21", "2026-11-22")),
        ("last Friday", "vendredi dernier", ("2026-11-20", "2026-11-21")),
        ("last Sunday", "dimanche passé", ("2026-11-15", "2026-11-16")),
        ("this week", "cette semaine", ("2026-11-16", "2026-11-23")),
        ("last week", "la semaine passée", ("2026-11-09", "2026-11-16")),
        ("last week", "la semaine dernière", ("2026-11-09", "2026-11-16")),
        ("the weekend", "la fin de semaine", ("2026-11-20", "2026-11-23")),
        ("last weekend", "la fin de semaine passée", ("2026-11-13", "2026-11-16")),
        ("last weekend", "le week-end dernier", ("2026-11-13", "2026-11-16")),
        ("this month", "ce mois-ci", ("2026-11-01", "2026-12-01")),
        ("last month", "le mois dernier", ("2026-10-01", "2026-11-01")),
        ("last year", "l'an passé", ("2025-01-01", "2026-01-01")),
        ("last year", "l’année dernière", ("2025-01-01", "2026-01-01")),
        ("this year", "cette année", ("2026-01-01", "2027-01-01")),
        ("three weeks ago", "il y a trois semaines", ("2026-10-28", "2026-11-04")),
        ("2 days ago", "il y a 2 jours", ("2026-11-20", "2026-11-21")),
        ("the last three weeks", "ces trois dernières semaines", ("2026-11-01", "2026-11-22")),
        ("last May", "en mai dernier", ("2026-05-01", "2026-06-01")),
        ("last December", "décembre passé", ("2025-12-01", "2026-01-01")),
        ("last summer", "l'été dernier", ("2026-06-01", "2026-08-31")),
        ("this summer", "cet été", ("2026-06-01", "2026-08-31")),
        ("in the summer of 2023", "à l'été 2023", ("2023-06-01", "2023-08-31")),
        ("in July 2023", "en juillet 2023", ("2023-07-01", "2023-08-01")),
        ("in June", "en juin", ("2026-06-01", "2026-07-01")),
        ("on 3 August 2023", "le 3 août 2023", ("2023-08-03", "2023-08-04")),
        ("on August 3rd, 2023", "le 3 août, 2023", ("2023-08-03", "2023-08-04")),
        ("on May 1st", "le 1er mai", ("2026-05-01", "2026-05-02")),
        ("on the 1st of May 2024", "le premier mai 2024", ("2024-05-01", "2024-05-02")),
        ("in early May", "début mai", ("2026-05-01", "2026-06-01")),
        ("mid-March", "mi-mars", ("2026-03-01", "2026-04-01")),
        ("in late June", "fin juin", ("2026-06-01", "2026-07-01")),
        ("on 29 February", "le 29 février", ("2026-02-28", "2026-03-01")),
        ("in 2021", "en 2021", ("2021-01-01", "2022-01-01")),
        ("on 2023-07-05", "le 2023-07-05", ("2023-07-05", "2023-07-06")),
    ],
)
def test_both_languages_name_the_same_time(english: str, french: str, span: tuple[str, str]) -> None:
    assert days(f"What did I do {english}?") == [span]
    assert days(f"Qu'ai-je fait {french} ?") == [span]


@pytest.mark.parametrize(("day_first", "day"), [(False, "2023-05-04"), (True, "2023-04-05")])
def test_numbers_alone_are_read_as_the_language_writes_them(day_first: bool, day: str) -> None:
    assert days("on 5/4/2023", day_first=day_first)[0][0] == day
    assert days("on 25/4/2023", day_first=day_first)[0][0] == "2023-04-25"


@pytest.mark.parametrize(
    "text",
    [
        "may 5 people come?",
        "May I ask you?",
        "Might 12 may be too many?",
        "march 5 miles with us",
        "march with us",
        "j'ai été malade",
        "les sept nains",
        "le mars de la tirelire",
        "in room 2023-99-99",
        "5 of 12",
        "😀",
        "",
    ],
)
def test_what_only_looks_like_a_time_is_none(text: str) -> None:
    assert days(text) == []


def test_a_named_time_is_taken_out_of_the_question() -> None:
    _, left = find(fold("What did Zoé buy on 3 May 2023 in Rome?"), NOW)
    assert " ".join(left.split()) == "what did zoe buy in rome?"


def test_the_asker_s_clock_decides_what_yesterday_is() -> None:
    montreal = timezone(timedelta(hours=-5))
    late = datetime(2026, 11, 21, 22, tzinfo=montreal)
    assert days("yesterday", late) == [("2026-11-20", "2026-11-21")]
    assert days("yesterday", late.astimezone(UTC)) == [("2026-11-21", "2026-11-22")]


def test_a_day_without_a_year_is_near_every_year() -> None:
    ((june,), _) = find("in june", NOW)
    assert june.yearly
    assert [june.nearness(datetime(year, 6, 15, tzinfo=UTC).timestamp()) for year in (2019, 2023, 2026)] == [1.0] * 3
    assert june.nearness(datetime(2023, 12, 15, tzinfo=UTC).timestamp()) < 0.01


moments = st.floats(-1e9, 5e9)


@given(moments, st.floats(1, 400), moments)
def test_nearness_is_whole_inside_and_falls_outside(start: float, length: float, at: float) -> None:
    time = Time(((start, start + length * DAY_S),))
    near = time.nearness(at)
    inside = start <= at < start + length * DAY_S
    assert 0 <= near <= 1
    assert near == 1 or not inside
    away = at + 30 * DAY_S if at >= start else at - 30 * DAY_S
    assert time.nearness(away) <= near


def test_what_was_told_after_is_nearer_than_what_was_told_before() -> None:
    time = between(NOW, NOW + timedelta(days=1))
    after, before = NOW + timedelta(days=4), NOW - timedelta(days=3)
    assert time.nearness(after.timestamp()) > time.nearness(before.timestamp())


@given(st.text(max_size=200), st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)))
def test_any_text_at_any_clock_is_read(text: str, now: datetime) -> None:
    for time in find(fold(text), now)[0]:
        assert all(start < end for start, end in time.spans)


PIECES = "on in le en il y a last 3 99 31 february may mai of 2023 weeks semaines ago dernier d' l' été yesterday / - ."
parts = st.sampled_from(PIECES.split())


@given(st.lists(parts, max_size=9).map(" ".join))
def test_pieces_of_dates_in_any_order_are_read(text: str) -> None:
    for time in find(fold(text), NOW)[0]:
        assert all(start < end for start, end in time.spans)
