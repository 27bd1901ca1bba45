"""Joules beyond idleness: whose they are, and whether they were measured."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.shared.hardware.boards import PROFILES, Family
from services.optimizer.energy import Account, Answers, Told, answer_energy, heard, night_energy

PI = PROFILES[Family.PI_5]


def told(at_s: float, watts: float, *, measured: bool = True, working: bool = False, answering: bool = False) -> Told:
    return Told(at_s, watts, measured, working, answering)


def account(*said: Told) -> Account:
    found = Account()
    for one in said:
        found = heard(found, one)
    return found


def test_what_is_drawn_above_idleness_is_the_nights_or_the_answers() -> None:
    found = account(
        told(0, 4.0),
        told(1, 7.0, working=True),
        told(3, 9.0, working=True, answering=True),
        told(5, 4.0),
    )
    assert found.idle_w == pytest.approx(4.0)
    assert found.night_j == pytest.approx(6.0)
    assert found.answers_j == pytest.approx(10.0)


def test_of_a_silence_nothing_is_reckoned() -> None:
    found = account(told(0, 4.0), told(1, 8.0, working=True), told(100, 8.0, working=True))
    assert found.night_j == 0.0


def test_a_measured_night_is_told_so_and_another_is_estimated_by_its_processor_time() -> None:
    before = account(told(0, 4.0), told(1, 6.0, working=True))
    after = heard(before, told(3, 4.0))
    measured = night_energy(before, after, cpu_s=1.0, profile=PI, cores=4)
    assert measured.source == "measured"
    assert measured.joules == pytest.approx(4.0)
    unmeasured = heard(before, told(3, 4.0, measured=False))
    estimated = night_energy(before, unmeasured, cpu_s=10.0, profile=PI, cores=4)
    assert estimated.source == "estimated"
    assert estimated.joules == pytest.approx(10 * (8.8 - 3.0) / 4)


def test_what_an_answer_costs_and_saves_needs_enough_of_them() -> None:
    few = answer_energy(Answers(100.0, 50), Answers(10.0, 10), [])
    assert (few.per_answer_j, few.saved_j) == (2.0, None)
    enough = answer_energy(Answers(100.0, 50), Answers(60.0, 40), [account(told(0, 4.0))])
    assert (enough.per_answer_j, enough.saved_j, enough.source) == (1.5, 20.0, "measured")


@given(st.lists(st.tuples(st.floats(0.1, 3), st.floats(0, 60), st.booleans(), st.booleans()), max_size=30))
def test_no_more_is_charged_than_was_drawn(steps: list[tuple[float, float, bool, bool]]) -> None:
    found, at, drawn, last = Account(), 0.0, 0.0, 0.0
    for passed_s, watts, working, answering in steps:
        at += passed_s
        drawn += last * passed_s
        last = watts
        found = heard(found, told(at, watts, working=working, answering=answering))
    assert 0.0 <= found.night_j + found.answers_j <= drawn + 1e-6
