"""Seeing at the broker that it has taken a configuration, and that nobody is connected with certain keys."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection
from pathlib import Path
from time import monotonic

from libs.shared.bus.calls import Calls
from libs.shared.bus.connection import NatsTransport
from libs.shared.bus.inbox import Inbox
from libs.shared.bus.permissions import CONNECTIONS, WITNESS, inbox_prefix
from libs.shared.contracts.base import MIB
from libs.shared.errors import ServiceError, Unavailable
from libs.shared.telemetry import get_logger

log = get_logger(__name__)

_CHECK_EVERY_S = 0.05
_ANSWER_S = 2.0


async def sees_nobody(url: str, *, seed_file: Path, public_keys: Collection[str], timeout_s: float) -> bool:
    """Whether, within the time, the broker let the witness in and had no connection of ``public_keys``.

    The witness stands in the new configuration alone: once it is let in, whoever isn't in that one is refused.
    """
    until = monotonic() + timeout_s  # not a cancellation, which nats-py may swallow while it closes
    while monotonic() < until:
        try:
            if not await _connected(url, seed_file, public_keys):
                return True
        except ServiceError as error:
            log.debug("witness_waits", reason=error.code)
        await asyncio.sleep(_CHECK_EVERY_S)
    return False


async def _connected(url: str, seed_file: Path, public_keys: Collection[str]) -> int:
    """Raises Unavailable, Forbidden, TimedOut."""
    transport = NatsTransport(inbox_prefix(WITNESS))
    await transport.open(url, seed_file=seed_file, ca_file=None, name="mongars-witness")
    try:
        inbox = Inbox(transport)
        await inbox.open()
        calls = Calls(transport, inbox)
        return sum([await _connections(calls, key) for key in public_keys])
    finally:
        await transport.close()


async def _connections(calls: Calls, public_key: str) -> int:
    asked = json.dumps({"auth": True, "user": public_key}).encode()
    answer = await calls.exchange(CONNECTIONS, asked, timeout_s=_ANSWER_S, limit=MIB)
    return counted(answer.body)


def counted(answer: bytes) -> int:
    """The connections that the broker told of. Raises Unavailable where it told of none, nor that there are none."""
    try:
        return int(json.loads(answer)["data"]["num_connections"])
    except (ValueError, KeyError, TypeError):
        raise Unavailable("the broker did not say who is connected") from None
