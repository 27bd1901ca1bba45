"""A user's memory over HTTP: importing, searching, embedding and chatting, each with the time that it took."""

from __future__ import annotations

import base64
import http.client
import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

import numpy as np
from numpy.typing import NDArray

from bench.dialogues import NOW, Turn

Vectors = NDArray[np.float32]
IMPORTED_AT_ONCE = 1000
EMBEDDED_AT_ONCE = 256
AT_THE_SAME_TIME = 2
"""Imports, or requests for embeddings: one can be written while the next is embedded."""
_TIMEOUT_S = 300.0


class Client:
    """One user's connection, which is kept open. Raises RuntimeError for any answer but a good one."""

    def __init__(self, url: str, key: str) -> None:
        self.url, self.key = url, key
        place = urlsplit(url)
        self._connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=_TIMEOUT_S)

    def ask(self, method: str, path: str, body: object = None) -> tuple[Any, float]:
        """The answer, and the milliseconds until its last byte."""
        sent = None if body is None else json.dumps(body).encode()
        headers = {"authorization": f"Bearer {self.key}", "content-type": "application/json"}
        began = time.perf_counter()
        self._connection.request(method, path, body=sent, headers=headers)
        response = self._connection.getresponse()
        content = response.read()
        took_ms = (time.perf_counter() - began) * 1000
        if not 200 <= response.status < 300:
            raise RuntimeError(f"{method} {path.partition('?')[0]}: {response.status} {content[:500].decode()}")
        return json.loads(content), took_ms

    def user_id(self) -> str:
        return str(self.ask("GET", "/api/v1/users/me")[0]["user_id"])

    def search(self, question: str, k: int = 10) -> tuple[list[dict[str, Any]], float]:
        """The hits, best first."""
        query = urlencode({"q": question, "k": k, "now": NOW.isoformat()})
        answer, took_ms = self.ask("GET", f"/api/v1/memories?{query}")
        if answer.get("degraded"):
            raise RuntimeError(f"the search was degraded: {answer['degraded']}")
        return answer["items"], took_ms

    def chat(self, question: str) -> float:
        """Milliseconds of a whole answer by the instant model."""
        body = {
            "model": "instant",
            "messages": [{"role": "user", "content": question}],
            "max_tokens": 16,
            "metadata": {},
        }
        return self.ask("POST", "/v1/chat/completions", body)[1]

    def forget(self, what: str) -> float:
        """Milliseconds until the receipt is there: of a memory's id, or of everything (``?confirm=everything``)."""
        return self.ask("DELETE", f"/api/v1/memories{what}")[1]

    def close(self) -> None:
        self._connection.close()


@dataclass(frozen=True)
class Done:
    """How many in how long."""

    count: int
    seconds: float

    @property
    def per_second(self) -> float:
        return self.count / self.seconds


def import_turns(url: str, key: str, turns: Sequence[Turn]) -> Done:
    """Every turn is searchable when it returns."""

    def send(some: Sequence[Turn]) -> int:
        client = Client(url, key)
        rows = [{**vars(turn), "at": turn.at.isoformat()} for turn in some]
        answer = client.ask("POST", "/api/v1/memories/import", {"turns": rows})[0]
        client.close()
        if answer["imported"] != len(some) or answer.get("degraded"):
            raise RuntimeError(f"of {len(some)} turns not all were imported: {answer}")
        return len(some)

    began = time.perf_counter()
    with ThreadPoolExecutor(AT_THE_SAME_TIME) as pool:
        count = sum(pool.map(send, _portions(turns, IMPORTED_AT_ONCE)))
    return Done(count, time.perf_counter() - began)


def embed(url: str, key: str, texts: Sequence[str]) -> tuple[Vectors, Done]:
    """One vector a text, at the embedder's own rate."""

    def send(some: Sequence[str]) -> Vectors:
        client = Client(url, key)
        answer = client.ask("POST", "/v1/embeddings", {"input": list(some), "encoding_format": "base64"})[0]
        client.close()
        rows = [np.frombuffer(base64.b64decode(row["embedding"]), dtype="<f4") for row in answer["data"]]
        return np.stack(rows).astype(np.float32)

    began = time.perf_counter()
    with ThreadPoolExecutor(AT_THE_SAME_TIME) as pool:
        vectors = np.concatenate(list(pool.map(send, _portions(texts, EMBEDDED_AT_ONCE))))
    return vectors, Done(len(texts), time.perf_counter() - began)


def _portions(rows: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]
