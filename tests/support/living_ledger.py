"""The ledger of a running installation as it is seen from outside, and what must be true of it whatever was killed."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from cli.installation import load
from libs.shared.bus.base import Bus
from libs.shared.bus.nats import NatsBus
from libs.shared.contracts.base import Principal
from libs.shared.contracts.ledger import (
    DECIDE_CHANGE,
    LIST_CHANGES,
    PROPOSE_CHANGE,
    READ_SETTINGS,
    SETTINGS,
    SETTINGS_KEY,
    VERIFY_LEDGER,
    Change,
    ChangeKind,
    ChangeState,
    DecideChange,
    Decision,
    InForce,
    LedgerVerified,
    ListChanges,
    Measured,
    ProposeChange,
    ReadSettings,
    SettingsRead,
    VerifyLedger,
    heard_in_force,
)
from libs.shared.contracts.runtime_settings import RuntimeSettings
from libs.shared.contracts.sleep import SLEEP_NOW, SLEEP_STATUS, Cycle, Phase, ReadSleep, SleepNow, SleepStatus
from libs.shared.errors import ServiceError
from tests.support.installation import Installation

T = TypeVar("T")
AGAIN_S = 60.0
"""So long something is asked for again while parts are away."""
GAIN = Measured(measure="first_token_s", by="replay", before=0.5, after=0.4, low=-0.2, high=-0.05, samples=40)
_P, _E, _A, _C = ChangeState.PROPOSED, ChangeState.EVALUATED, ChangeState.APPROVED, ChangeState.CANARY
_APPLIED, _KEPT, _REJECTED, _GONE = (
    ChangeState.APPLIED,
    ChangeState.KEPT,
    ChangeState.REJECTED,
    ChangeState.ROLLED_BACK,
)
FOLLOWS = {
    _P: {_E, _REJECTED, _APPLIED},
    _E: {_A, _C, _APPLIED, _REJECTED},
    _A: {_C, _APPLIED, _REJECTED},
    _C: {_APPLIED, _GONE},
    _APPLIED: {_KEPT, _GONE},
    _KEPT: {_GONE},
    _REJECTED: {_APPLIED},
    _GONE: set(),
}
"""Which step may follow which: of people's and of the optimizer's changes together."""


class LivingLedger:
    """Asked over the broker, each time anew, and again while nobody answers."""

    def __init__(self, installed: Installation) -> None:
        self._installed = installed

    def _as(self, principal: Principal, ask: Callable[[Bus], Awaitable[T]]) -> T:
        async def asked() -> T:
            there = load(self._installed.state, by_root=True)
            bus = await NatsBus.connect(
                there.nats_url, principal=principal, seed_file=there.folder.nkey(principal), name="tests"
            )
            try:
                return await ask(bus)
            finally:
                await bus.drain(1)

        return again(asked)

    def propose(self, key: str, value: Any, *, actor: str, apply: bool = False) -> Change:
        """The optimizer's own by its own key."""
        request = ProposeChange(key=key, value=value, actor=actor, apply=apply, reason="tried")
        principal = Principal.OPTIMIZER if actor == "optimizer" else Principal.API
        return self._as(principal, lambda bus: bus.request(PROPOSE_CHANGE, request))

    def decide(self, change: Change, decision: Decision, *, actor: str = "root") -> Change:
        asked = DecideChange(
            change_id=change.change_id,
            decision=decision,
            actor=actor,
            reason=f"{decision.value} it",
            measured=(GAIN,) if decision is Decision.ACCEPT else (),
        )
        principal = Principal.OPTIMIZER if actor == "optimizer" else Principal.API
        return self._as(principal, lambda bus: bus.request(DECIDE_CHANGE, asked))

    def read(self, change_id: str) -> Change:
        asked = ListChanges(limit=1, change_id=change_id, steps=True)
        return self._as(Principal.API, lambda bus: bus.request(LIST_CHANGES, asked)).changes[0]

    def until(self, change: Change, *states: ChangeState) -> Change:
        """Once it is in one of these."""
        begun, pause = time.monotonic(), threading.Event()
        while (found := self.read(change.change_id)).state not in states:
            assert time.monotonic() - begun < AGAIN_S, f"{found.key} is {found.state.value} for {AGAIN_S:.0f} s"
            pause.wait(0.1)
        return found

    def sleep(self, *phases: Phase) -> Cycle:
        return self._as(Principal.API, lambda bus: bus.request(SLEEP_NOW, SleepNow(phases=phases)))

    def sleeping(self) -> SleepStatus:
        return self._as(Principal.API, lambda bus: bus.request(SLEEP_STATUS, ReadSleep()))

    def all(self) -> list[Change]:
        """Oldest first, with their steps."""

        async def read(bus: Bus) -> list[Change]:
            found: list[Change] = []
            cursor: str | None = None
            while True:
                page = await bus.request(LIST_CHANGES, ListChanges(limit=100, steps=True, cursor=cursor))
                found += page.changes
                cursor = page.next_cursor
                if cursor is None:
                    return found[::-1]

        return self._as(Principal.API, read)

    def verified(self) -> LedgerVerified:
        return self._as(Principal.API, lambda bus: bus.request(VERIFY_LEDGER, VerifyLedger()))

    def in_database(self) -> SettingsRead:
        return self._as(Principal.API, lambda bus: bus.request(READ_SETTINGS, ReadSettings()))

    def in_bucket(self) -> InForce | None:
        async def read(bus: Bus) -> InForce | None:
            value = await bus.bucket(SETTINGS).get(SETTINGS_KEY)
            return heard_in_force(value) if value is not None else None

        return self._as(Principal.API, read)


def again(ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Asked again while whoever answers is away; any other refusal is raised."""
    begun, pause = time.monotonic(), threading.Event()
    while True:
        try:
            return asyncio.run(ask())
        except (ServiceError, OSError) as error:
            away = not isinstance(error, ServiceError) or error.code in ("unavailable", "timed_out", "internal")
            if not away or time.monotonic() - begun > AGAIN_S:
                raise
            pause.wait(0.1)


def expected_in_force(changes: list[Change]) -> dict[str, Change]:
    """By key, what the steps alone say: of those applied and not undone, the one that was applied last."""
    applied = [(step.sequence, change) for change in changes for step in change.steps if step.state is _APPLIED]
    standing = [(at, change) for at, change in applied if change.state in (_APPLIED, _KEPT)]
    return {change.key: change for _, change in sorted(standing, key=lambda one: one[0])}


def half_applied(ledger: LivingLedger) -> list[str]:
    """Everything that doesn't fit: what is in force and what the ledger says, states and steps, bucket and database."""
    changes = ledger.all()
    expected, found = expected_in_force(changes), list[str]()
    for change in changes:
        states = [step.state for step in change.steps]
        if not states or states[0] is not _P or states[-1] is not change.state:
            found.append(f"{change.change_id}: {change.state.value}, and its steps say {states}")
        found += [
            f"{change.change_id}: {then.value} after {before.value}"
            for before, then in itertools.pairwise(states)
            if then not in FOLLOWS[before]
        ]
        if change.in_force != (expected.get(change.key) == change):
            found.append(f"{change.change_id}: {change.state.value} and in force: {change.in_force}")
    values = {key: change.after for key, change in expected.items() if change.kind is ChangeKind.SETTING}
    settings = RuntimeSettings.model_validate({**RuntimeSettings().model_dump(mode="json"), **values}, strict=False)
    if (held := ledger.in_database().settings) != settings:
        found.append(f"the database holds {held}")
    if (verified := ledger.verified()).broken_at is not None or verified.entry_broken_at is not None:
        found.append(f"the chain is broken: {verified}")
    return found
