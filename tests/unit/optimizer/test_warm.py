"""What others kept is tried first and believed never."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.shared.contracts.ledger import Measured
from libs.shared.contracts.runtime_settings import RecallWeights
from libs.shared.contracts.sleep import Tried
from services.optimizer.phases import deep
from services.optimizer.phases.deep import propose
from services.optimizer.tuning.exchange import TuneJob
from services.optimizer.tuning.space import BOUNDS, admitted, point_of, weights_of
from services.optimizer.tuning.warm import MOST_SHARED, Kept, kept_in, start_from
from tests.unit.optimizer.asked import asked
from tests.unit.optimizer.nights import night
from tests.unit.optimizer.test_deep import BAD, GOOD

OWN = point_of(RecallWeights())
NOTHING = RecallWeights(**dict.fromkeys(RecallWeights.model_fields, 0.0))


def claimed(value: Any, gain: float = 0.5, *, proposed: bool = True) -> Tried:
    told = Measured(measure="recall", by="replay", before=0.2, after=0.2 + gain, low=gain, high=gain, samples=99)
    return Tried(key="recall_weights", value=value, measured=(told,), proposed=proposed)


@pytest.mark.parametrize(
    "lie",
    [
        None,
        "all of it",
        {},
        {"terms": 1.0},
        dict.fromkeys(BOUNDS, 1e9),
        dict.fromkeys(BOUNDS, -1.0),
        dict.fromkeys(BOUNDS, float("nan")),
        dict.fromkeys(BOUNDS, "1.0"),
        dict.fromkeys(BOUNDS, 1.0) | {"more": 1.0},
        OWN | {"terms": 9.0},
    ],
)
def test_what_is_no_weights_within_bounds_is_left_out(lie: Any) -> None:
    assert start_from([Kept(lie, 9.0)], OWN) == ()


def test_the_highest_claims_come_first_once_each_and_boundedly() -> None:
    points = [OWN | {"terms": n / 10 + 0.05} for n in range(12)]
    shared = [Kept(point, float(n)) for n, point in enumerate(points)] * 2 + [Kept(OWN, 99.0)]
    found = start_from(shared, OWN)
    assert found == tuple(reversed(points))[:MOST_SHARED]


@given(
    st.lists(
        st.builds(Kept, value=st.dictionaries(st.sampled_from(list(BOUNDS)), st.floats()) | st.text(), gain=st.floats())
    )
)
def test_whatever_is_told_only_points_within_bounds_are_tried(shared: list[Kept]) -> None:
    for point in start_from(shared, OWN):
        weights_of(point)
        assert all(low <= point[name] <= high for name, (low, high) in BOUNDS.items())


@given(
    st.builds(
        RecallWeights, **{name: st.floats(0, 1 if name == "repetition" else 10) for name in BOUNDS if name != "asks"}
    )
)
def test_weights_out_of_bounds_become_smaller_in_proportion(weights: RecallWeights) -> None:
    point = point_of(weights)
    assert admitted(point) is not None
    moved = [getattr(weights, name) / value for name, value in point.items() if value and name != "repetition"]
    assert all(one == pytest.approx(moved[0]) for one in moved)


def test_only_what_was_proposed_of_the_key_is_taken() -> None:
    others = (claimed(OWN, proposed=False), claimed(OWN).model_copy(update={"key": "recall_k"}), claimed(OWN, 0.25))
    (kept,) = kept_in(others, "recall_weights")
    assert kept.value == OWN
    assert kept.gain == pytest.approx(0.25)


async def check_a_lie_costs_an_evaluation_and_changes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights in force are the best: whatever another node claims, they stay."""
    monkeypatch.setattr(deep, "POINTS", 40)
    lies = (claimed(NOTHING.model_dump()), claimed(dict.fromkeys(BOUNDS, 1e9)))
    async with night(folder, asked(160), GOOD, others=lies) as (work, around):
        await propose(work)
    first = TuneJob.model_validate_json(work.jobs[-1].payload).done
    assert first[1].point == point_of(NOTHING), "it was looked at, once"
    assert [one.point for one in first].count(point_of(NOTHING)) == 1
    assert first[1].value < first[0].value
    assert [one.key for one in around.proposed if one.key == "recall_weights"] == []


async def test_a_lie_costs_an_evaluation_and_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await check_a_lie_costs_an_evaluation_and_changes_nothing(tmp_path, monkeypatch)


async def test_the_check_notices_that_another_node_is_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from services.optimizer.tuning import searching

    honest = searching._measured

    def believing(objective: searching.Objective, point: dict[str, float], best: float) -> tuple[float, bool]:
        return (1.0, False) if point == point_of(NOTHING) else honest(objective, point, best)

    monkeypatch.setattr(searching, "_measured", believing)
    with pytest.raises(AssertionError):
        await check_a_lie_costs_an_evaluation_and_changes_nothing(tmp_path, monkeypatch)


async def test_what_another_kept_is_reached_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deep, "POINTS", 3)
    others = (claimed(GOOD.recall_weights.model_dump()),)
    async with night(tmp_path, asked(200), BAD, others=others) as (work, around):
        await propose(work)
    change = next(one for one in around.proposed if one.key == "recall_weights")
    assert change.value["terms"] > 0.2
