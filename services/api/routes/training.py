"""``/api/v1/training/runs``: training at home, for operators."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Path
from pydantic import ConfigDict, Field, model_validator

from libs.shared.contracts.common import AdapterName, Id
from libs.shared.contracts.training import (
    CANCEL_RUN,
    LIST_RUNS,
    NEEDED,
    READ_RUN,
    START_RUN,
    AdapterOptions,
    AdapterWanted,
    FileName,
    ListRuns,
    MntpOptions,
    RunKind,
    RunRef,
    RunState,
    StartRun,
    TrainingRun,
    TrainingRuns,
)
from libs.shared.contracts.training import Evaluated as EvaluatedRun
from services.api.access import Access
from services.api.bodies import Body
from services.api.pages import PageOf
from services.api.routing import Endpoint, PartsOf

RunId = Annotated[Id, Path(description="As the list shows it.")]


class Options(MntpOptions):
    """How long and how wide the trainings are; what isn't given is as published."""

    model_config = ConfigDict(extra="forbid")


class OptionsOfAdapter(AdapterOptions):
    """How long and how wide an adapter's training is."""

    model_config = ConfigDict(extra="forbid")


class NewAdapter(Body):
    """An adapter out of conversations that their owners allow to be trained on."""

    name: AdapterName = Field(description="Under which it is kept, and asked for.")
    base: str | None = Field(
        default=None,
        min_length=1,
        max_length=190,
        description="The name under which the model is served, where that isn't the folder's.",
    )
    owners: list[Id] = Field(
        default=[], max_length=1000, description="Ids of users: their words alone. Empty: of everybody who allows it."
    )
    rated_up: bool = Field(default=False, description="Only answers that were rated up.")
    options: OptionsOfAdapter = OptionsOfAdapter()


class Evaluated(Body):
    """What to measure anew."""

    subject: AdapterName = Field(description="The name of an adapter or an encoder, or a run's id.")


class NewRun(Body):
    """What to train, and on what, or what to measure anew. Texts are files that lie in ``training/texts`` of the state
    folder: they are never sent over HTTP. An adapter learns from conversations."""

    kind: Literal["mntp", "adapter", "evaluate"] = "mntp"
    model: FileName | None = Field(
        default=None, description="A Hugging Face folder in `models`; `evaluate` finds it out."
    )
    text: FileName | None = Field(
        default=None,
        description="A file in `training/texts` of the state folder: what `mntp` learns from, and what the others must "
        "not be worse at.",
    )
    sts: FileName | None = Field(
        default=None, description="To measure an encoder on: rated pairs, a file in `training/texts`."
    )
    own: bool = Field(default=False, description="`mntp` learns from what may be trained on, too, or alone.")
    seed: int = Field(default=0, ge=0, lt=2**31)
    options: Options = Options()
    adapter: NewAdapter | None = Field(default=None, description="For `adapter`.")
    evaluate: Evaluated | None = Field(
        default=None, description="For `evaluate`: an adapter or an encoder that is kept, or a run."
    )

    @model_validator(mode="after")
    def _has_what_its_kind_needs(self) -> NewRun:
        others = {"mntp": ("adapter", "evaluate"), "adapter": ("evaluate",), "evaluate": ("adapter", "model")}
        missing = [name for name in NEEDED[RunKind(self.kind)] if getattr(self, name) is None]
        foreign = [name for name in others[self.kind] if getattr(self, name) is not None]
        if self.kind == "mntp" and self.text is None and not self.own:
            missing.append("text")
        if missing or foreign:
            raise ValueError("Give model and text (or own) for mntp, and what else its kind needs")
        return self


async def start_run(parts: PartsOf, body: NewRun) -> TrainingRun:
    """Asks for a run. It waits until the machine has room, makes way for requests, and goes on by itself."""
    options = MntpOptions.model_validate(body.options.model_dump())
    adapter = AdapterWanted.model_validate_json(body.adapter.model_dump_json()) if body.adapter is not None else None
    wanted = StartRun(
        kind=RunKind(body.kind),
        model=body.model,
        text=body.text,
        sts=body.sts,
        own=body.own,
        seed=body.seed,
        options=options,
        adapter=adapter,
        evaluate=EvaluatedRun(subject=body.evaluate.subject) if body.evaluate is not None else None,
    )
    return await parts.bus.request(START_RUN, wanted)


async def list_runs(parts: PartsOf, page: PageOf, state: RunState | None = None) -> TrainingRuns:
    """Newest first."""
    return await parts.bus.request(LIST_RUNS, ListRuns(limit=page.limit, cursor=page.cursor, state=state))


async def read_run(parts: PartsOf, run_id: RunId) -> TrainingRun:
    """One run: where it stands, or what came of it."""
    return await parts.bus.request(READ_RUN, RunRef(run_id=run_id))


async def cancel_run(parts: PartsOf, run_id: RunId) -> TrainingRun:
    """Ends a run, and answers with how it is kept; what it has learnt stays in its folder."""
    return await parts.bus.request(CANCEL_RUN, RunRef(run_id=run_id))


_OPTIONS: dict[str, Any] = {"tags": ["training"]}
_ALL, _ONE = "/api/v1/training/runs", "/api/v1/training/runs/{run_id}"
_OF: dict[str, Any] = {"access": Access.OPERATOR, "options": _OPTIONS}
ENDPOINTS = (
    Endpoint(method="GET", path=_ALL, handler=list_runs, **_OF),
    Endpoint(method="POST", path=_ALL, handler=start_run, status=202, **_OF),
    Endpoint(method="GET", path=_ONE, handler=read_run, **_OF),
    Endpoint(method="DELETE", path=_ONE, handler=cancel_run, **_OF),
)
