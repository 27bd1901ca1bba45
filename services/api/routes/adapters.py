"""``/api/v1/adapters``: what was trained, how it measured, where it answers; putting it into service and out of it."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import Path
from pydantic import BaseModel, Field

from libs.shared.artefacts.standing import Standing, standing
from libs.shared.contracts.adapters import (
    LIST_ADAPTERS,
    REMOVE_ADAPTER,
    ROLL_BACK_ADAPTER,
    SERVE_ADAPTER,
    RemoveAdapter,
    RollBackAdapter,
    RolledBack,
    ServeAdapter,
    ServedRole,
)
from libs.shared.contracts.base import Empty
from libs.shared.contracts.common import AdapterName, Role
from libs.shared.contracts.ledger import Change
from libs.shared.contracts.scheduling import LIST_NODES, Node
from libs.shared.errors import ServiceError
from services.api.access import Access, Caller
from services.api.bodies import Body
from services.api.parts import Parts
from services.api.routing import CallerOf, Endpoint, PartsOf

Name = Annotated[AdapterName, Path(description="As the list shows it.")]


class AdapterList(BaseModel):
    """By name."""

    items: list[Standing]


class Promotion(Body):
    """For which role, and why."""

    role: ServedRole = "chat"
    reason: str = Field(default="", max_length=500, pattern=r"^[^\x00]*$")
    despite_taint: bool = False
    """Also where something that trained it was forgotten since."""
    despite_verdict: bool = False
    """Also an encoder of which no evaluation found that it helps."""


class Trial(Promotion):
    """On how many of the role's conversations."""

    share: float = Field(gt=0, lt=1)


async def list_adapters(parts: PartsOf) -> AdapterList:
    """Each with its measurements, where it answers, which nodes have it and which refuse it."""
    told, nodes = await asyncio.gather(parts.bus.request(LIST_ADAPTERS, Empty()), _nodes(parts))
    return AdapterList(items=[standing(kept, nodes) for kept in told.adapters])


async def promote(parts: PartsOf, caller: CallerOf, name: Name, body: Promotion) -> Change:
    """Every request of the role, through the ledger: an administrator's change is applied at once, an operator's waits
    for approval. Where no node has it yet, the model answers without. An encoder embeds every memory anew."""
    return await _serve(parts, caller, name, body, 1.0)


async def try_out(parts: PartsOf, caller: CallerOf, name: Name, body: Trial) -> Change:
    """A share of the role's conversations; one that has it keeps it."""
    return await _serve(parts, caller, name, body, body.share)


async def roll_back(parts: PartsOf, caller: CallerOf, name: Name) -> RolledBack:
    """Undoes every change that has it in service; what answered before answers again at once."""
    return await parts.bus.request(ROLL_BACK_ADAPTER, RollBackAdapter(adapter=name, actor=caller.user_id))


async def remove(parts: PartsOf, caller: CallerOf, name: Name) -> None:
    """From the store and the nodes, for good; one in service is rolled back first."""
    await parts.bus.request(REMOVE_ADAPTER, RemoveAdapter(adapter=name, actor=caller.user_id))


async def _serve(parts: Parts, caller: Caller, name: str, body: Promotion, share: float) -> Change:
    asked = ServeAdapter(
        adapter=name,
        role=body.role,
        share=share,
        reason=body.reason,
        actor=caller.user_id,
        apply=caller.role is Role.ADMIN,
        despite_taint=body.despite_taint,
        despite_verdict=body.despite_verdict,
    )
    return await parts.bus.request(SERVE_ADAPTER, asked)


async def _nodes(parts: Parts) -> tuple[Node, ...]:
    """None while the scheduler is away: the list is worth telling without them."""
    try:
        return (await parts.bus.request(LIST_NODES, Empty())).nodes
    except ServiceError:
        return ()


_OPTIONS: dict[str, Any] = {"tags": ["adapters"]}
_ALL, _ONE = "/api/v1/adapters", "/api/v1/adapters/{name}"
ENDPOINTS = (
    Endpoint(method="GET", path=_ALL, handler=list_adapters, access=Access.OPERATOR, options=_OPTIONS),
    Endpoint(method="POST", path=_ONE + "/promote", handler=promote, access=Access.OPERATOR, options=_OPTIONS),
    Endpoint(method="POST", path=_ONE + "/canary", handler=try_out, access=Access.OPERATOR, options=_OPTIONS),
    Endpoint(method="POST", path=_ONE + "/rollback", handler=roll_back, access=Access.ADMIN, options=_OPTIONS),
    Endpoint(method="DELETE", path=_ONE, handler=remove, access=Access.ADMIN, status=204, options=_OPTIONS),
)
