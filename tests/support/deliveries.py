"""What a broker says of the deliveries of one consumer, and a consumer that is declared otherwise for a test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from libs.shared.bus.nats import NatsBus
from libs.shared.contracts.base import Consumer, Event


@contextmanager
def declared(consumer: Consumer, **changes: object) -> Iterator[Consumer]:
    """The contract itself is changed, so that the broker and the service both go by it."""
    before = {name: getattr(consumer, name) for name in changes}
    try:
        for name, value in changes.items():
            object.__setattr__(consumer, name, value)
        yield consumer
    finally:
        for name, value in before.items():
            object.__setattr__(consumer, name, value)


@dataclass(frozen=True)
class Deliveries:
    """Of a consumer's whole life."""

    made: int
    """Each time that a message was sent to somebody."""
    unanswered: int
    """Messages that somebody holds."""
    left: int
    """Messages that nobody was sent yet."""


async def deliveries(bus: NatsBus, event: Event[Any]) -> Deliveries:
    """``bus`` is the one that consumes: no other may ask."""
    state = await bus._api.ask(f"CONSUMER.INFO.{event.stream.name}.{event.consumers[0].name}")
    return Deliveries(state["delivered"]["consumer_seq"], state["num_ack_pending"], state["num_pending"])
