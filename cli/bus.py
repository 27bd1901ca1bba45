"""Talking to the running installation over its broker, with the key that lies in the state folder."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cli.errors import CommandError, Exit
from cli.installation import Installation
from libs.shared.bus.base import Bus
from libs.shared.bus.nats import NatsBus
from libs.shared.contracts.base import Principal
from libs.shared.errors import ServiceError

_CONNECT_TIMEOUT_S = 5.0
_DRAIN_TIMEOUT_S = 2.0
_UNAVAILABLE = ("unavailable", "timed_out")


@asynccontextmanager
async def as_command(installation: Installation) -> AsyncIterator[Bus]:
    """A connection with the owner's rights. What a service refuses ends the command, in the service's words."""
    try:
        async with asyncio.timeout(_CONNECT_TIMEOUT_S):
            bus = await NatsBus.connect(
                installation.nats_url,
                principal=Principal.CLI,
                seed_file=installation.folder.nkey(Principal.CLI),
                name="mongars-cli",
            )
    except (ServiceError, TimeoutError, OSError):
        raise CommandError(
            "the installation is not running", "start it with: mongars up", code=Exit.NOT_RUNNING
        ) from None
    try:
        yield bus
    except ServiceError as error:
        raise _told(error) from None
    finally:
        await bus.drain(_DRAIN_TIMEOUT_S)


def _told(error: ServiceError) -> CommandError:
    if error.code in _UNAVAILABLE:
        return CommandError(f"the installation does not answer: {error.detail}", "see: mongars status")
    return CommandError(error.detail, code=Exit.REFUSED)
