"""Another way to place requests is proposed where later requests than it was chosen by took less."""

from __future__ import annotations

from pathlib import Path

import pytest

from libs.shared.contracts.replaying_placements import PlacementsReplayed, ReplayPlacements, Way, WayBlocks
from libs.shared.contracts.runtime_settings import RuntimeSettings
from libs.shared.contracts.sleep import Tried
from services.optimizer.phases.deep import propose
from services.optimizer.tuning import placement
from services.optimizer.tuning.exchange import Tuned
from services.optimizer.tuning.placement import tuned
from services.optimizer.tuning.ways import OTHERS, ways
from tests.unit.optimizer.nights import night

BLOCKS, SIZE = 60, 20
DELIVERED = RuntimeSettings()


def of(per_request_s: list[float], late: int = 1) -> WayBlocks:
    return WayBlocks(
        total_s=tuple(one * SIZE for one in per_request_s), late=(late,) * len(per_request_s), p95_s=max(per_request_s)
    )


def steady(mean_s: float, late: int = 1) -> WayBlocks:
    return of([mean_s * (1 + 0.02 * (n % 5)) for n in range(BLOCKS)], late)


def told(*found: WayBlocks) -> PlacementsReplayed:
    return PlacementsReplayed(requests=(SIZE,) * len(found[0].total_s), ways=found, nodes=3)


BEFORE = Way(policy="expected_completion", others=0.0)
AFTER = Way(policy="expected_completion", others=2.0)


def test_a_weight_that_saves_seconds_is_proposed() -> None:
    found = tuned(told(steady(10.0), steady(8.0)), (BEFORE, AFTER))
    assert found.proposal is not None
    assert (found.proposal.key, found.proposal.value) == ("placement_others", 2.0)
    seconds = next(one for one in found.proposal.measured if one.measure == "completion_s")
    assert seconds.high < 0
    assert RuntimeSettings.model_validate({found.proposal.key: found.proposal.value}).placement_others == 2.0


def test_a_policy_that_saves_seconds_is_proposed() -> None:
    queues = Way(policy="least_in_flight", others=1.0)
    found = tuned(told(steady(10.0), steady(8.0)), (queues, queues.model_copy(update={"policy": BEFORE.policy})))
    assert found.proposal is not None
    assert (found.proposal.key, found.proposal.value) == ("placement_policy", "expected_completion")


def test_what_saves_little_stays_as_it_is() -> None:
    assert tuned(told(steady(10.0), steady(9.8)), (BEFORE, AFTER)).proposal is None


def test_more_late_answers_are_no_gain() -> None:
    assert tuned(told(steady(10.0), steady(8.0, late=3)), (BEFORE, AFTER)).proposal is None


def test_too_few_requests_tell_nothing() -> None:
    short = [10.0] * 20
    assert "too few" in tuned(told(of(short), of([1.0] * 20)), (BEFORE, AFTER)).reason
    assert "one node" in tuned(PlacementsReplayed(reason="one node"), (BEFORE, AFTER)).reason


def check_what_helped_earlier_only_is_not_proposed() -> None:
    changed = of([5.0 if n < 40 else 12.0 for n in range(BLOCKS)])
    assert tuned(told(steady(10.0), changed), (BEFORE, AFTER)).proposal is None


def test_what_helped_earlier_only_is_not_proposed() -> None:
    check_what_helped_earlier_only_is_not_proposed()


def test_the_check_notices_that_the_requests_that_chose_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = placement._decided

    def by_what_was_seen(replayed: PlacementsReplayed, given: tuple[Way, ...], best: int, cut: int) -> Tuned:
        seen = [way.model_copy(update={"total_s": way.total_s[:cut], "late": way.late[:cut]}) for way in replayed.ways]
        kept = replayed.model_copy(update={"requests": replayed.requests[:cut], "ways": tuple(seen)})
        return honest(kept, given, best, 0)

    monkeypatch.setattr(placement, "_decided", by_what_was_seen)
    with pytest.raises(AssertionError):
        check_what_helped_earlier_only_is_not_proposed()


def test_every_way_differs_from_the_one_in_force_in_one_setting() -> None:
    found = ways(DELIVERED, [4.0, 400.0, "all", None])
    assert found[0] == Way(policy="expected_completion", others=1.0)
    assert all((one.policy == found[0].policy) is not (one.others == found[0].others) for one in found[1:])
    assert {one.others for one in found} == {*OTHERS, 4.0}, "what another node kept is measured as well"
    assert len({one.policy for one in found}) == 3
    queues = ways(RuntimeSettings(placement_policy="least_in_flight"))
    assert {one.others for one in queues} == {1.0}, "a weight that nothing hangs on is not looked at"


async def test_a_night_proposes_what_the_scheduler_replayed(tmp_path: Path) -> None:
    asked: list[ReplayPlacements] = []

    def scheduler(request: ReplayPlacements) -> PlacementsReplayed:
        asked.append(request)
        return told(*(steady(8.0 if one.others == 2.5 else 10.0) for one in request.ways))

    others = (Tried(key="placement_others", value=2.5, proposed=True),)
    async with night(tmp_path, (), placements=scheduler, others=others) as (work, around):
        report = await propose(work)
    assert asked[0].ways[0] == Way(policy="expected_completion", others=1.0)
    (change,) = around.proposed
    assert (change.key, change.value) == ("placement_others", 2.5)
    assert report.changes == ("change-1",)
    assert "placement_others 1.0 → 2.5" in report.done
