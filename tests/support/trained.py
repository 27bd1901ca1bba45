"""People whose words adapters were trained on, as persistence keeps it: for tests of what taints."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from libs.shared.bus import Bus
from libs.shared.contracts.material import (
    LIST_TRAINED,
    RECORD_ADAPTER,
    RECORD_DATASET,
    STANDING_CHANGED,
    TRAINING_MATERIAL,
    DatasetRecorded,
    Exchange,
    ListTrained,
    Member,
    RecordAdapter,
    RecordDataset,
    StandingChanged,
    TrainedAdapter,
    TrainingMaterial,
)
from libs.shared.contracts.ratings import (
    CHANGE_TRAINING_CHOICES,
    SET_CONSENT,
    ChangeTrainingChoices,
    SetConsent,
    TrainingChoices,
)
from libs.shared.contracts.turns import TurnCompleted
from tests.support.persistence import Client, RunningPersistence, make_turn

OURS, THEIRS, BOTH = "of-ana", "of-ben", "of-both"


async def talk(
    client: Client, persistence: RunningPersistence, user_id: str, where: str, *texts: str, **more: Any
) -> TurnCompleted:
    """A turn that was kept and applied."""
    turn = make_turn(await client.open(user_id), user_id, where, *(texts or ("which board?", "a Pi 5")), **more)
    await persistence.parts.watermark.wait_for(await client.publish(turn))
    return turn


async def allow(client: Client, user_id: str, where: str, yes: bool = True) -> None:
    await client.bus.request(SET_CONSENT, SetConsent(user_id=user_id, conversation_id=where, allowed=yes))


async def choose(client: Client, user_id: str, **choices: bool) -> TrainingChoices:
    request = ChangeTrainingChoices(user_id=user_id, **choices)
    return (await client.bus.request(CHANGE_TRAINING_CHOICES, request)).choices


@dataclass
class Scene:
    """Two people, a conversation each that is allowed, and an adapter of each one's words and of both together. Several
    stand side by side, each with a ``tag``, which isn't in what is told of it."""

    client: Client
    persistence: RunningPersistence
    trainer: Bus
    tag: str = "a"
    ana: str = ""
    ben: str = ""
    turn: TurnCompleted = field(init=False)
    """Ana's; another one of hers stands beside it in the same conversation."""
    heard: asyncio.Queue[StandingChanged] = field(default_factory=asyncio.Queue)

    async def open(self) -> Scene:
        self.ana, self.ben = await self.client.user(), await self.client.user()
        since = (await choose(self.client, self.ana, future=True)).future_since
        assert since is not None
        self.turn = await talk(self.client, self.persistence, self.ana, self.where, "which board?", "a Pi 5", at=since)
        await talk(self.client, self.persistence, self.ana, self.where, "which cable?", "a blue one", at=since)
        await talk(self.client, self.persistence, self.ben, f"ben-{self.tag}")
        await allow(self.client, self.ben, f"ben-{self.tag}")
        everything = await self.material()
        by_owner = {who: [one for one in everything if one.owner == who] for who in (self.ana, self.ben)}
        for name, exchanges in ((OURS, by_owner[self.ana]), (THEIRS, by_owner[self.ben]), (BOTH, everything)):
            await self.dataset(f"data-{name}", exchanges)
            await self.adapter(name, f"data-{name}")

        await self.trainer.subscribe(STANDING_CHANGED, self.heard.put)
        return self

    @property
    def where(self) -> str:
        """Ana's conversation."""
        return f"ana-{self.tag}"

    async def material(self) -> list[Exchange]:
        async with self.trainer.stream(TRAINING_MATERIAL, TrainingMaterial(owners=(self.ana, self.ben))) as chunks:
            return [exchange async for chunk in chunks for exchange in chunk.exchanges]

    async def dataset(self, dataset_id: str, exchanges: list[Exchange]) -> DatasetRecorded:
        members = tuple(Member(turn_id=one.turn_id, version=one.version) for one in exchanges)
        request = RecordDataset(dataset_id=f"{self.tag}-{dataset_id}", members=members)
        return await self.trainer.request(RECORD_DATASET, request)

    async def adapter(self, name: str, *datasets: str) -> TrainedAdapter:
        tagged = tuple(f"{self.tag}-{dataset}" for dataset in datasets)
        return await self.trainer.request(RECORD_ADAPTER, RecordAdapter(adapter=f"{self.tag}-{name}", datasets=tagged))

    async def standing(self, **more: object) -> Mapping[str, TrainedAdapter]:
        listing = ListTrained.model_validate(more)
        found = (await self.trainer.request(LIST_TRAINED, listing)).adapters
        return {self.told((one.adapter,))[0]: one for one in found if one.adapter.startswith(f"{self.tag}-")}

    def told(self, adapters: tuple[str, ...]) -> tuple[str, ...]:
        """Their names without the tag."""
        assert all(name.startswith(f"{self.tag}-") for name in adapters)
        return tuple(name.removeprefix(f"{self.tag}-") for name in adapters)

    async def tainted(self) -> dict[str, list[tuple[str, int]]]:
        """Causes and exchanges, by adapter."""
        found = await self.standing()
        return {name: [(t.cause, t.exchanges) for t in one.taints] for name, one in found.items() if one.tainted}
