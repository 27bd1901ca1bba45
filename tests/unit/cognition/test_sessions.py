"""Sessions move on, never back, and survive the broker's memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.shared.bus.memory import MemoryBroker
from libs.shared.contracts.base import Principal
from libs.shared.contracts.common import Position
from libs.shared.contracts.sessions import SESSIONS, Session
from services.cognition import sessions
from services.cognition.sessions import Sessions, later


def at(sequence: int, epoch: str = "e") -> Position:
    return Position(epoch=epoch, sequence=sequence)


@given(st.integers(0, 9), st.integers(0, 9))
def test_the_later_of_two_is_the_one_with_the_higher_sequence(one: int, other: int) -> None:
    assert later(at(one), at(other)) == at(max(one, other))


def test_nothing_is_earlier_than_anything_and_epochs_do_not_compare() -> None:
    assert later(None, at(1)) == later(at(1), None) == at(1)
    assert later(None, None) is None
    assert later(at(1, "new"), at(9, "old")) == at(1, "new")


async def test_a_slower_turn_does_not_move_the_session_back() -> None:
    broker = MemoryBroker()
    bus = await broker.connect(Principal.COGNITION)
    kept = Sessions(bus)
    await kept.moved("u1", at(11))
    await kept.moved("u1", at(10))
    value = await bus.bucket(SESSIONS).get("u1")
    assert value is not None
    assert Session.model_validate_json(value).position == at(11)
    await bus.drain(1.0)


async def test_a_lost_bucket_loses_no_position_of_this_process() -> None:
    bus = await MemoryBroker().connect(Principal.COGNITION)
    kept = Sessions(bus)
    await kept.moved("u1", at(7))
    await bus.bucket(SESSIONS).delete("u1")
    assert await kept.last("u1") == at(7)
    assert await kept.last("u2") is None
    await bus.drain(1.0)


async def test_what_is_at_hand_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "AT_HAND", 20)
    bus = await MemoryBroker().connect(Principal.COGNITION)
    kept = Sessions(bus)
    for number in range(sessions.AT_HAND + 5):
        await kept.moved(f"u{number}", at(number))
    assert len(kept._at_hand) == sessions.AT_HAND
    await bus.drain(1.0)
