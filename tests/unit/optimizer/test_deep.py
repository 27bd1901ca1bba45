"""The deep phase proposes what held-out questions bear out, goes on after a kill, and drops what is withdrawn."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from libs.shared.contracts.replay import Evidence
from libs.shared.contracts.runtime_settings import RecallWeights, RuntimeSettings
from services.optimizer.phases import deep
from services.optimizer.phases.base import Job, JobFailed
from services.optimizer.phases.deep import propose
from services.optimizer.replay import held as holding
from services.optimizer.replay import parting
from services.optimizer.tuning import jobs
from services.optimizer.tuning.exchange import TuneJob
from services.optimizer.tuning.search_file import FILE
from tests.unit.optimizer.asked import asked
from tests.unit.optimizer.nights import Work, night

POINTS = 60
BAD = RuntimeSettings(recall_weights=RecallWeights(terms=0.0, episode_terms=0.0, meaning=1.5, length=1.5))
GOOD = RuntimeSettings(recall_weights=RecallWeights(terms=2.0, meaning=0.0, length=0.0, importance=0.0))


@pytest.fixture(autouse=True)
def few_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deep, "POINTS", POINTS)
    monkeypatch.setattr(deep, "PORTION", 25)


def misleading(count: int) -> list[Evidence]:
    """What helps where it is tuned harms where it is judged: a search alone would fall for it."""
    telling, other = asked(count), asked(count, telling="importance")
    aside = [parting.aside(one, parting.SALT, parting.HELD_OUT) for one in telling]
    return [other[place] if out else telling[place] for place, out in enumerate(aside)]


async def test_weights_that_find_more_are_proposed_with_their_measure(tmp_path: Path) -> None:
    async with night(tmp_path, asked(200), BAD) as (work, around):
        report = await propose(work)
    change = next(one for one in around.proposed if one.key == "recall_weights")
    assert change.value["terms"] > 0.2
    assert "terms 0 →" in change.reason
    assert (change.actor, change.apply) == ("optimizer", False)
    (tried, *_) = report.tried
    (recall,) = [one for one in tried.measured if one.measure == "recall"]
    assert recall.by == "replay"
    assert recall.after > recall.before
    assert recall.low > 0
    assert report.changes[0] == tried.change_id == "change-1"
    assert change.measured == tried.measured
    assert around.decided == [], "what a replay tells of is evaluated by the pipeline, not by whoever proposes it"
    assert not report.left
    assert len(report.done) <= 500


async def test_what_gains_nothing_stays_as_it_is(tmp_path: Path) -> None:
    async with night(tmp_path, asked(200), BAD) as (work, around):
        await propose(work)
    change = next(one for one in around.proposed if one.key == "recall_weights")
    kept = [name for name, value in BAD.recall_weights if change.value[name] == value]
    assert {"speaker", "time", "number", "name", "repetition", "subject"} <= set(kept)


async def test_the_best_weights_are_left_alone(tmp_path: Path) -> None:
    async with night(tmp_path, asked(200), GOOD) as (work, around):
        report = await propose(work)
    assert [one.key for one in around.proposed if one.key == "recall_weights"] == []
    assert "recall_weights: " in report.done


async def check_what_helps_only_where_it_was_tuned_is_not_proposed(folder: Path) -> None:
    settings = RuntimeSettings(recall_weights=RecallWeights(terms=0.0, episode_terms=0.0, importance=2.0))
    async with night(folder, misleading(160), settings) as (work, around):
        await propose(work)
    assert [one.key for one in around.proposed if one.key == "recall_weights"] == []


async def test_what_helps_only_where_it_was_tuned_is_not_proposed(tmp_path: Path) -> None:
    await check_what_helps_only_where_it_was_tuned_is_not_proposed(tmp_path)


async def test_the_check_notices_that_the_held_out_part_is_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def the_same(given: Sequence[Evidence]) -> tuple[holding.Held, holding.Held]:
        tuning, _ = holding.parted(given)
        return tuning, tuning

    monkeypatch.setattr(jobs, "parted", the_same)
    with pytest.raises(AssertionError):
        await check_what_helps_only_where_it_was_tuned_is_not_proposed(tmp_path)


async def test_too_few_questions_propose_nothing_and_say_why(tmp_path: Path) -> None:
    async with night(tmp_path, asked(40), BAD) as (work, around):
        report = await propose(work)
    assert around.proposed == []
    assert work.jobs == []
    assert "mongars consents tuning on" in report.done


def dying_at(job_number: int, work: Work) -> None:
    def before(_: Job) -> None:
        if len(work.jobs) == job_number:
            raise JobFailed("killed")

    work.before_job = before


async def test_a_killed_search_goes_on_and_comes_to_the_same(tmp_path: Path) -> None:
    async with night(tmp_path / "whole", asked(160), BAD) as (work, around):
        await propose(work)
        whole = around.proposed
    async with night(tmp_path / "killed", asked(160), BAD) as (work, around):
        dying_at(1, work)
        with pytest.raises(JobFailed):
            await propose(work)
        kept = (tmp_path / "killed" / FILE).read_text()
        dying_at(-1, work)
        work.jobs.clear()
        await propose(work)
    assert len(TuneJob.model_validate_json(work.jobs[0].payload).done) == 25
    assert around.proposed == whole
    assert not any(one.turn_id in kept or one.conversation_id in kept for one in asked(160))
    assert not (tmp_path / "killed" / FILE).exists()


async def check_what_is_withdrawn_is_out_of_the_search(folder: Path) -> None:
    async with night(folder, asked(200), BAD) as (work, around):
        gone = {one.turn_id for one in around.evidence[:40]}

        def withdraws(_: Job) -> None:
            if len(work.jobs) == 1:
                around.withdrawn |= gone

        work.before_job = withdraws
        await propose(work)
    seen = [{one.turn_id for one in TuneJob.model_validate_json(job.payload).evidence} for job in work.jobs]
    assert seen[1] & gone == gone, "this portion was under way"
    assert all(not ids & gone for ids in seen[2:])
    assert TuneJob.model_validate_json(work.jobs[-1].payload).finish


async def test_what_is_withdrawn_is_out_of_the_search(tmp_path: Path) -> None:
    await check_what_is_withdrawn_is_out_of_the_search(tmp_path)


async def test_the_check_notices_that_withdrawals_are_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def everything(_: object, given: Sequence[Evidence]) -> list[Evidence]:
        return list(given)

    monkeypatch.setattr(deep, "still_allowed", everything)
    with pytest.raises(AssertionError):
        await check_what_is_withdrawn_is_out_of_the_search(tmp_path)


async def test_without_time_it_says_that_there_is_more(tmp_path: Path) -> None:
    async with night(tmp_path, asked(200), BAD, seconds_left=1.0) as (work, _):
        report = await propose(work)
    assert report.left
    assert work.jobs == []


def test_the_waiting_process_loads_no_searcher() -> None:
    """Numbers are crunched in the child alone: the optimizer's own process stays small through the night."""
    asking = "import sys, services.optimizer.phases.deep; print(sorted({'numpy', 'optuna'} & set(sys.modules)))"
    told = subprocess.run([sys.executable, "-c", asking], capture_output=True, text=True, check=True, timeout=60)
    assert told.stdout.strip() == "[]"
