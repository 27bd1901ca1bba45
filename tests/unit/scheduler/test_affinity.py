"""Affinity: a session is warm where it was placed last, and only as long as the replica keeps it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.scheduler.affinity import SESSIONS, Sessions, Warm


def test_a_replica_keeps_as_many_sessions_as_it_has_slots() -> None:
    known = Sessions()
    for name in ("ada", "grace", "hedy"):
        known.placed(name, "a-0", 2, 10)
    assert (known.get("ada"), known.get("grace"), known.get("hedy")) == (None, Warm("a-0", 10), Warm("a-0", 10))


def test_a_request_of_no_session_takes_a_slot_too() -> None:
    known = Sessions()
    known.placed("ada", "a-0", 1, 10)
    known.placed(None, "a-0", 1, 10)
    assert known.get("ada") is None
    assert known.get(None) is None


def test_a_session_that_moves_is_warm_where_it_went() -> None:
    known = Sessions()
    known.placed("ada", "a-0", 1, 10)
    known.placed("ada", "b-0", 1, 20)
    known.placed("grace", "a-0", 1, 10)
    assert known.get("ada") == Warm("b-0", 20)


def test_a_replica_that_is_gone_is_warm_for_nobody() -> None:
    known = Sessions()
    known.placed("ada", "a-0", 4, 10)
    known.placed("grace", "b-0", 4, 10)
    known.gone("a-0")
    assert (known.get("ada"), known.get("grace")) == (None, Warm("b-0", 10))


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), max_size=60))
def test_no_replica_is_warm_for_more_sessions_than_it_has_slots(placed: list[tuple[int, int]]) -> None:
    known = Sessions()
    for session, replica in placed:
        known.placed(str(session), str(replica), 2, 1)
    warm = [known.get(str(session)) for session in range(10)]
    assert all(sum(w is not None and w.replica == str(r) for w in warm) <= 2 for r in range(4))


def test_sessions_are_bounded() -> None:
    known = Sessions()
    for number in range(SESSIONS + 5):
        known.placed(str(number), "a-0", SESSIONS * 2, 1)
    assert known.get("4") is None
    assert known.get("5") is not None
