"""What is ahead of a replica: prompts by how far they are read, answers by how long the earlier ones were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.shared.contracts.scheduling import Ticket
from services.inference.ahead import LENGTHS, SCHEDULERS, STOPPED_AFTER, Ahead, Lengths, Work
from services.inference.rates import Measured


@contextmanager
def coming(ahead: Ahead, work: Work) -> Iterator[Work]:
    ahead.add(work)
    try:
        yield work
    finally:
        ahead.drop(work)


def lengths(*tokens: int) -> Lengths:
    made = Lengths()
    for one in tokens:
        made.note(one)
    return made


def test_what_is_left_is_what_the_longer_answers_had_left_and_few_of_them_say_little() -> None:
    known = lengths(*[10, 20, 100] * 80)
    assert known.left(0, None) == pytest.approx((80 * 130 + 10 * 200) / 250)
    assert known.left(15, None) == pytest.approx((80 * 5 + 80 * 85 + 10 * 185) / 170)
    assert known.left(50, most=60) == 10
    assert known.left(200, None) == 100, "longer than any: half as long again"
    assert Lengths().left(0, None) == 200
    assert Lengths().mean is None
    assert lengths(2).mean == pytest.approx((2 + 10 * 200) / 11), "one short answer makes no node quick"


@given(st.lists(st.integers(1, 2000), max_size=2 * LENGTHS + 3), st.integers(0, 3000), st.integers(1, 3000))
def test_what_is_left_is_never_negative_nor_more_than_may_be_written(noted: list[int], written: int, most: int) -> None:
    known = lengths(*noted)
    assert 0 <= known.left(written, most) <= max(0, most - written)
    newest = noted[-LENGTHS:]
    assert known.mean == (pytest.approx((sum(newest) + 2000) / (len(newest) + 10)) if newest else None)


def test_a_prompt_is_read_as_time_goes_by_and_done_with_the_first_token() -> None:
    ahead = Ahead()
    with coming(ahead, Work("llama", 100)) as work, coming(ahead, Work("llama", 30)):
        assert ahead.to_read(0.0, {"llama": 10.0}) == 130
        work.begun = 0.0
        assert ahead.to_read(4.0, {"llama": 10.0}) == 60 + 30
        assert ahead.to_read(4.0, {}) == 130, "at an unknown rate nothing is known to be read"
        work.chunk(5.0)
        assert ahead.to_read(5.0, {"llama": 10.0}) == 30
        known = lengths(*[50] * 200)
        assert ahead.to_write({"llama": known}) == pytest.approx(49 + 50, abs=16)
    assert ahead.to_read(5.0, {}) == ahead.to_write({"llama": known}) == 0


def test_what_gives_way_holds_nothing_up_but_the_piece_of_its_prompt_that_it_is_at() -> None:
    ahead = Ahead()
    with coming(ahead, Work("llama", 1000, gives_way=True)) as work:
        assert ahead.to_read(0.0, {"llama": 10.0}) == 0, "it would not begin before the others"
        work.begun = 0.0
        assert ahead.to_read(1.0, {"llama": 10.0}) == STOPPED_AFTER
        assert ahead.to_read(95.0, {"llama": 10.0}) == 50
        assert ahead.to_write({"llama": lengths(*[50] * 200)}) == 0
        with coming(ahead, Work("llama", 30)):
            assert ahead.to_read(95.0, {"llama": 10.0}) == 50 + 30
        work.chunk(96.0)
        assert ahead.to_read(96.0, {"llama": 10.0}) == 0


def test_the_highest_ticket_of_each_scheduler_is_told_and_of_no_more_than_a_few() -> None:
    ahead = Ahead()
    for number in (1, 3, 2):
        ahead.see(Ticket(scheduler="one", number=number))
    assert ahead.seen == {"one": 3}
    for other in range(SCHEDULERS):
        ahead.see(Ticket(scheduler=f"other{other}", number=1))
    assert len(ahead.seen) == SCHEDULERS
    assert "one" not in ahead.seen


def written(work: Work, seconds: int, *, reading_s: float = 0.0) -> None:
    """A piece a second, each of which its reader takes ``reading_s`` to read."""
    now = 0.0
    for _ in range(seconds + 1):
        work.waits(now)
        now += 1.0
        work.chunk(now)
        now += reading_s


def test_a_node_that_becomes_slow_says_so_before_its_answer_ends() -> None:
    measured = Measured(prompt_tokens_per_s=100.0, generated_tokens_per_s=10.0)
    ahead = Ahead()
    with coming(ahead, Work("llama", 1, begun=0.0)) as work:
        assert ahead.pace("llama", 9.0) is None, "nothing is written yet"
        written(work, 10)
        assert ahead.pace("llama", 11.0) == pytest.approx(1.1)
        rates = measured.rates(ahead.pace("llama", 11.0))
        assert (rates.generated_tokens_per_s, rates.prompt_tokens_per_s) == (1.1, 11.0)
    assert measured.rates(ahead.pace("llama", 11.0)).generated_tokens_per_s == 10.0
    assert measured.rates(6.0).generated_tokens_per_s == 10.0, "a little slower is noise"
    assert measured.rates(0.0).generated_tokens_per_s == 0.1, "and a stalled one is not taken for unmeasured"


def test_a_reader_that_takes_its_time_makes_no_node_slow() -> None:
    work = Work("llama", 1, begun=0.0)
    written(work, 10, reading_s=60.0)
    assert work.pace(1000.0, 2.0) == pytest.approx(1.1)


def test_pieces_of_many_tokens_count_as_many_and_tool_calls_say_nothing() -> None:
    measured = Measured()
    measured.note(size=0, prompt_tokens=9, completion_tokens=40, first_token_s=1.0, rest_s=4.0, chunks=10)
    work = Work("llama", 1, begun=0.0, chunk_tokens=measured.chunk_tokens or 1.0)
    written(work, 10)
    assert work.pace(11.0, 2.0) == pytest.approx(4.4)
    silent = Work("llama", 1, begun=0.0, paced=False)
    written(silent, 10)
    assert silent.pace(11.0, 2.0) is None


def test_what_was_read_before_does_not_count_as_read() -> None:
    measured = Measured()
    measured.note(size=0, prompt_tokens=1000, completion_tokens=4, first_token_s=6.0, rest_s=1.0, cached_tokens=400)
    assert measured.rates().prompt_tokens_per_s == 100.0
    measured.note(size=0, prompt_tokens=1000, completion_tokens=4, first_token_s=0.5, rest_s=1.0, cached_tokens=999)
    assert measured.rates().prompt_tokens_per_s == 100.0, "one token's time is everything else's"
