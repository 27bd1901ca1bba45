"""Slots: a session finds its own again as long as nobody needed it, and nobody finds another's."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.inference.backends.slots import Slots, Taken


def test_a_session_finds_its_own_slot_again() -> None:
    slots = Slots(2)
    first, other = slots.take("ada"), slots.take("grace")
    slots.leave(first.slot, "ada")
    slots.leave(other.slot, "grace")
    assert slots.take("grace") == Taken(other.slot, warm=True)


def test_what_belongs_to_nobody_is_taken_before_what_somebody_may_go_on_with() -> None:
    slots = Slots(2)
    first, other = slots.take("ada"), slots.take(None)
    slots.leave(first.slot, "ada")
    slots.leave(other.slot, None)
    assert slots.take(None) == Taken(other.slot, warm=False)
    assert slots.take("ada") == Taken(first.slot, warm=True)


@given(st.integers(1, 4), st.lists(st.sampled_from(("ada", "grace", "edsger", None)), max_size=40))
def test_a_slot_is_warm_only_for_whoever_used_it_last(count: int, sessions: list[str | None]) -> None:
    slots, last = Slots(count), dict[int, str | None]()
    for session in sessions:
        taken = slots.take(session)
        assert 0 <= taken.slot < count
        assert taken.warm == (session is not None and session in last.values())
        assert not taken.warm or last[taken.slot] == session
        slots.leave(taken.slot, session)
        last[taken.slot] = session
