"""Asking the installation over its HTTP surface, as any program with a key would."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, BinaryIO
from urllib.parse import urlencode

from cli.errors import CommandError, Exit
from cli.own_key import OwnKey

_TIMEOUT_S = 300.0
_PIECE = 64 * 1024
_JSON = "application/json"


class GatewayAway(CommandError):
    """Nobody answers: the installation is stopped, or a part of it is being restarted."""

    def __init__(self) -> None:
        super().__init__("the gateway went away", "see: mongars status", code=Exit.NOT_RUNNING)


class Refused(CommandError):
    """The installation's own words. ``reason`` is its stable code."""

    def __init__(self, status: int, body: bytes) -> None:
        try:
            told = json.loads(body)
            detail, self.reason = str(told["detail"]), str(told["code"])
        except (ValueError, KeyError, TypeError):
            detail, self.reason = f"the gateway refused it ({status})", ""
        super().__init__(detail, code=Exit.REFUSED)
        self.status = status


@dataclass(frozen=True)
class Gateway:
    """Every call raises GatewayAway or Refused."""

    port: int
    key: OwnKey

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content: bytes | None = None,
        **query: Any,
    ) -> Any:
        """The answer's JSON. ``body`` is sent as JSON, ``content`` as it is; a query's None is left out."""
        kind = _JSON if content is None else "application/octet-stream"
        sent = json.dumps(body).encode() if body is not None else content
        with self._answer(method, _with_query(path, query), sent, {"content-type": kind}) as answer:
            return json.loads(answer.read() or b"null")

    def pages(
        self, path: str, name: str, *, most: int, beside: tuple[str, list[Any]] | None = None, **query: Any
    ) -> list[dict[str, Any]]:
        """The first ``most`` entries of a listing; ``beside``: what else each page has under a name, and where to."""
        found: list[dict[str, Any]] = []
        cursor: str | None = None
        while len(found) < most:
            page = self.ask("GET", path, limit=min(200, most - len(found)), cursor=cursor, **query)
            found += page[name]
            if beside is not None:
                beside[1].extend(page.get(beside[0]) or ())
            cursor = page["next_cursor"]
            if cursor is None:
                break
        return found

    def lines(self, path: str, file: BinaryIO, size: int) -> Iterator[dict[str, Any]]:
        """Sends a file, and gives each line of the answer as it comes."""
        headers = {"content-type": "application/octet-stream", "content-length": str(size)}
        with self._answer("POST", path, file, headers) as answer:
            for line in answer:
                yield json.loads(line)

    def events(self, path: str, **query: Any) -> Iterator[dict[str, Any]]:
        """Server-sent events as they come, each with ``id``, ``type`` and ``data``, until the stream ends."""
        found: dict[str, Any] = {"id": None}
        with self._answer("GET", _with_query(path, query), None, {"accept": "text/event-stream"}) as answer:
            for raw in answer:
                name, _, value = raw.decode().rstrip("\r\n").partition(": ")
                if name == "event":
                    found["type"] = value
                elif name == "id":
                    found["id"] = value
                elif name == "data":
                    found["data"] = json.loads(value)
                elif not name and "data" in found:
                    yield found
                    found = {"id": None}

    def download(self, path: str, into: BinaryIO, **query: str) -> None:
        """Writes the answer into ``into`` as it comes."""
        with self._answer("GET", _with_query(path, dict(query)), None, {}) as answer:
            while piece := answer.read(_PIECE):
                try:
                    into.write(piece)
                except OSError as error:
                    raise CommandError(f"it can't be written: {error.strerror}", "choose another place") from None

    @contextmanager
    def _answer(
        self, method: str, path: str, body: bytes | BinaryIO | None, headers: dict[str, str]
    ) -> Iterator[http.client.HTTPResponse]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_TIMEOUT_S)
        try:
            with suppress(BrokenPipeError, ConnectionResetError):  # refused before all was sent: the answer says why
                connection.request(method, path, body, {"authorization": f"Bearer {self.key.secret}", **headers})
            answer = connection.getresponse()
            if not 200 <= answer.status < 300:
                raise Refused(answer.status, answer.read())
            yield answer
        except (OSError, http.client.HTTPException):
            raise GatewayAway from None
        finally:
            connection.close()


def _with_query(path: str, query: dict[str, Any]) -> str:
    told = {name: _written(value) for name, value in query.items() if value is not None}
    return f"{path}?{urlencode(told, doseq=True)}" if told else path


def _written(value: str | int | float | bool | list[str]) -> str | list[str]:
    if isinstance(value, list):
        return value
    return str(value).lower() if isinstance(value, bool) else str(value)
