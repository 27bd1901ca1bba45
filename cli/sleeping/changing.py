"""Proposing a change, deciding on one, and waiting until those of a cycle are decided."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any

from cli.errors import CommandError, Exit
from cli.installation import Installation

if TYPE_CHECKING:
    from libs.shared.bus.base import Bus
    from libs.shared.contracts.ledger import Change, Decision

DECIDED_WITHIN_S = 120.0
"""What a cycle proposed is waited for as long: where requests come without a break, its evaluation waits too."""
_LOOK_S = 0.5
REMEDIES = {
    "setting_unknown": "docs/configuration.md lists the settings that can be changed while it runs",
    "invalid_request": "docs/configuration.md says which values each setting takes",
    "change_not_found": "mongars sleep ledger lists them",
    "change_state": "mongars sleep ledger CHANGE says how it stands",
}
"""By the code of a refusal."""


def value_of(text: str) -> Any:
    """As JSON; what is none is the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


async def propose(installation: Installation, key: str, value: Any, reason: str) -> Change:
    """Nothing is applied by it. Raises CommandError with what to do."""
    from cli.training.artefacts import actor
    from libs.shared.contracts.ledger import PROPOSE_CHANGE, ProposeChange

    async with _refusals_explained(installation) as bus:
        return await bus.request(PROPOSE_CHANGE, ProposeChange(key=key, value=value, reason=reason, actor=actor()))


async def decide(installation: Installation, change_id: str, decision: Decision, reason: str) -> Change:
    """Raises CommandError where there is no such change, or the decision doesn't fit it as it is now."""
    from cli.training.artefacts import actor
    from libs.shared.contracts.ledger import DECIDE_CHANGE, DecideChange

    async with _refusals_explained(installation) as bus:
        wanted = DecideChange(change_id=change_id, decision=decision, actor=actor(), reason=reason)
        return await bus.request(DECIDE_CHANGE, wanted)


async def once_decided(
    installation: Installation,
    change_ids: Sequence[str],
    show: Callable[[str], None],
    *,
    limit_s: float = DECIDED_WITHIN_S,
) -> list[tuple[Change, bool]]:
    """Each with whether it waits for an administrator, once all are decided or wait; after ``limit_s`` as they are."""
    from cli.bus import as_command
    from libs.shared.errors import ServiceError

    begun, found = monotonic(), list[tuple["Change", bool]]()
    async with as_command(installation) as bus:
        while True:
            try:
                found = await _standing(bus, change_ids)
            except ServiceError:  # persistence is starting again, perhaps: it is asked again within the time
                if monotonic() - begun > limit_s:
                    raise
            else:
                left = [change for change, waits in found if not (waits or settled(change))]
                if not left or monotonic() - begun > limit_s:
                    return found
                show(f"waits until {', '.join(change.key for change in left)} is decided")
            await asyncio.sleep(_LOOK_S)


def settled(change: Change) -> bool:
    """Whether the pipeline has nothing more to do before it is in force, or is not to be."""
    from libs.shared.contracts.ledger import ChangeState

    return change.state not in (ChangeState.PROPOSED, ChangeState.EVALUATED, ChangeState.APPROVED)


async def _standing(bus: Bus, change_ids: Sequence[str]) -> list[tuple[Change, bool]]:
    from libs.shared.contracts.ledger import LIST_CHANGES, ChangeState, ListChanges, asks_approval

    settings = await _settings(bus)
    found: list[tuple[Change, bool]] = []
    for change_id in change_ids:
        asked = ListChanges(limit=1, change_id=change_id, steps=True)
        for change in (await bus.request(LIST_CHANGES, asked)).changes:
            waits = change.state is ChangeState.EVALUATED and asks_approval(settings, change.kind)
            found.append((change, waits))
    return found


async def _settings(bus: Bus) -> Any:
    from libs.shared.contracts.ledger import READ_SETTINGS, ReadSettings

    return (await bus.request(READ_SETTINGS, ReadSettings())).settings


@asynccontextmanager
async def _refusals_explained(installation: Installation) -> AsyncIterator[Bus]:
    from cli.bus import as_command
    from libs.shared.errors import ServiceError

    async with as_command(installation) as bus:
        try:
            yield bus
        except ServiceError as error:
            if error.code not in REMEDIES:
                raise
            raise CommandError(error.detail, REMEDIES[error.code], code=Exit.REFUSED) from None
