"""Reading what a client sent: which messages are new, which are its history. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from libs.shared.contracts.chat import ChatMessage
from libs.shared.contracts.common import Speaker
from libs.shared.contracts.turns import TurnMessage


@dataclass(frozen=True)
class Dialogue:
    """A request's messages in order: ``history`` then ``new``."""

    history: tuple[ChatMessage, ...]
    """System messages, and the earlier turns of a client that resends them."""
    new: tuple[ChatMessage, ...]
    """From the last thing the user said on; tool calls and their results may follow it."""
    said: tuple[str, ...]
    """What the user says now, to be kept; empty when this request only brings tool results."""

    @property
    def resends(self) -> bool:
        """Whether the client brought earlier turns itself."""
        return any(m.role not in ("system", "developer") for m in self.history)

    @property
    def question(self) -> str:
        """The words that memories are looked up with."""
        return "\n".join(m.text for m in self.new if m.role == "user").strip()


def read(messages: Sequence[ChatMessage]) -> Dialogue:
    """The last run of user messages begins what is new; without one everything but the system messages is."""
    users = [i for i, m in enumerate(messages) if m.role == "user"]
    start = (
        users[-1] if users else next((i for i, m in enumerate(messages) if m.role == "assistant"), len(messages) - 1)
    )
    while start and messages[start].role == messages[start - 1].role == "user":
        start -= 1
    new = tuple(messages[start:])
    ends_with_user = messages[-1].role == "user"
    said = tuple(m.text for m in new if m.text.strip()) if ends_with_user else ()
    return Dialogue(tuple(messages[:start]), new, said)


def as_history(turns: Sequence[TurnMessage]) -> tuple[ChatMessage, ...]:
    """Kept messages as a model reads them."""
    return tuple(ChatMessage(role=_role(t.speaker), content=t.text) for t in turns)


def _role(speaker: str) -> Literal["user", "assistant"]:
    """Who was imported under a name spoke as the assistant never does."""
    return "assistant" if speaker == Speaker.ASSISTANT else "user"
