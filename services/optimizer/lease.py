"""One cycle at a time in an installation, whichever node's optimizer begins it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from libs.shared.bus.base import KeyValue
from libs.shared.errors import ServiceError, SleepUnderWay
from libs.shared.telemetry import get_logger

KEY = "cycle"
RENEW_S = 15.0

log = get_logger(__name__)


@asynccontextmanager
async def one_cycle(bucket: KeyValue, owner: str) -> AsyncIterator[None]:
    """Raises SleepUnderWay where another node sleeps, and ServiceError where nobody can say.

    One that ``owner`` left behind, being killed, is taken over.
    """
    name = owner.encode()
    if not await bucket.create(KEY, name):
        entry = await bucket.read(KEY)
        if entry.value not in (None, name) or not await bucket.update(KEY, name, entry.revision):
            raise SleepUnderWay("another node of the installation sleeps")
    renewing = asyncio.create_task(_renew(bucket, name))
    try:
        yield
    finally:
        renewing.cancel()
        await asyncio.gather(renewing, return_exceptions=True)
        with suppress(ServiceError):
            await bucket.delete(KEY)


async def _renew(bucket: KeyValue, name: bytes) -> None:
    while True:
        await asyncio.sleep(RENEW_S)
        try:
            await bucket.put(KEY, name)
        except ServiceError as error:
            log.debug("lease_unrenewed", code=error.code)
