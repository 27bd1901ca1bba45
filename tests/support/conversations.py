"""Messages for tests of the bus: real contracts, since the broker permits no other subject."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from libs.shared.contracts.base import Empty
from libs.shared.contracts.chat import ChatMessage
from libs.shared.contracts.common import SealedText, Speaker
from libs.shared.contracts.inference import GenerateChunk, GenerateRequest
from libs.shared.contracts.scheduling import Placement, PlaceRequest
from libs.shared.contracts.telemetry import ServedModel
from libs.shared.contracts.turns import KeptMessage, TurnCompleted


def altered(contract: Any, **changes: Any) -> Any:
    """A contract with other terms on the same subject, as another release or a faulty peer would have it."""
    return replace(contract, **changes)


REPLICA = "node-a-0"
EMPTY = Empty()


def placement(policy: str = "p") -> Placement:
    model = ServedModel(name="m", backend="b", context_tokens=8)
    return Placement(node_id="node-a", replica=REPLICA, model=model, policy=policy)


async def echo(request: PlaceRequest) -> Placement:
    """Answers with what was asked."""
    return placement(request.model or "")


def prompt(text: str = "hi") -> GenerateRequest:
    return GenerateRequest(request_id="r", model="m", messages=(ChatMessage(role="user", content=text),))


async def count_to_ten(request: GenerateRequest) -> AsyncIterator[GenerateChunk]:
    for number in range(10):
        yield GenerateChunk(text=str(number))


def turn(turn_id: str, sealed: bytes = b"sealed") -> TurnCompleted:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    message = KeptMessage(
        message_id=turn_id, parent_id=None, speaker=Speaker.USER, text=SealedText(slot=0, sealed=sealed), at=now
    )
    return TurnCompleted(
        turn_id=turn_id,
        user_id="u",
        conversation_id="c",
        new_conversation=True,
        messages=(message,),
        model=None,
        at=now,
    )
