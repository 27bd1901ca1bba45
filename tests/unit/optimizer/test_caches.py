"""A cache's size is chosen by earlier hours and decided by later ones; what holding costs is weighed."""

from __future__ import annotations

from pathlib import Path

import pytest

from libs.shared.contracts.caching import CacheCurve, CacheHour
from services.optimizer.phases.base import Job, JobFailed
from services.optimizer.phases.deep import propose
from services.optimizer.tuning import caches
from services.optimizer.tuning.caches import tuned
from services.optimizer.tuning.exchange import Tuned
from tests.unit.optimizer.nights import night

SIZES = (16, 32, 64, 128, 256)


def hour(*hits: float, uses: float = 100.0, held_mib: float = 400.0) -> CacheHour:
    return CacheHour(uses=uses, hits=tuple(one * uses for one in hits), held_mib=held_mib)


def curve(*hours: CacheHour, size_mib: int, miss_s: float | None = 0.1) -> CacheCurve:
    return CacheCurve(sizes_mib=SIZES, hours=hours, size_mib=size_mib, room_mib=1024, miss_s=miss_s)


def steady(count: int = 60, held_mib: float = 400.0) -> list[CacheHour]:
    """64 MiB hold nearly all that comes back."""
    wobbles = [0.001 * (n % 5) for n in range(count)]
    return [hour(0.3, 0.6 - w, 0.95 - w, 0.955 - w, 0.957 - w, held_mib=held_mib) for w in wobbles]


def test_a_size_that_misses_much_grows_as_far_as_it_is_worth_it() -> None:
    told = tuned(curve(*steady(), size_mib=16))
    assert told.proposal is not None
    assert (told.proposal.key, told.proposal.value) == ("index_memory_mib", 64)
    by_name = {one.measure: one for one in told.proposal.measured}
    assert by_name["index_hits"].low > 0
    assert by_name["index_wait_s"].high < 0
    assert by_name["index_held_mib"].after == 64


def test_memory_that_holds_what_nobody_asks_for_is_given_back() -> None:
    told = tuned(curve(*steady(), size_mib=256))
    assert told.proposal is not None
    assert told.proposal.value == 128, "64 lose more of the hits than is tolerated"
    hits = next(one for one in told.proposal.measured if one.measure == "index_hits")
    assert hits.low >= -0.01


def test_room_in_which_nothing_lies_is_left_alone() -> None:
    assert tuned(curve(*steady(held_mib=50.0), size_mib=256)).proposal is None


@pytest.mark.parametrize(
    "given",
    [
        curve(size_mib=16),
        curve(*steady(20), size_mib=16),
        curve(*steady(), size_mib=16, miss_s=None),
        curve(*(hour(0, 0, 1, 1, 1, uses=2.0) for _ in range(60)), size_mib=16),
    ],
)
def test_too_little_tells_nothing(given: CacheCurve) -> None:
    told = tuned(given)
    assert told.proposal is None
    assert "too little" in told.reason


def check_what_helped_earlier_only_is_not_proposed() -> None:
    """People came back in the earlier hours; in the later ones nobody does."""
    now = [hour(*([0.05] * 5)) for _ in range(30)]
    assert tuned(curve(*steady(36), *now, size_mib=16)).proposal is None


def test_what_helped_earlier_only_is_not_proposed() -> None:
    check_what_helped_earlier_only_is_not_proposed()


def test_the_check_notices_that_the_hours_that_chose_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = caches._decided

    def by_what_was_seen(given: CacheCurve, _: caches.Hours, before: int, after: int) -> Tuned:
        return honest(given, caches.Hours.of(given.hours[:36]), before, after)

    monkeypatch.setattr(caches, "_decided", by_what_was_seen)
    with pytest.raises(AssertionError):
        check_what_helped_earlier_only_is_not_proposed()


async def test_a_night_proposes_it_without_anybodys_consent(tmp_path: Path) -> None:
    """Nothing that was said is replayed: counts of uses are told to no one but the installation itself."""
    async with night(tmp_path, (), curve=curve(*steady(), size_mib=16)) as (work, around):
        report = await propose(work)
    (change,) = around.proposed
    assert (change.key, change.value) == ("index_memory_mib", 64)
    (tried,) = report.tried
    assert report.changes == (tried.change_id,) == ("change-1",)
    assert around.decided[0].measured == tried.measured
    assert "mongars consents tuning on" in report.done
    assert "index_memory_mib 16 → 64" in report.done


async def test_what_fails_keeps_nothing_else_back(tmp_path: Path) -> None:
    def broken(_: Job) -> None:
        raise JobFailed("killed")

    async with night(tmp_path, (), curve=curve(*steady(), size_mib=16)) as (work, around):
        work.before_job = broken
        report = await propose(work)
    assert around.proposed == []
    assert "index_memory_mib: not tuned (JobFailed)" in report.done
    assert "placement: none came" in report.done
    assert "mongars consents tuning on" in report.done
