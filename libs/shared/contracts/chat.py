"""The conversation turn: spoken by the api and cognition."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from libs.shared.contracts.base import MIB, Message, Principal, Stream
from libs.shared.contracts.common import Id, JsonObject, MemoryMode, Position, Usage


class TextPart(Message):
    """A piece of text in a message."""

    type: Literal["text"] = "text"
    text: str


class ImageUrl(Message):
    """An image, as a data URL; other URLs are refused by the api."""

    url: str
    detail: Literal["auto", "low", "high"] = "auto"


class ImagePart(Message):
    """An image in a message, for a model that can see."""

    type: Literal["image_url"] = "image_url"
    image_url: ImageUrl


class ChatMessage(Message):
    """One message of OpenAI's chat format."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | tuple[TextPart | ImagePart, ...] | None = None
    name: str | None = None
    tool_calls: tuple[JsonObject, ...] = ()
    tool_call_id: str | None = None

    @property
    def text(self) -> str:
        """The message's words, without its images."""
        if isinstance(self.content, str):
            return self.content
        return "".join(p.text for p in self.content or () if isinstance(p, TextPart))


class Sampling(Message):
    """How to choose tokens; None leaves it to the model's default."""

    max_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    seed: int | None = None
    stop: tuple[str, ...] = ()


class Tools(Message):
    """Functions that the model may call, and the shape its answer must have."""

    tools: tuple[JsonObject, ...] = ()
    tool_choice: str | JsonObject | None = None
    response_format: JsonObject | None = None


class ChatRequest(Message):
    """A turn to answer. ``messages`` are what the client sent; history is added only for a known conversation."""

    turn_id: Id
    user_id: Id
    messages: tuple[ChatMessage, ...] = Field(min_length=1)
    model: str | None = None
    """None leaves the choice to the installation's default."""
    conversation_id: Id | None = None
    """Joins this conversation; None joins the one that the client's history belongs to, or begins one (when the turn is
    kept)."""
    parent_id: Id | None = None
    """The message that this turn answers to: an older one makes a branch. None: the newest."""
    chat: str | None = Field(default=None, max_length=256)
    """What the client calls the conversation, where it may say so and doesn't name ours."""
    again: bool = False
    """A first message that comes again within minutes is the same one: the client knows of no conversations."""
    memory: MemoryMode = MemoryMode.READ_WRITE
    remember: bool = True
    """False begins a conversation that is kept but never recalled elsewhere."""
    sampling: Sampling = Sampling()
    tools: Tools = Tools()
    explain: bool = False
    read_after: Position | None = None


class Recalled(Message):
    """A memory that stood in the prompt, and why."""

    message_id: Id
    conversation_id: Id
    text: str
    at: datetime
    score: float
    parts: dict[str, float] = Field(default_factory=dict)
    """The score's components by name."""


class ChatChunk(Message):
    """A piece of the answer. The last chunk has ``finish_reason``, and is sent once the turn is on disk."""

    turn_id: Id
    text: str = ""
    reasoning: str = ""
    """What the model thinks on the way: shown apart, and never remembered."""
    retracts: bool = False
    """All ``text`` before this chunk was thinking: the model told so only now."""
    tool_calls: tuple[JsonObject, ...] = ()
    finish_reason: Literal["stop", "length", "tool_calls", "content_filter"] | None = None
    model: str | None = None
    """On the first chunk: the model that answers."""
    degraded: str | None = None
    """On the first chunk: why no language model answers, such as ``no-model``."""
    remote: str | None = None
    """On the first chunk: the remote upstream that answers, where one does."""
    conversation_id: Id | None = None
    recalled: tuple[Recalled, ...] | None = None
    """On the first chunk, when asked to explain."""
    prompt: tuple[ChatMessage, ...] | None = None
    """On the first chunk, when asked to explain: what the model was given."""
    usage: Usage | None = None
    message_id: Id | None = None
    """On the last chunk of a kept turn: the assistant's message."""
    position: Position | None = None
    """On the last chunk of a kept turn: where it lies in the stream."""


CHAT = Stream(
    "mongars.v1.cognition.chat",
    ChatRequest,
    ChatChunk,
    owner=Principal.COGNITION,
    callers=frozenset({Principal.API}),
    max_bytes=16 * MIB,
    first_timeout_s=120.0,
    idle_timeout_s=60.0,
)
