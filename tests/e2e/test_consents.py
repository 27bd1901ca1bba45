"""From a thumb in a terminal to an adapter that is tainted: over HTTP, the command line and the real broker."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cli.installation import load
from libs.shared.bus import Bus
from libs.shared.bus.nats import NatsBus
from libs.shared.contracts.base import Principal
from libs.shared.contracts.material import (
    LIST_TRAINED,
    RECORD_ADAPTER,
    RECORD_DATASET,
    TRAINING_MATERIAL,
    Exchange,
    ListTrained,
    Member,
    RecordAdapter,
    RecordDataset,
    TrainingMaterial,
)
from tests.e2e.person import Meet
from tests.support.installation import Installation

USER = ("--user", "consenting")


@asynccontextmanager
async def as_trainer(installation: Installation) -> AsyncIterator[Bus]:
    """With the trainer's own key, and no more rights than that has."""
    here = load(installation.state)
    seed = here.folder.nkey(Principal.TRAINER)
    bus = await NatsBus.connect(here.nats_url, principal=Principal.TRAINER, seed_file=seed, name="a-trainer")
    try:
        yield bus
    finally:
        await bus.drain(5)


async def train(installation: Installation, owner: str) -> list[Exchange]:
    """Reads what may be trained on, and records an adapter of it, as a run would."""
    async with as_trainer(installation) as bus:
        async with bus.stream(TRAINING_MATERIAL, TrainingMaterial(owners=(owner,))) as chunks:
            found = [exchange async for chunk in chunks for exchange in chunk.exchanges]
        if found:
            members = tuple(Member(turn_id=one.turn_id, version=one.version) for one in found)
            await bus.request(RECORD_DATASET, RecordDataset(dataset_id="consenting-1", members=members))
            await bus.request(RECORD_ADAPTER, RecordAdapter(adapter="consenting", datasets=("consenting-1",)))
    return found


async def causes(installation: Installation) -> list[str]:
    async with as_trainer(installation) as bus:
        found = await bus.request(LIST_TRAINED, ListTrained(adapters=("consenting",)))
    return [taint.cause for one in found.adapters for taint in one.taints]


def test_what_is_allowed_is_trained_on_until_it_is_withdrawn(running: Installation, meet: Meet) -> None:
    person = meet(running, "consenting")
    owner = person.http.get("/api/v1/users/me").json()["user_id"]
    said = person.say("My canoe is called Perdrix.")
    rated = running.mongars("ratings", "up", said.turn_id, *USER)
    assert rated.strip() == f"{said.turn_id}: rated up"
    assert asyncio.run(train(running, owner)) == []

    where = said.conversation_id
    assert "may be trained on" in running.mongars("consents", "allow", where, *USER)
    (exchange,) = asyncio.run(train(running, owner))
    assert (exchange.question, exchange.answer) == ("My canoe is called Perdrix.", said.text)
    assert (exchange.rating, exchange.quoted) == ("up", said.degraded == "no-model")
    exported = person.http.get("/api/v1/memories/export").json()
    assert [(one["turn_id"], one["thumb"]) for one in exported["ratings"]] == [(said.turn_id, "up")]
    assert [(one["conversation_id"], one["allowed"]) for one in exported["consents"]] == [(where, True)]

    withdrawn = json.loads(running.mongars("consents", "withdraw", where, *USER, "--json"))
    assert (withdrawn["consent"]["allowed"], withdrawn["tainted_adapters"]) == (False, ["consenting"])
    assert asyncio.run(causes(running)) == ["withdrawn"]
    assert asyncio.run(train(running, owner)) == []
    receipt = person.http.delete(f"/api/v1/conversations/{where}").json()
    assert receipt["tainted_adapters"] == ["consenting"]
