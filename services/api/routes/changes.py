"""``/api/v1/settings`` and ``/api/v1/changes``: what is set, and the ledger through which alone it changes."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import Path, Query
from pydantic import AfterValidator, Field, JsonValue

from libs.shared.contracts.common import Id, Role
from libs.shared.contracts.ledger import (
    DECIDE_CHANGE,
    LIST_CHANGES,
    PROPOSE_CHANGE,
    READ_SETTINGS,
    VERIFY_LEDGER,
    Change,
    Changes,
    ChangeState,
    DecideChange,
    Decision,
    LedgerVerified,
    ListChanges,
    ProposeChange,
    ReadSettings,
    SettingsRead,
    VerifyLedger,
)
from libs.shared.errors import ChangeNotFound
from services.api.access import Access, Caller
from services.api.bodies import Body
from services.api.pages import PageOf
from services.api.parts import Parts
from services.api.routing import CallerOf, Endpoint, PartsOf

ChangeId = Annotated[Id, Path()]


def _as_text(value: JsonValue) -> JsonValue:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # JSON can write half a character
        raise ValueError("Input should be valid Unicode") from None
    return value


class Proposal(Body):
    """One setting: each change is a ledger entry of its own, which can be rolled back by itself."""

    key: str = Field(min_length=1, max_length=64, pattern=r"^[a-z0-9_]+$")
    value: Annotated[JsonValue, AfterValidator(_as_text)]
    reason: str = Field(default="", max_length=500, pattern=r"^[^\x00]*$")


async def read_settings(parts: PartsOf) -> SettingsRead:
    """What is in force, and the change that set it last."""
    return await parts.bus.request(READ_SETTINGS, ReadSettings())


class SettingsPatch(Proposal):
    """``apply`` false: only proposes it, as an operator does."""

    apply: bool = True


async def change_setting(parts: PartsOf, caller: CallerOf, body: SettingsPatch) -> Change:
    """Through the ledger: an administrator's change is applied at once, an operator's waits for approval."""
    return await _propose(parts, caller, body, apply=body.apply and caller.role is Role.ADMIN)


async def propose_change(parts: PartsOf, caller: CallerOf, body: Proposal) -> Change:
    """Proposes a setting and applies nothing: it is evaluated on what was really asked, where people allow that, and an
    administrator decides."""
    return await _propose(parts, caller, body, apply=False)


async def _propose(parts: Parts, caller: Caller, body: Proposal, *, apply: bool) -> Change:
    proposed = ProposeChange(key=body.key, value=body.value, reason=body.reason, actor=caller.user_id, apply=apply)
    return await parts.bus.request(PROPOSE_CHANGE, proposed)


async def list_changes(
    parts: PartsOf,
    page: PageOf,
    state: Annotated[ChangeState | None, Query(description="Only those that are in this state")] = None,
    key: Annotated[
        str | None, Query(max_length=80, pattern=r"^[A-Za-z0-9_:-]+$", description="Only those of this key")
    ] = None,
) -> Changes:
    """The ledger, newest first; without what happened to each."""
    asked = ListChanges(limit=page.limit, cursor=page.cursor, state=state, key=key)
    return await parts.bus.request(LIST_CHANGES, asked)


async def read_change(parts: PartsOf, change_id: ChangeId) -> Change:
    """One change, with every step of its life: who, when, why, and what was measured."""
    found = await parts.bus.request(LIST_CHANGES, ListChanges(limit=1, change_id=change_id, steps=True))
    if not found.changes:
        raise ChangeNotFound("there is no such change")
    return found.changes[0]


async def verify_ledger(parts: PartsOf) -> LedgerVerified:
    """Whether every hash, link and signature of the ledger fits. Reads all of it."""
    return await parts.bus.request(VERIFY_LEDGER, VerifyLedger())


async def approve_change(parts: PartsOf, caller: CallerOf, change_id: ChangeId) -> Change:
    """Applies what an operator proposed, also where its evaluation refused it; permits what the optimizer proposed and
    found to help."""
    return await _decide(parts, caller, change_id, Decision.APPROVE)


async def reject_change(parts: PartsOf, caller: CallerOf, change_id: ChangeId) -> Change:
    """Refuses a change that isn't in force."""
    return await _decide(parts, caller, change_id, Decision.REJECT)


async def roll_back_change(parts: PartsOf, caller: CallerOf, change_id: ChangeId) -> Change:
    """Undoes a change: of one that is tried out, its trial."""
    return await _decide(parts, caller, change_id, Decision.ROLL_BACK)


async def _decide(parts: Parts, caller: Caller, change_id: str, decision: Decision) -> Change:
    return await parts.bus.request(
        DECIDE_CHANGE, DecideChange(change_id=change_id, decision=decision, actor=caller.user_id)
    )


_OPTIONS: dict[str, Any] = {"tags": ["settings"]}
_ALL = "/api/v1/changes"
_ONE = "/api/v1/changes/{change_id}"
ENDPOINTS = (
    Endpoint(method="GET", path="/api/v1/settings", handler=read_settings, access=Access.OPERATOR, options=_OPTIONS),
    Endpoint(method="PATCH", path="/api/v1/settings", handler=change_setting, access=Access.OPERATOR, options=_OPTIONS),
    Endpoint(method="POST", path=_ALL, handler=propose_change, access=Access.OPERATOR, status=201, options=_OPTIONS),
    Endpoint(method="GET", path=_ALL, handler=list_changes, access=Access.OPERATOR, options=_OPTIONS),
    Endpoint(method="GET", path=_ALL + "/verify", handler=verify_ledger, access=Access.OPERATOR, options=_OPTIONS),
    Endpoint(method="GET", path=_ONE, handler=read_change, access=Access.OPERATOR, options=_OPTIONS),
    Endpoint(method="POST", path=_ONE + "/approve", handler=approve_change, access=Access.ADMIN, options=_OPTIONS),
    Endpoint(method="POST", path=_ONE + "/reject", handler=reject_change, access=Access.ADMIN, options=_OPTIONS),
    Endpoint(method="POST", path=_ONE + "/rollback", handler=roll_back_change, access=Access.ADMIN, options=_OPTIONS),
)
