"""A conversation with the installation over its HTTP surface, as any OpenAI client would hold it."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from cli.errors import CommandError, Exit

_TIMEOUT_S = 120.0
_OK = 200
_DATA = "data: "


@dataclass
class Conversation:
    """Remembers the conversation's id from one turn to the next; the installation keeps the rest."""

    port: int
    key: str
    model: str | None = None
    conversation_id: str | None = None
    keep: bool = True
    explain: bool = False
    degraded: str | None = field(default=None, init=False)
    """Why no language model answered the last turn."""
    remote: str | None = field(default=None, init=False)
    """The remote upstream that answered the last turn."""
    reasoning: list[str] = field(default_factory=list, init=False)
    """What the model thought on the way to the last answer, piece by piece."""
    heard: Callable[[str], None] | None = None
    """Is told each piece of the thinking as it comes."""
    turn_id: str | None = field(default=None, init=False)
    """Of the last turn, where it was kept: by it the answer is rated."""
    recalled: list[dict[str, Any]] = field(default_factory=list, init=False)
    """What the last answer was given, when it is to be explained."""
    _said: list[dict[str, str]] = field(default_factory=list, init=False)

    def say(self, text: str) -> Iterator[str]:
        """The answer, piece by piece. Raises CommandError with the installation's own words when it refuses."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_TIMEOUT_S)
        answered: list[str] = []
        self.recalled, self.reasoning = [], []
        try:
            for piece in self._stream(connection, text):
                answered.append(piece)
                yield piece
        except (OSError, http.client.HTTPException):
            raise CommandError("the gateway went away", "see: mongars status", code=Exit.NOT_RUNNING) from None
        finally:
            connection.close()  # an answer that is left early is cancelled at its node
        if not self.keep:  # nothing is kept for us, so we say it all again
            self._said += [{"role": "user", "content": text}, {"role": "assistant", "content": "".join(answered)}]

    def _stream(self, connection: http.client.HTTPConnection, text: str) -> Iterator[str]:
        headers = {"authorization": f"Bearer {self.key}", "content-type": "application/json"}
        connection.request("POST", "/v1/chat/completions", json.dumps(self._request(text)), headers)
        reply = connection.getresponse()
        if reply.status != _OK:
            raise refusal(reply.read())
        self.turn_id = reply.getheader("x-mongars-turn-id") if self.keep else None
        self.conversation_id = reply.getheader("x-mongars-conversation-id") or self.conversation_id
        self.degraded = reply.getheader("x-mongars-degraded")
        self.remote = reply.getheader("x-mongars-remote")
        for raw in reply:
            line = raw.decode().strip()
            if line.startswith(_DATA) and line != f"{_DATA}[DONE]":
                yield from self._piece(json.loads(line.removeprefix(_DATA)))

    def _piece(self, chunk: dict[str, Any]) -> Iterator[str]:
        if "error" in chunk:
            raise refusal(json.dumps(chunk).encode())
        self.recalled = chunk.get("mongars", {}).get("recalled") or self.recalled
        for choice in chunk.get("choices", ()):
            delta = choice.get("delta", {})
            if thought := delta.get("reasoning_content"):
                self._think(thought)
            if text := delta.get("content"):
                yield text

    def _think(self, thought: str) -> None:
        self.reasoning.append(thought)
        if self.heard is not None:
            self.heard(thought)

    def _request(self, text: str) -> dict[str, Any]:
        metadata = {"conversation_id": self.conversation_id} if self.conversation_id else {}
        if self.explain:
            metadata["explain"] = "true"
        return {
            "model": self.model or "",
            "messages": [*self._said, {"role": "user", "content": text}],
            "stream": True,
            "store": self.keep,
            "metadata": metadata,
        }


def refusal(body: bytes) -> CommandError:
    """What the gateway said, as the end of a command."""
    try:
        error = json.loads(body)["error"]
        return CommandError(str(error["message"]), code=Exit.REFUSED)
    except (ValueError, KeyError, TypeError):
        return CommandError("the gateway refused the message", "see: mongars logs api", code=Exit.REFUSED)
