"""Training runs over HTTP: asked for, listed, read and cancelled by operators, and refusals as problem documents."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from libs.shared.contracts.base import Principal
from libs.shared.contracts.common import Role
from libs.shared.contracts.training import (
    CANCEL_RUN,
    LIST_RUNS,
    READ_RUN,
    START_RUN,
    AdapterOptions,
    AdapterWanted,
    Evaluated,
    ListRuns,
    MntpOptions,
    RunKind,
    RunRef,
    RunState,
    StartRun,
    TrainingRun,
    TrainingRuns,
)
from libs.shared.errors import ModelDoesNotFit, RunNotFound
from tests.unit.api.house import Api

PATH = "/api/v1/training/runs"
RUN = TrainingRun(
    run_id="r1",
    kind=RunKind.MNTP,
    state=RunState.QUEUED,
    model="llama",
    text="diary.txt",
    seed=0,
    options=MntpOptions(steps=5),
    created_at=datetime(2026, 5, 4, tzinfo=UTC),
)


class Trainer:
    """What was asked of it and of persistence."""

    def __init__(self) -> None:
        self.asked: list[object] = []

    async def serve(self, api: Api) -> None:
        trainer, kept = api.house.buses[Principal.TRAINER], api.house.buses[Principal.PERSISTENCE]
        await trainer.serve(START_RUN, self.start)
        await trainer.serve(CANCEL_RUN, self.cancel)
        await kept.serve(READ_RUN, self.read)
        await kept.serve(LIST_RUNS, self.every)

    async def start(self, wanted: StartRun) -> TrainingRun:
        self.asked.append(wanted)
        if wanted.model == "giant":
            raise ModelDoesNotFit("it would fit with block_tokens 64", needed_mib=9000, available_mib=100)
        return RUN

    async def cancel(self, ref: RunRef) -> TrainingRun:
        return (await self.read(ref)).model_copy(update={"state": RunState.CANCELLED})

    async def read(self, ref: RunRef) -> TrainingRun:
        if ref.run_id != "r1":
            raise RunNotFound("there is no such training run")
        return RUN

    async def every(self, wanted: ListRuns) -> TrainingRuns:
        self.asked.append(wanted)
        return TrainingRuns(runs=(RUN,), next_cursor="more")


@pytest.fixture
async def trainer(api: Api) -> Trainer:
    made = Trainer()
    await made.serve(api)
    return made


async def test_an_operator_asks_for_a_run_and_may_cancel_it(api: Api, trainer: Trainer) -> None:
    operator = await api.session("ops", Role.OPERATOR)
    body = {"model": "llama", "text": "diary.txt", "options": {"steps": 5, "learning_rate": 1}}
    answer = await api.client.post(PATH, json=body, headers=operator)
    assert (answer.status_code, answer.json()["run_id"], answer.json()["state"]) == (202, "r1", "queued")
    options = MntpOptions(steps=5, learning_rate=1.0)
    assert trainer.asked == [StartRun(model="llama", text="diary.txt", options=options)]
    assert (await api.client.delete(f"{PATH}/r1", headers=operator)).json()["state"] == "cancelled"


async def test_runs_are_listed_by_state_and_read_one_by_one(api: Api, trainer: Trainer) -> None:
    operator = await api.session("ops", Role.OPERATOR)
    listed = (await api.client.get(f"{PATH}?state=running&limit=7", headers=operator)).json()
    assert ([run["run_id"] for run in listed["runs"]], listed["next_cursor"]) == (["r1"], "more")
    assert trainer.asked == [ListRuns(limit=7, state=RunState.RUNNING)]
    assert (await api.client.get(f"{PATH}/r1", headers=operator)).json()["options"]["steps"] == 5
    missing = await api.client.get(f"{PATH}/r2", headers=operator)
    assert (missing.status_code, missing.json()["code"]) == (404, "run_not_found")


async def test_what_does_not_fit_is_refused_with_what_would(api: Api, trainer: Trainer) -> None:
    operator = await api.session("ops", Role.OPERATOR)
    answer = await api.client.post(PATH, json={"model": "giant", "text": "diary.txt"}, headers=operator)
    assert (answer.status_code, answer.json()["code"]) == (507, "model_does_not_fit")
    assert "block_tokens 64" in answer.json()["detail"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"model": "../keys"},
        {"text": ".hidden"},
        {"text": "a/b.txt"},
        {"options": {"steps": 0}},
        {"options": {"stepz": 3}},
        {"kind": "magic"},
        {"seed": "7"},
    ],
)
async def test_what_can_not_be_meant_is_refused_before_anybody_is_asked(
    api: Api, trainer: Trainer, wrong: dict[str, object]
) -> None:
    operator = await api.session("ops", Role.OPERATOR)
    answer = await api.client.post(PATH, json={"model": "llama", "text": "diary.txt"} | wrong, headers=operator)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert trainer.asked == []


async def test_without_a_trainer_runs_are_still_read(api: Api, trainer: Trainer) -> None:
    await api.house.buses[Principal.TRAINER].drain(1.0)
    operator = await api.session("ops", Role.OPERATOR)
    assert (await api.client.get(PATH, headers=operator)).status_code == 200
    refused = await api.client.post(PATH, json={"model": "llama", "text": "diary.txt"}, headers=operator)
    assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")


async def test_a_run_of_an_adapter_is_asked_for_with_what_it_needs(api: Api, trainer: Trainer) -> None:
    operator = api.key("ops", Role.OPERATOR, scopes=("operator",))
    adapter = {"name": "ada", "owners": ["u1"], "rated_up": True, "options": {"passes": 2.5}}
    body = {"kind": "adapter", "model": "llama", "seed": 7, "adapter": adapter}
    assert (await api.client.post(PATH, json=body, headers=operator)).status_code == 202
    (wanted,) = trainer.asked
    assert isinstance(wanted, StartRun)
    assert (wanted.kind, wanted.text, wanted.seed) == (RunKind.ADAPTER, None, 7)
    options = AdapterOptions(passes=2.5)
    assert wanted.adapter == AdapterWanted(name="ada", owners=("u1",), rated_up=True, options=options)


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "adapter", "model": "llama"},
        {"kind": "adapter", "model": "llama", "adapter": {"name": "ada"}, "evaluate": {"subject": "ada"}},
        {"kind": "adapter", "model": "llama", "adapter": {"name": "../ada"}},
        {"kind": "adapter", "model": "llama", "adapter": {"name": "ada", "options": {"steps": 1}}},
        {"kind": "mntp", "model": "llama"},
        {"kind": "mntp", "model": "llama", "text": "diary.txt", "adapter": {"name": "ada"}},
    ],
)
async def test_a_run_with_what_another_kind_needs_is_refused(api: Api, trainer: Trainer, body: dict[str, Any]) -> None:
    operator = api.key("ops", Role.OPERATOR, scopes=("operator",))
    assert (await api.client.post(PATH, json=body, headers=operator)).status_code == 422
    assert trainer.asked == []


async def test_measuring_anew_is_asked_for_by_name_alone(api: Api, trainer: Trainer) -> None:
    operator = await api.session("ops", Role.OPERATOR)
    body = {"kind": "evaluate", "evaluate": {"subject": "ada"}, "sts": "pairs.tsv"}
    assert (await api.client.post(PATH, json=body, headers=operator)).status_code == 202
    assert trainer.asked == [StartRun(kind=RunKind.EVALUATE, evaluate=Evaluated(subject="ada"), sts="pairs.tsv")]
    for wrong in ({"kind": "evaluate"}, body | {"model": "llama"}, {"kind": "mntp", "model": "llama"}):
        assert (await api.client.post(PATH, json=wrong, headers=operator)).status_code == 422
    own = {"model": "llama", "own": True}
    assert (await api.client.post(PATH, json=own, headers=operator)).status_code == 202
    assert trainer.asked[-1] == StartRun(model="llama", own=True)
