"""``python -m cli.joining STATE``: the entrance, as the supervisor runs it; ends on SIGTERM."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from cli import broker
from cli.errors import CommandError
from cli.installation import Entrance as Opening
from cli.installation import Installation, load
from cli.joining import certificates, invitations, members
from cli.joining.enrolling import enrol
from cli.joining.entrance import Entrance, Listening, say
from cli.joining.protocol import Enrol, Greeting, Refusal, Welcome
from cli.version import product_version
from libs.shared.layout import StateFolder

_RENEWAL_CHECK_S = 12 * 3600.0
_LOOK_EVERY_S = 0.5


async def receive(installation: Installation) -> None:
    """Returns when told to stop. Raises OSError where nothing can listen."""
    opening = installation.marker.entrance
    if opening is None:
        raise CommandError("nobody was invited yet", "mongars nodes invite")
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    folder = installation.folder
    enrolling = asyncio.Lock()
    now = await asyncio.to_thread(certificates.shown, folder)
    asking = partial(_enrol, installation, enrolling)
    entrance = Entrance(
        now.context, installation.marker.ports.nats, _greeting(now), asking, invited=partial(_invited, folder)
    )
    listening: Listening | None = None
    looked_at = time.monotonic()
    while not stopping.is_set():
        if not enrolling.locked():  # meanwhile its invitation is used up, and it hasn't joined
            listening = await as_needed(folder, opening, entrance, listening)
        due = time.monotonic() - looked_at > _RENEWAL_CHECK_S
        if due or certificates.files(folder) != now.files:  # an invitation has renewed it
            looked_at = time.monotonic()
            now = await asyncio.to_thread(certificates.shown, folder)
            entrance.show(now.context, _greeting(now))
        with suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_EVERY_S):
                await stopping.wait()
    if listening is not None:
        await listening.close()
    say("entrance_stopped")


def _invited(folder: StateFolder, asked: Enrol) -> bool:
    return invitations.is_open(folder, asked.invitation, asked.secret, time.time())


def _greeting(shown: certificates.Shown) -> Greeting:
    return Greeting(authority=shown.authority, version=product_version())


async def as_needed(
    folder: StateFolder, opening: Opening, entrance: Entrance, listening: Listening | None
) -> Listening | None:
    """Open while somebody is invited or expected; otherwise no stranger finds a port."""
    if listening is not None and listening.broken:
        raise CommandError("it lets nobody in any more", "its supervisor starts it again")
    now = datetime.now(UTC)
    needed = invitations.any_open(folder, now.timestamp()) or members.are_expected(folder, now)
    if needed and listening is None:
        listening = await entrance.listen(opening.host, opening.port)
        say("entrance_opened", port=opening.port)
    elif not needed and listening is not None:
        await listening.close()
        listening = None
        say("entrance_closed", detail="nobody is invited, and nobody has joined")
    return listening


async def _enrol(installation: Installation, one_at_a_time: asyncio.Lock, asked: Enrol) -> Welcome | Refusal:
    async with one_at_a_time:
        try:
            return await asyncio.to_thread(_enrolled, installation, asked)
        except (CommandError, OSError) as error:
            say("enrolment_failed", reason=type(error).__name__)
            return Refusal(
                refused="failed",
                detail="the installation could not take it in (mongars logs entrance, there). Make another code; where "
                f"mongars nodes members still tells of it as joined, first: mongars nodes remove {asked.node_id}",
            )


def _enrolled(installation: Installation, asked: Enrol) -> Welcome | Refusal:
    folder = installation.folder
    node = broker.own_node(folder)
    return enrol(
        folder,
        asked,
        now=time.time(),
        version=product_version(),
        own_node=node,
        own_keys=broker.own_keys(folder, node).values(),
        admit=partial(broker.admit, installation),
    )


if __name__ == "__main__":
    try:
        asyncio.run(receive(load(Path(sys.argv[1]))))
    except (CommandError, OSError) as error:
        say("entrance_failed", reason=str(error))
        sys.exit(1)
