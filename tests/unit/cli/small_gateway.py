"""A small HTTP server in the installation's place: it answers what a test says, and keeps what it was asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qsl, urlsplit

Answer = tuple[int, Any]


class SmallGateway(ThreadingHTTPServer):
    """``answer(method, path, query, body)`` tells status and JSON; a list of bytes is sent as lines."""

    def __init__(self, answer: Callable[[str, str, dict[str, str], bytes], Answer]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer = answer
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.credentials: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    server: SmallGateway

    def _serve(self) -> None:
        url = urlsplit(self.path)
        query = dict(parse_qsl(url.query))
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.server.asked.append((self.command, url.path, query))
        self.server.credentials.append(self.headers["authorization"])
        status, told = self.server.answer(self.command, url.path, query, body)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(told if isinstance(told, bytes) else json.dumps(told).encode())

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _serve  # noqa: N815 - as http.server calls them

    def log_message(self, format: str, *args: Any) -> None:
        """Tests read what was asked instead."""


@contextmanager
def serving(answer: Callable[[str, str, dict[str, str], bytes], Answer]) -> Iterator[SmallGateway]:
    """Stopped at the end."""
    server = SmallGateway(answer)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
