"""The NATS service protocol (ADR-32): what ``nats micro ls``, ``info``, ``stats`` and ``ping`` show of a service.

Answered here rather than by nats-py's own service class, which awaits requests one by one and sends ``repr(error)`` of
a fault to the caller.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from libs.shared.bus.endpoints import INBOX, QUEUE, EndpointStats
from libs.shared.bus.transport import Transport
from libs.shared.bus.wire import Incoming
from libs.shared.errors import Unavailable

_TYPE = "io.nats.micro.v1."


class ServiceRegistration:
    """One instance of one service, as the ``nats`` command sees it."""

    def __init__(
        self,
        transport: Transport,
        name: str,
        version: str,
        description: str,
        endpoints: Callable[[], tuple[EndpointStats, ...]],
    ) -> None:
        self._transport = transport
        self._version = version
        self._description = description
        self._endpoints = endpoints
        self._started = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        self._identity = {"name": name, "id": transport.instance, "version": version, "metadata": {}}

    async def open(self) -> tuple[int, ...]:
        """Subscribes to the protocol's subjects: all services', this service's, this instance's."""
        name, instance = self._identity["name"], self._identity["id"]
        answers = {"PING": self._ping, "INFO": self._info, "STATS": self._stats}
        return tuple(
            [
                await self._transport.subscribe(f"$SRV.{verb}{rest}", self._answer(tell))
                for verb, tell in answers.items()
                for rest in ("", f".{name}", f".{name}.{instance}")
            ]
        )

    def _answer(self, tell: Callable[[], dict[str, Any]]) -> Callable[[Incoming], None]:
        def on_message(incoming: Incoming) -> None:
            if not incoming.reply.startswith(INBOX):
                return
            try:
                self._transport.publish(incoming.reply, json.dumps({**self._identity, **tell()}).encode())
            except Unavailable:
                return  # whoever asked has lost the broker as well

        return on_message

    def _ping(self) -> dict[str, Any]:
        return {"type": _TYPE + "ping_response"}

    def _info(self) -> dict[str, Any]:
        endpoints = [
            {"name": e.name, "subject": e.subject, "queue_group": QUEUE, "metadata": {}} for e in self._endpoints()
        ]
        return {"type": _TYPE + "info_response", "description": self._description, "endpoints": endpoints}

    def _stats(self) -> dict[str, Any]:
        endpoints = [
            {
                "name": e.name,
                "subject": e.subject,
                "queue_group": QUEUE,
                "num_requests": e.num_requests,
                "num_errors": e.num_errors,
                "last_error": e.last_error,
                "processing_time": e.processing_time,
                "average_processing_time": e.processing_time // e.num_requests if e.num_requests else 0,
            }
            for e in self._endpoints()
        ]
        return {"type": _TYPE + "stats_response", "started": self._started, "endpoints": endpoints}
