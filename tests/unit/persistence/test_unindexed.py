"""When a search needn't ask what waits to be indexed."""

from __future__ import annotations

from services.persistence import unindexed
from services.persistence.unindexed import Unindexed


def test_nothing_is_known_before_somebody_looked() -> None:
    assert not Unindexed().none_of("ana")


def test_who_had_nothing_has_nothing_until_a_commit() -> None:
    known = Unindexed()
    known.looked("ana", known.commits)
    assert known.none_of("ana")
    assert not known.none_of("ben")
    known.committed()
    assert not known.none_of("ana")


def test_a_commit_during_the_look_counts_as_after_it() -> None:
    known = Unindexed()
    began = known.commits
    known.committed()
    known.looked("ana", began)
    assert not known.none_of("ana")


def test_few_users_are_kept_in_mind() -> None:
    known = Unindexed()
    for number in range(unindexed._MOST_USERS + 1):
        known.looked(str(number), 0)
    assert not known.none_of("0")
    assert known.none_of("1")
