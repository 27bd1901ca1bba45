"""Background portions are as long as half of what a request may wait, by the rates that were measured."""

from __future__ import annotations

from services.cognition.stride import FIRST_TOKENS, KNOWN_REPLICAS, PORTION_S, Stride, tokens

TEXT = "x" * 72
"""Twenty tokens."""


def test_before_anything_is_measured_a_portion_is_small() -> None:
    assert Stride().length("a", [TEXT] * 32, 32) == FIRST_TOKENS // tokens(TEXT) == 4


def test_a_portion_takes_its_time_at_the_measured_rate() -> None:
    stride = Stride()
    stride.took("a", [TEXT] * 4, 4 * tokens(TEXT) / 1600)  # 1,600 tokens a second
    assert stride.length("a", [TEXT] * 32, 32) * tokens(TEXT) / 1600 == PORTION_S


def test_a_slower_embedder_gets_less_at_a_time_and_always_one_text() -> None:
    stride = Stride()
    for _ in range(30):
        stride.took("a", [TEXT], 5.0)
    assert stride.length("a", [TEXT] * 32, 32) == 1


def test_a_portion_is_never_longer_than_asked_nor_than_what_is_left() -> None:
    stride = Stride()
    stride.took("a", [TEXT], 1e-9)
    assert (stride.length("a", [TEXT] * 32, 8), stride.length("a", [TEXT] * 3, 8)) == (8, 3)


def test_a_long_text_counts_as_what_an_embedder_reads_of_it() -> None:
    assert tokens("x" * 4000) == 256


def test_each_replica_is_measured_for_itself_and_their_number_is_bounded() -> None:
    stride = Stride()
    for number in range(2 * KNOWN_REPLICAS):
        stride.took(f"r{number}", [TEXT], 1e-6)
    assert stride.length("slow", [TEXT] * 32, 32) == 4
    assert stride.length(f"r{2 * KNOWN_REPLICAS - 1}", [TEXT] * 32, 32) == 32


def test_a_replica_that_becomes_slow_gets_less_at_once() -> None:
    stride = Stride()
    stride.took("a", [TEXT] * 8, 0.001)
    stride.took("a", [TEXT] * 8, 4.0)
    assert stride.length("a", [TEXT] * 32, 32) == 1
