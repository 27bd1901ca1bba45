"""What other nodes told: the newest of each, in whatever order it came, and never one's own."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.shared.contracts.sleep import Kept, Optimisation, Tried
from services.optimizer import sharing
from services.optimizer.sharing import MOST_NODES, Others, merged, to_begin_from

MOMENT = datetime(2026, 5, 4, tzinfo=UTC)


def told(node: str, sequence: int, at: int = 0, boot: str = "b", **about: object) -> Optimisation:
    return Optimisation(node=node, boot=boot, sequence=sequence, at=MOMENT + timedelta(minutes=at), **about)  # type: ignore[arg-type]


def check_the_newest_counts_in_any_order(seed: int) -> None:
    messages = [told(node, number, number) for node in ("a", "b", "own") for number in range(4)]
    random.Random(seed).shuffle(messages)
    known: dict[str, Optimisation] = {}
    for message in messages:
        known = merged(known, message, "own")
    assert {node: one.sequence for node, one in known.items()} == {"a": 3, "b": 3}


@given(st.integers(0, 1000))
def test_the_newest_of_each_counts_in_whatever_order_it_came(seed: int) -> None:
    check_the_newest_counts_in_any_order(seed)


def any_order() -> None:
    for seed in range(5):
        check_the_newest_counts_in_any_order(seed)


def test_a_merge_that_takes_what_comes_last_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "_newer", lambda *_: True)
    with pytest.raises(AssertionError):
        any_order()


def test_a_node_that_was_started_again_counts_from_its_new_beginning() -> None:
    known = merged({}, told("a", 9, 0), "own")
    assert merged(known, told("a", 0, 5, boot="c"), "own")["a"].boot == "c"


def test_no_more_nodes_are_known_than_may_be() -> None:
    known: dict[str, Optimisation] = {}
    for number in range(MOST_NODES + 5):
        known = merged(known, told(f"n{number}", 1, number), "own")
    assert len(known) == MOST_NODES
    assert "n0" not in known


def test_what_was_kept_comes_before_what_was_only_tried() -> None:
    kept = Kept(key="recall_k", value=6, change_id="c1")
    known = {
        "old": told("old", 1, 0, kept=(kept,)),
        "new": told("new", 1, 9, tried=(Tried(key="recall_k", value=6), Tried(key="recall_k", value=9))),
    }
    assert [(one.value, one.change_id) for one in to_begin_from(known)] == [(6, "c1"), (9, None)]


async def test_what_is_known_survives_a_restart_and_a_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "others.json"
    await Others("own", path).told(told("a", 1, tried=(Tried(key="recall_k", value=6),)))
    assert [one.value for one in Others("own", path).tried] == [6]
    path.write_text("{")
    assert len(Others("own", path)) == 0
