"""What a proposed count is refused for, and what becomes of a change that stands in the way of another."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from libs.shared.contracts.common import Stamp
from libs.shared.contracts.ledger import OPTIMIZER_ACTOR, Change, ChangeState, Decision
from services.optimizer.scaling.changing import KEY, judged, to_end

STAMP = Stamp(actor=OPTIMIZER_ACTOR, at=datetime(2026, 3, 1, tzinfo=UTC))
MOST = {"cognition": 3}


def change(state: ChangeState) -> Change:
    return Change(
        change_id="c1",
        sequence=1,
        key=KEY,
        before={},
        after={"cognition": 2},
        reason="",
        state=state,
        proposed=STAMP,
        previous_hash="0" * 64,
        hash="1" * 64,
    )


@pytest.mark.parametrize(
    ("after", "idle_s", "fits"),
    [
        ({"cognition": 3}, 0.0, True),
        ({"cognition": 4}, 1e6, False),
        ({"cognition": 0}, 3599.0, False),
        ({"cognition": 0}, 3601.0, True),
        ({"cognition": 2, "api": 0}, 0.0, False),
        ({}, 0.0, True),
    ],
)
def test_none_of_what_was_asked_lately_and_more_than_the_most_are_refused(
    after: dict[str, int], idle_s: float, *, fits: bool
) -> None:
    found = judged({"cognition": 2}, after, MOST, idle_s)
    assert found.fits is fits
    assert found.reason


def test_what_was_none_already_is_not_refused_for_it() -> None:
    assert judged({"cognition": 0}, {"cognition": 0, "api": 2}, MOST, 0.0).fits


@pytest.mark.parametrize(
    ("state", "decision"),
    [
        (ChangeState.APPLIED, Decision.KEEP),
        (ChangeState.PROPOSED, Decision.REJECT),
        (ChangeState.EVALUATED, Decision.REJECT),
    ],
)
def test_a_change_that_another_follows_is_ended(state: ChangeState, decision: Decision) -> None:
    ending = to_end(change(state), {"cognition": 3})
    assert ending is not None
    assert ending[0] is decision


def test_the_same_that_waits_for_an_administrator_goes_on_waiting() -> None:
    assert to_end(change(ChangeState.EVALUATED), {"cognition": 2}) is None
