"""What tests of the turn ask with, and replicas that fail in their ways."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

from libs.shared.contracts.chat import CHAT, ChatChunk
from libs.shared.contracts.common import Speaker
from libs.shared.contracts.inference import GenerateChunk, GenerateRequest
from libs.shared.contracts.turns import TurnMessage
from libs.shared.errors import (
    BackendFailed,
)
from tests.unit.cognition.conftest import Household, request

LIMIT_S = 5


def text(chunks: list[ChatChunk]) -> str:
    return "".join(c.text for c in chunks)


def said(speaker: Speaker, words: str, message_id: str) -> TurnMessage:
    return TurnMessage(
        message_id=message_id, parent_id=None, speaker=speaker, text=words, at=datetime(2026, 1, 1, tzinfo=UTC)
    )


async def follow(home: Household, seen: list[ChatChunk]) -> None:
    """Collects what comes before an error."""
    async with home.api.stream(CHAT, request()) as chunks:
        async for chunk in chunks:
            seen.append(chunk)


async def broken(_: GenerateRequest) -> AsyncIterator[GenerateChunk]:
    raise BackendFailed("out of memory", reason="oom")
    yield


async def breaks_off(_: GenerateRequest) -> AsyncIterator[GenerateChunk]:
    yield GenerateChunk(text="Your dog ")
    raise BackendFailed("out of memory", reason="oom")


async def without_an_end(_: GenerateRequest) -> AsyncIterator[GenerateChunk]:
    yield GenerateChunk(text="Your dog ")
