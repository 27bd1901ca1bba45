"""Somebody who uses an installation over HTTP with an API key, as a program of theirs would."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx


@dataclass(frozen=True)
class Answer:
    """A whole answer: its words, its headers, and what explaining it added."""

    text: str
    headers: httpx.Headers
    body: dict[str, Any]

    @property
    def conversation_id(self) -> str:
        return self.headers["x-mongars-conversation-id"]

    @property
    def turn_id(self) -> str:
        return self.headers["x-mongars-turn-id"]

    @property
    def degraded(self) -> str | None:
        told: str | None = self.headers.get("x-mongars-degraded")
        return told

    @property
    def recalled(self) -> list[str]:
        return [memory["text"] for memory in self.body.get("mongars", {}).get("recalled") or []]


class Person:
    """Talks and looks things up; every call has a timeout."""

    def __init__(self, url: str, key: str, *, timeout_s: float = 60.0) -> None:
        self.http = httpx.Client(base_url=url, headers={"authorization": f"Bearer {key}"}, timeout=timeout_s)

    def close(self) -> None:
        self.http.close()

    def request(
        self,
        text: str,
        *,
        conversation_id: str | None = None,
        explain: bool = False,
        remember: bool = True,
        **more: Any,
    ) -> Any:
        """The body of a chat completion, and of nothing else."""
        metadata = {"conversation_id": conversation_id} if conversation_id else {}
        if explain:
            metadata["explain"] = "true"
        if not remember:
            metadata["remember"] = "false"
        return {"messages": [{"role": "user", "content": text}], "metadata": metadata, "max_tokens": 24, **more}

    def say(self, text: str, **how: Any) -> Answer:
        """A whole answer. Raises httpx.HTTPStatusError."""
        response = self.http.post("/v1/chat/completions", json=self.request(text, **how))
        response.raise_for_status()
        body = response.json()
        return Answer(body["choices"][0]["message"]["content"], response.headers, body)

    def stream(self, text: str, **how: Any) -> Iterator[dict[str, Any]]:
        """The chunks of a streamed answer, as they come."""
        with self.http.stream("POST", "/v1/chat/completions", json=self.request(text, stream=True, **how)) as response:
            response.raise_for_status()
            for line in response.iter_lines():
                if line.startswith("data: ") and line != "data: [DONE]":
                    yield json.loads(line.removeprefix("data: "))

    def models(self) -> list[dict[str, Any]]:
        answered = self.http.get("/v1/models")
        answered.raise_for_status()
        listed: list[dict[str, Any]] = answered.json()["data"]
        return listed

    def conversations(self) -> list[dict[str, Any]]:
        return self._pages("/api/v1/conversations", "conversations")

    def messages(self, conversation_id: str) -> list[dict[str, Any]]:
        """Every message of one conversation, oldest first."""
        return self._pages(f"/api/v1/conversations/{conversation_id}", "messages")

    def _pages(self, path: str, name: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        where: dict[str, str | int] = {"limit": 200}
        while True:
            page = self.http.get(path, params=where)
            page.raise_for_status()
            found += page.json()[name]
            cursor = page.json().get("next_cursor")
            if cursor is None:
                return found
            where["cursor"] = cursor


def log_in_first(url: str, name: str, one_time_password: str, password: str | None = None) -> httpx.Client:
    """A session of somebody who just got their account: the one-time password lets them choose ``password``."""
    with httpx.Client(base_url=url, timeout=30) as http:
        first = http.post("/api/v1/auth/token", data={"username": name, "password": one_time_password})
        first.raise_for_status()
        headers = {"authorization": f"Bearer {first.json()['access_token']}"}
        change = {"current_password": one_time_password, "new_password": password or secrets.token_urlsafe(16)}
        changed = http.post("/api/v1/auth/password", json=change, headers=headers)
        changed.raise_for_status()
    return httpx.Client(base_url=url, headers={"authorization": f"Bearer {changed.json()['access_token']}"}, timeout=30)


Meet = Callable[..., Person]
"""Makes people, as the fixture ``meet`` does."""
