"""Taking a machine's key away: written down first, then refused by the broker, and seen to be refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

from cli.errors import CommandError, Exit
from cli.joining import members
from libs.shared.durable import write_private
from libs.shared.layout import StateFolder

_SEEN_S = 10.0

Admit = Callable[[str | None], None]


def take_away(folder: StateFolder, node_id: str, *, now: datetime, nats_url: str, admit: Admit | None) -> bool:
    """Whether the broker was seen to refuse the key, without a connection of it left; False: it doesn't run.

    ``admit`` has the broker at ``nats_url`` take the members as they are, with the key of a witness; None: it doesn't
    run, and starts without them. The removal is kept before anything else is done: whatever fails then, doing it again
    goes on from there. Raises CommandError: nobody joined under that name, or it was not seen.
    """
    with members.changing(folder):
        keys = members.remove(folder, node_id, now)
        if not keys:
            raise _unknown(folder, node_id)
        if admit is None:
            return False
        if not _refused(folder, keys, nats_url, admit):
            raise CommandError(
                f"{node_id} is struck off, but within {_SEEN_S:.0f} s the broker was not seen to refuse its key",
                f"see: mongars logs broker; then again: mongars nodes remove {node_id}",
                code=Exit.NOT_READY,
            )
    return True


def _refused(folder: StateFolder, keys: tuple[str, ...], nats_url: str, admit: Admit) -> bool:
    from libs.shared.bus.nkey_files import new_seed, public_key
    from libs.shared.bus.witness import sees_nobody

    seed, seed_file = new_seed(), folder.run / "witness.nk"
    write_private(seed_file, seed.encode())
    try:
        admit(public_key(seed))
        return asyncio.run(sees_nobody(nats_url, seed_file=seed_file, public_keys=keys, timeout_s=_SEEN_S))
    finally:
        seed_file.unlink()
        admit(None)


def _unknown(folder: StateFolder, node_id: str) -> CommandError:
    known = ", ".join(member.node_id for member in members.read(folder))
    return CommandError(
        f"no machine joined as {node_id}",
        f"joined are: {known}" if known else "no machine has joined; mongars nodes invite begins it",
        code=Exit.REFUSED,
    )
