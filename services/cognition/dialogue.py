"""Reading what a client sent: which messages are new, which are its history. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from libs.shared.contracts.chat import ChatMessage, TextPart
from libs.shared.contracts.common import Speaker
from libs.shared.contracts.turns import TurnMessage
from libs.shared.thinking import without_thinking
from services.cognition.templates import own_words


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
    def before(self) -> tuple[ChatMessage, ...]:
        """What was said before what is to be kept now, in words."""
        earlier = self.history if self.said else (*self.history, *self.new)
        return tuple(m for m in earlier if m.role in ("user", "assistant") and m.text.strip())

    @property
    def resends(self) -> bool:
        """Whether the client brought earlier turns itself."""
        return any(m.role not in ("system", "developer") for m in self.history)

    @property
    def question(self) -> str:
        """The words that memories are looked up with."""
        return "\n".join(own_words(m.text) for m in self.new if m.role == "user").strip()


def read(messages: Sequence[ChatMessage]) -> Dialogue:
    """The last run of user messages begins what is new; without one everything but the system messages is."""
    messages = _without_thinking(messages)
    users = [i for i, m in enumerate(messages) if m.role == "user"]
    start = (
        users[-1] if users else next((i for i, m in enumerate(messages) if m.role == "assistant"), len(messages) - 1)
    )
    while start and messages[start].role == messages[start - 1].role == "user":
        start -= 1
    new = tuple(messages[start:])
    ends_with_user = messages[-1].role == "user"
    said = tuple(own_words(m.text) for m in new if m.text.strip()) if ends_with_user else ()
    return Dialogue(tuple(messages[:start]), new, said)


def _without_thinking(messages: Sequence[ChatMessage]) -> tuple[ChatMessage, ...]:
    """What the assistant thought on the way is no part of the dialogue, though some clients send it back."""
    freed = [(message, _freed(message)) for message in messages]
    kept = tuple(after for before, after in freed if after.text or not before.text or after.tool_calls)
    return kept or tuple(messages)


def _freed(message: ChatMessage) -> ChatMessage:
    if message.role != "assistant" or message.content is None:
        return message
    if isinstance(message.content, str):
        said = without_thinking(message.content)
        return message if said == message.content else message.model_copy(update={"content": said})
    parts = tuple(
        part.model_copy(update={"text": without_thinking(part.text)}) if isinstance(part, TextPart) else part
        for part in message.content
    )
    return message.model_copy(update={"content": parts})


def as_history(turns: Sequence[TurnMessage]) -> tuple[ChatMessage, ...]:
    """Kept messages as a model reads them."""
    return tuple(_freed(ChatMessage(role=_role(t.speaker), content=t.text)) for t in turns)


def _role(speaker: str) -> Literal["user", "assistant"]:
    """Who was imported under a name spoke as the assistant never does."""
    return "assistant" if speaker == Speaker.ASSISTANT else "user"
