"""What is ahead of a replica: prompts by how far they are read, answers by how long the earlier ones were."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.shared.contracts.scheduling import Ticket
from services.inference.ahead import LENGTHS, SCHEDULERS, Ahead, Lengths, Work
from services.inference.rates import Measured


def lengths(*tokens: int) -> Lengths:
    made = Lengths()
    for one in tokens:
        made.note(one)
    return made


def test_what_is_left_is_what_the_longer_answers_had_left() -> None:
    known = lengths(10, 20, 100)
    assert known.left(0, None) == pytest.approx(130 / 3)
    assert known.left(15, None) == pytest.approx((20 + 100) / 2 - 15)
    assert known.left(50, None) == pytest.approx(50)
    assert known.left(50, most=60) == 10
    assert known.left(200, None) == 100, "longer than any: half as long again"
    assert Lengths().left(0, None) == 200
    assert Lengths().mean is None


@given(st.lists(st.integers(1, 2000), max_size=2 * LENGTHS + 3), st.integers(0, 3000), st.integers(1, 3000))
def test_what_is_left_is_never_negative_nor_more_than_may_be_written(noted: list[int], written: int, most: int) -> None:
    known = lengths(*noted)
    assert 0 <= known.left(written, most) <= max(0, most - written)
    newest = noted[-LENGTHS:]
    assert known.mean == (pytest.approx(sum(newest) / len(newest)) if newest else None)


def test_a_prompt_is_read_as_time_goes_by_and_done_with_the_first_token() -> None:
    ahead = Ahead()
    with ahead.coming(Work("llama", 100), None) as work, ahead.coming(Work("llama", 30), None):
        assert ahead.to_read(0.0, {"llama": 10.0}) == 130
        work.begun = 0.0
        assert ahead.to_read(4.0, {"llama": 10.0}) == 60 + 30
        assert ahead.to_read(4.0, {}) == 130, "at an unknown rate nothing is known to be read"
        work.chunk(5.0)
        assert ahead.to_read(5.0, {"llama": 10.0}) == 30
        assert ahead.to_write({"llama": lengths(50)}) == 49 + 50
    assert ahead.to_read(5.0, {}) == ahead.to_write({"llama": lengths(50)}) == 0


def test_the_highest_ticket_of_each_scheduler_is_told_and_of_no_more_than_a_few() -> None:
    ahead = Ahead()
    for number in (1, 3, 2):
        with ahead.coming(Work("llama", 1), Ticket(scheduler="one", number=number)):
            pass
    assert ahead.seen == {"one": 3}
    for other in range(SCHEDULERS):
        with ahead.coming(Work("llama", 1), Ticket(scheduler=f"other{other}", number=1)):
            pass
    assert len(ahead.seen) == SCHEDULERS
    assert "one" not in ahead.seen


def test_a_node_that_becomes_slow_says_so_before_its_answer_ends() -> None:
    measured = Measured(prompt_tokens_per_s=100.0, generated_tokens_per_s=10.0)
    ahead = Ahead()
    with ahead.coming(Work("llama", 1), None) as work:
        work.begun = 0.0
        for second in range(11):
            work.chunk(float(second))
        assert ahead.pace("llama", 10.5) == pytest.approx(11 / 10.5)
        rates = measured.rates(ahead.pace("llama", 11.0))
        assert (rates.generated_tokens_per_s, rates.prompt_tokens_per_s) == (1.0, 10.0)
    assert measured.rates(ahead.pace("llama", 11.0)).generated_tokens_per_s == 10.0
    assert measured.rates(6.0).generated_tokens_per_s == 10.0, "a little slower is noise"
