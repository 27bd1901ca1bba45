"""The server's side of one request and one reply."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from time import perf_counter_ns
from typing import Any

from libs.shared.bus.endpoints import Endpoint, told
from libs.shared.bus.tracing import mark_failed, server_span
from libs.shared.bus.wire import PART_BYTES, Incoming, decode, encode
from libs.shared.contracts.base import Message, Rpc
from libs.shared.errors import Cancelled, ServiceError

Handler = Callable[[Any], Awaitable[Message]]


class RpcServer:
    """Answers every message of its subject, concurrently."""

    def __init__(self, endpoint: Endpoint, contract: Rpc[Any, Any], handler: Handler) -> None:
        self._endpoint = endpoint
        self._contract = contract
        self._handler = handler

    def on_request(self, incoming: Incoming) -> None:
        arrived = asyncio.get_running_loop().time()
        if not self._endpoint.lane.offer(partial(self._answer, incoming, arrived)):
            self._endpoint.refuse_overload(incoming.reply)

    async def _answer(self, incoming: Incoming, arrived: float) -> None:
        if asyncio.get_running_loop().time() - arrived > self._contract.timeout_s:
            return  # it waited longer than its caller does
        started = perf_counter_ns()
        with server_span(self._endpoint.stats.name, incoming) as span:
            failed: ServiceError | None = None
            try:
                await self._reply(incoming)
            except asyncio.CancelledError:
                failed = Cancelled("the service is stopping")
                raise
            except Exception as error:
                failed = told(error, self._endpoint.stats.name)
            finally:
                self._endpoint.stats.count(started, failed.code if failed else None)
                if failed is not None:
                    mark_failed(span, failed.code)
                    self._endpoint.refuse(incoming.reply, failed)

    async def _reply(self, incoming: Incoming) -> None:
        request = decode(self._contract.request, await self._endpoint.body_of(incoming))
        body = encode(await self._handler(request), self._contract.max_bytes)
        if not self._endpoint.transport.connected:
            await self._endpoint.transport.wait_connected(self._contract.timeout_s)
        if len(body) > PART_BYTES:
            await self._endpoint.send_large(incoming.reply, body)
        else:
            self._endpoint.transport.publish(incoming.reply, body)
