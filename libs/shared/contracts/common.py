"""Values that several conversations share."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from libs.shared.contracts.base import Message

Id = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_-]+$")]
"""An opaque identifier: URL and subject safe."""

JsonObject = dict[str, Any]

Vector = bytes
"""Little-endian float32 values, one after another; base64 on the wire."""


AdapterName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
"""Of a LoRA adapter, and of the folder in which it lies."""


class Role(StrEnum):
    """What an account may do: ``user`` < ``operator`` < ``admin``."""

    USER = "user"
    OPERATOR = "operator"
    ADMIN = "admin"


class MemoryMode(StrEnum):
    """What a request may do with memory: nothing, recall, or recall and be remembered."""

    OFF = "off"
    READ = "read"
    READ_WRITE = "read-write"


class Speaker(StrEnum):
    """Who said a message."""

    USER = "user"
    ASSISTANT = "assistant"


class Position(Message):
    """A place in the TURNS stream: readers pass it to read their own writes.

    ``epoch`` names one life of the stream; a sequence of another epoch is not comparable.
    """

    epoch: str
    sequence: int = Field(ge=0)


class Usage(Message):
    """Tokens as the backend counted them."""

    prompt_tokens: int = Field(ge=0)
    completion_tokens: int = Field(ge=0)
    """Thinking included."""
    reasoning_tokens: int | None = Field(default=None, ge=0)
    """Those of them that were thinking, where the backend says it."""
    cached_tokens: int | None = Field(default=None, ge=0)
    """Those of the prompt that had been read for an earlier one, where the backend says it."""


class Page(Message):
    """A bounded slice of a listing; ``cursor`` is opaque and comes from the page before."""

    limit: int = Field(default=50, ge=1, le=500)
    cursor: str | None = None


Slot = Annotated[int, Field(ge=0, lt=2**40)]
"""Where a data key lies in the slot file: its place there is a file offset."""


class SealedText(Message):
    """A text under a data key: ``sealed`` is nonce plus secretbox, ``slot`` says where the key lies."""

    slot: Slot
    sealed: bytes


class Stamp(Message):
    """Who did something, and when (UTC)."""

    actor: str
    at: datetime
