"""The caretaker's duty: look, decide, send. Where no address was added it looks at nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cli.alerts import targets
from cli.alerts.conditions import DiskFact, Facts, NodeFact, conditions
from cli.alerts.deciding import decide
from cli.caretaker import record
from libs.shared.layout import StateFolder

if TYPE_CHECKING:
    from cli.installation import Installation

DUTY = "alerts"
_MIB = 2**20


async def alerts(folder: StateFolder) -> str:
    """Says how many are open and how many wait. Raises CommandError, OSError."""
    chosen = targets.read(folder)
    if not chosen:
        return "no address to send to"
    from cli.alerts import outbox  # what follows takes memory that most installations needn't give
    from cli.alerts.sending import send

    before = outbox.read(folder)
    facts, restarts = await _looked(folder, before.restarts)
    raised = [key for key, episode in before.episodes.items() if episode.raised]
    episodes, new = decide(before.episodes, conditions(facts, raised))
    now_s = time.time()
    waiting = outbox.added(before.waiting, new, chosen, now_s)
    outbox.write(folder, outbox.Kept(episodes, waiting, restarts))
    left = await asyncio.to_thread(outbox.sent, waiting, send, chosen, now_s)
    outbox.write(folder, outbox.Kept(episodes, left, restarts))
    opened = sum(episode.raised for episode in episodes.values())
    return f"{opened} open, {len(left)} waiting"


async def _looked(folder: StateFolder, restarts_before: dict[str, int]) -> tuple[Facts, dict[str, int]]:
    from cli.doctor.looking import backups
    from cli.installation import load
    from cli.supervision.place import supervisor_of

    installation = load(folder.root)
    processes = await asyncio.to_thread(supervisor_of(installation).processes) or {}
    restarts = {name: process.restarts for name, process in processes.items()}
    kept = backups.look(folder, time.time())
    facts = Facts(
        disks=tuple(_disks(folder)),
        nodes=await _nodes(installation),
        restarts={name: max(0, count - restarts_before.get(name, count)) for name, count in restarts.items()},
        down=tuple(name for name, process in processes.items() if process.state in ("stopped", "fatal", "backoff")),
        failed_duties={
            name: str(row.get("detail", ""))
            for name, row in record.read(folder).items()
            if not row.get("ok") and name != DUTY
        },
        certificate_days=await asyncio.to_thread(backups.certificate_days, folder, time.time()),
        backup_failed=kept.failed,
        backup_overdue_days=kept.overdue_days,
    )
    return facts, restarts


def _disks(folder: StateFolder) -> Iterator[DiskFact]:
    from cli.doctor.looking.disks import disks

    for disk in disks(folder):
        part = "" if disk.path == str(folder.root) else Path(disk.path).name
        yield DiskFact(part, disk.free_bytes / _MIB, disk.total_bytes / _MIB)


async def _nodes(installation: Installation) -> tuple[NodeFact, ...] | None:
    """None where nobody could be asked."""
    from cli.bus import as_command
    from cli.errors import CommandError
    from libs.shared.contracts.base import Empty
    from libs.shared.contracts.scheduling import LIST_NODES

    with suppress(CommandError):
        async with as_command(installation) as bus:
            said = await bus.request(LIST_NODES, Empty())
        return tuple(
            NodeFact(
                node.telemetry.node_id,
                node.reason == "silent",
                node.telemetry.temperature_c,
                node.telemetry.throttled,
            )
            for node in said.nodes
        )
    return None
