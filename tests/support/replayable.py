"""Somebody who has asked much of what they told, and allows it to be replayed: on a running installation."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from cli.installation import load
from libs.shared.bus.nats import NatsBus
from libs.shared.contracts.accounts import READ_USER, UserRef
from libs.shared.contracts.base import Principal
from tests.e2e.person import Person
from tests.support.installation import Installation
from tests.support.persistence import Client

TOLD_AT = datetime(2024, 5, 1, 9, 0, tzinfo=UTC)
ASKED_AT = datetime(2025, 5, 1, 9, 0, tzinfo=UTC)
THINGS = ("kayak", "piano", "bicycle", "telescope", "beehive", "greenhouse", "sledge", "loom", "sailboat", "kiln")


def place_of(number: int) -> str:
    """A word of its own for each."""
    return f"{'bdfglmnprt'[number % 10]}o{'kvzsht'[number // 10 % 6]}arem"


def has_asked(installed: Installation, name: str, person: Person, *, conversations: int) -> None:
    """A question in each, answered by a model from one memory, as cognition publishes it."""
    numbers = range(conversations)
    told = [
        {
            "id": f"told/{number}",
            "conversation_id": f"told-{number // 8}",
            "speaker": name,
            "text": f"I keep the {THINGS[number % 10]} number {number} at {place_of(number)}.",
            "at": (TOLD_AT + timedelta(days=number)).isoformat(),
        }
        for number in numbers
    ]
    person.http.post("/api/v1/memories/import", json={"turns": told}).raise_for_status()
    person.http.patch("/api/v1/consents", json={"tuning": True}).raise_for_status()
    asyncio.run(_said(installed, name, [*numbers]))


async def _said(installed: Installation, name: str, numbers: list[int]) -> None:
    there = load(installed.state, by_root=True)
    buses = [
        await NatsBus.connect(there.nats_url, principal=one, seed_file=there.folder.nkey(one), name="tests")
        for one in (Principal.API, Principal.COGNITION)
    ]
    client = Client(*buses)
    user = await client.bus.request(READ_USER, UserRef(name=name))
    for number in numbers:
        texts = (
            f"Where do I keep the {THINGS[number % 10]} number {number}?",
            f"At {place_of(number)}.",
        )
        turn = await client.turn(user.user_id, f"asked-{number}", *texts, at=ASKED_AT + timedelta(hours=number))
        await client.publish(turn)
    for bus in buses:
        await bus.drain(1)
