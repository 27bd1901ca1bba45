"""Programs that people have, at work: each resends its whole history in its client's real shape."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx

from tests.support.clients import Shape, filled

MODEL = "extractive"


@dataclass
class Program:
    """One chat of one user in it. ``about`` is what the shape's names stand for."""

    shape: Shape
    http: httpx.Client
    about: Mapping[str, str]
    said: list[dict[str, str]] = field(default_factory=list)
    """What it shows of the chat."""
    requests: int = 0
    chat_id: str = field(default_factory=lambda: str(uuid4()))

    def say(self, text: str) -> str:
        """The answer to what its user says now."""
        return self.send([*self.said, {"role": "user", "content": text}])

    def again(self) -> str:
        """Another answer in place of the last."""
        return self.send(self.said[:-1])

    def edit(self, text: str) -> str:
        """Its user's last message in other words, with all that followed it gone."""
        last = max(i for i, message in enumerate(self.said) if message["role"] == "user")
        return self.send([*self.said[:last], {"role": "user", "content": text}])

    def send(self, messages: list[dict[str, str]]) -> str:
        """The answer to all of ``messages``, with a system prompt that tells the time; all is shown from then on."""
        self.requests += 1
        names = self._names()
        system = [{"role": "system", "content": filled(self.shape.system, names)}] if self.shape.system else []
        body = filled(dict(self.shape.turn), names | {"messages": [*system, *messages]})
        answer = "".join(self._streamed(body, names))
        self.said = [*messages, {"role": "assistant", "content": answer}]
        return answer

    def task(self, name: str) -> str:
        """What it is told for its own sake."""
        said = [message["content"] for message in self.said]
        history = "\n".join(f"{message['role'].upper()}: {message['content']}" for message in self.said[-6:])
        names = self._names() | {"history": history, "prompt": said[-2], "answer": said[-1]}
        body = filled(dict(self.shape.tasks[name]), names)
        answer = self.http.post("/v1/chat/completions", json=body, headers=filled(dict(self.shape.headers), names))
        assert answer.is_success, answer.text
        assert "x-mongars-conversation-id" not in answer.headers
        return str(answer.json()["choices"][0]["message"]["content"])

    def _names(self) -> dict[str, Any]:
        return {
            "model": MODEL,
            "time": f"Monday, {self.requests}:00",
            "chat_id": self.chat_id,
            "message_id": str(uuid4()),
            **self.about,
        }

    def _streamed(self, body: dict[str, Any], names: Mapping[str, Any]) -> list[str]:
        headers = filled(dict(self.shape.headers), names)
        pieces: list[str] = []
        with self.http.stream("POST", "/v1/chat/completions", json=body, headers=headers) as response:
            assert response.status_code == 200, response.read()
            lines = [line.removeprefix("data: ") for line in response.iter_lines() if line.startswith("data: ")]
        assert lines[-1] == "[DONE]"
        for line in lines[:-1]:
            chunk = json.loads(line)
            pieces += [choice["delta"].get("content") or "" for choice in chunk["choices"]]
        return pieces
