"""A real HTTP server on loopback that takes the alerts of an installation, in ntfy's shape."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cli.alerts.duty import alerts
from libs.shared.layout import StateFolder
from tests.support import faults
from tests.support.installation import Installation


@dataclass
class Hook:
    """What it was sent: path, headers, text. ``refusing``: how many it answers with 503 first."""

    url: str = ""
    refusing: int = 0
    taken: list[tuple[str, dict[str, str], str]] = field(default_factory=list)


@contextmanager
def hook() -> Iterator[Hook]:
    made = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            text = self.rfile.read(int(self.headers["content-length"])).decode()
            status = 200
            if made.refusing:
                made.refusing, status = made.refusing - 1, 503
            else:
                made.taken.append((self.path, {name.lower(): value for name, value in self.headers.items()}, text))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{server.server_port}"
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    serving.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        serving.join()


def look(installed: Installation, times: int) -> None:
    """What the caretaker does each minute."""
    for _ in range(times):
        asyncio.run(alerts(StateFolder(installed.state)))


def titles(taking: Hook) -> list[str]:
    return [headers["title"].removeprefix("monGARS: ") for _, headers, _ in taking.taken]


@contextmanager
def alerted(running: Installation) -> Iterator[Hook]:
    """An address that takes alerts; the caretaker, which would look too, rests meanwhile."""
    with hook() as taking:
        faults.ask(running, "stopProcess", "caretaker")
        running.mongars("alerts", "add", taking.url, "--topic", "house")
        try:
            yield taking
        finally:
            running.mongars("alerts", "rm", f"{taking.url}/house")
            faults.ask(running, "startProcess", "caretaker")
