"""Which conversations have what only a share of them has: always the same ones, and ever more of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from libs.shared.contracts.ledger import Trial
from libs.shared.shares import arm_of, place

IDS = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=40)
SHARES = st.floats(0.01, 0.5)


def trial(share: float, change_id: str = "c1") -> Trial:
    return Trial(change_id=change_id, key="recall_k", value=6, share=share)


@given(IDS, SHARES, SHARES)
def test_a_conversation_keeps_what_it_tries_while_the_share_grows(conversation: str, one: float, other: float) -> None:
    smaller, greater = (arm_of(trial(share), conversation) for share in sorted((one, other)))
    assert greater.tried or not smaller.tried
    assert arm_of(trial(one), conversation) == arm_of(trial(one), conversation)


@given(IDS, IDS)
def test_a_place_is_within_all_of_them(what: str, conversation: str) -> None:
    assert 0 <= place(what, conversation) < 1


def test_the_share_is_what_was_asked_for_and_another_trial_has_others() -> None:
    names = [f"conversation {number}" for number in range(4000)]
    tried = {name for name in names if arm_of(trial(0.2), name).tried}
    others = {name for name in names if arm_of(trial(0.2, "c2"), name).tried}
    assert 0.17 < len(tried) / len(names) < 0.23
    assert len(tried & others) / len(names) < 0.06
