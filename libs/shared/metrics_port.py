"""One process's metrics over HTTP on a port of its own, for collectors that scrape each pod."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

_READ_TIMEOUT_S = 5.0
_MOST_REQUEST_BYTES = 8192
_TYPE = "text/plain; version=0.0.4; charset=utf-8"


async def serve_metrics(port: int, text: Callable[[], str], host: str = "") -> None:
    """Answers ``GET /metrics`` until cancelled. Raises OSError when the port is taken."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_READ_TIMEOUT_S):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(_response(head, text))
                await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return
        finally:
            writer.close()

    # every interface: a scraper comes from outside the pod, and the port is open only where it was configured
    server = await asyncio.start_server(answer, host or None, port, limit=_MOST_REQUEST_BYTES)
    async with server:
        await server.serve_forever()


def _response(head: bytes, text: Callable[[], str]) -> bytes:
    if not head.startswith((b"GET /metrics ", b"GET /metrics?")):
        return b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    body = text().encode()
    return (
        f"HTTP/1.1 200 OK\r\ncontent-type: {_TYPE}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    ).encode() + body
