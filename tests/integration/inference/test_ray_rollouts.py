"""Replicas of Ray Serve are replaced, added and taken away under load, and no request is lost."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from libs.shared.bus.base import Bus
from libs.shared.contracts.base import Principal
from libs.shared.contracts.inference import GENERATE
from libs.shared.contracts.telemetry import REPLICA, ReplicaTelemetry
from libs.shared.errors import ServiceError
from services.inference.models import ModelSpec
from services.inference.ray_host import FEWER_AFTER_S
from tests.integration.inference.conftest import ask
from tests.support.broker import NODE as NODE_ID
from tests.support.broker import TestBroker

pytestmark = [pytest.mark.ray, pytest.mark.soak]

ROLLOUTS = 50
WAIT_S = 120.0
ATTEMPTS = 3
"""As cognition does: another replica is asked before the first token, and none after it."""


@dataclass
class Host:
    """The process that starts Ray and deploys, as the service runs it."""

    process: Process

    async def deploy(self, spec: ModelSpec) -> None:
        """Returns when every replica is of this deployment."""
        assert self.process.stdin is not None
        self.process.stdin.write(spec.model_dump_json().encode() + b"\n")
        await self.deployed()

    async def deployed(self) -> None:
        assert self.process.stdout is not None
        async with asyncio.timeout(2 * WAIT_S):
            async for line in self.process.stdout:
                with suppress(ValueError):
                    event = json.loads(line)
                    if isinstance(event, dict) and "model" in event:
                        assert event["ok"]
                        return
        raise AssertionError("the host ended")


@dataclass
class Load:
    """Requests without a pause, each to the replica with the fewest; what became of each is counted."""

    bus: Bus
    replicas: dict[str, ReplicaTelemetry] = field(default_factory=dict)
    boots: set[str] = field(default_factory=set)
    ours: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    most: int = 0

    async def hear(self, told: ReplicaTelemetry) -> None:
        name = told.state.replica
        if told.stopped:
            if name in self.replicas and self.replicas[name].boot_id == told.boot_id:
                del self.replicas[name]
        else:
            self.replicas[name] = told
            self.boots.add(told.boot_id)
            self.most = max(self.most, len(self.replicas))

    async def run(self) -> None:
        while True:
            self.outcomes["asked"] += 1
            self.outcomes[await self._one()] += 1

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_S + FEWER_AFTER_S):
            while not condition():  # noqa: ASYNC110 - what Ray does has no event here
                await asyncio.sleep(0.1)

    def reached(self, boots: int, answered: int) -> bool:
        """Whether so many replicas have lived, and so many requests were answered."""
        return len(self.boots) >= boots and self.outcomes["answered"] >= answered

    async def _one(self) -> str:
        tried: list[str] = []
        while len(tried) < ATTEMPTS:
            if not self.replicas.keys() - set(tried):
                self.outcomes["found none"] += 1
            await self.until(lambda: bool(self.replicas.keys() - set(tried)))
            replica = min(self.replicas.keys() - set(tried), key=lambda name: (self.ours[name], name))
            tried.append(replica)
            begun = False
            self.ours[replica] += 1
            try:
                async with self.bus.stream(GENERATE, ask("slow", max_tokens=10), replica=replica) as chunks:
                    async for chunk in chunks:
                        begun = True
                        if chunk.finish_reason is not None:
                            return "answered"
            except ServiceError as error:
                if begun:
                    return f"lost after its first token: {error.code}"
                self.outcomes["sent elsewhere"] += 1
            finally:
                self.ours[replica] -= 1
        return "lost before its first token"


@asynccontextmanager
async def under_load(
    folder: Path, spec: ModelSpec, requests: int
) -> AsyncIterator[tuple[Host, Load, asyncio.TaskGroup]]:
    """So many requests at all times."""
    (state := folder / "state").mkdir()
    async with TestBroker(folder) as broker:
        load = Load(await broker.connect(Principal.COGNITION))
        await (await broker.connect(Principal.INFERENCE)).subscribe(REPLICA, load.hear)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.inference.ray_host", stdin=PIPE, stdout=PIPE, env=environment(broker, state)
        )
        host = Host(process)
        assert process.stdin is not None
        process.stdin.write(json.dumps([spec.model_dump(mode="json")]).encode() + b"\n")
        try:
            await host.deployed()
            async with asyncio.TaskGroup() as group:
                running = [group.create_task(load.run()) for _ in range(requests)]
                yield host, load, group
                for one in running:
                    one.cancel()
        finally:
            process.stdin.write(b"stop\n")
            await process.wait()


def environment(broker: TestBroker, state: Path) -> dict[str, str]:
    return os.environ | {
        "MONGARS_STATE": str(state),
        "MONGARS_NATS_URL": broker.url,
        "MONGARS_NATS_SEED_FILE": str(broker.seed_file(Principal.INFERENCE)),
        "MONGARS_NODE_ID": NODE_ID,
    }


def slow(**options: int) -> ModelSpec:
    return ModelSpec(name="slow", backend="tests.support.slow_backend:SlowBackend", options=dict(options))


def lost(outcomes: Counter[str]) -> dict[str, int]:
    return {outcome: count for outcome, count in outcomes.items() if outcome.startswith("lost")}


async def check_rollouts(folder: Path, rollouts: int, replicas: int) -> Counter[str]:
    """Each replaces every replica, and answers some requests before the next begins."""
    async with under_load(folder, slow(replicas=replicas), requests=2 * replicas - 1) as (host, load, _):
        for number in range(1, rollouts + 1):
            answered = load.outcomes["answered"]
            await host.deploy(slow(replicas=replicas))
            await load.until(partial(load.reached, replicas * (number + 1), answered + 5))
            print(f"{number} of {rollouts} rollouts of {replicas} replicas:", dict(load.outcomes), flush=True)
    assert lost(load.outcomes) == {}
    return load.outcomes


async def check_scaling(folder: Path) -> Counter[str]:
    """Six requests at a time, two a replica, make three replicas of one; one at a time makes one of three."""
    async with under_load(folder, slow(replicas=1, max_replicas=3), requests=1) as (_, load, group):
        more = [group.create_task(load.run()) for _ in range(5)]
        await load.until(lambda: len(load.replicas) == 3)
        for one in more:
            one.cancel()
        await load.until(lambda: len(load.replicas) == 1)
        assert load.most == 3
    assert lost(load.outcomes) == {}
    return load.outcomes


async def test_no_request_is_lost_over_rolling_redeployments(tmp_path: Path) -> None:
    outcomes = await check_rollouts(tmp_path, ROLLOUTS, replicas=3)
    assert outcomes["answered"] > 5 * ROLLOUTS


async def test_a_single_replica_is_replaced_without_a_gap(tmp_path: Path) -> None:
    assert (await check_rollouts(tmp_path, 3, replicas=1))["found none"] == 0


async def test_no_request_is_lost_while_replicas_come_and_go(tmp_path: Path) -> None:
    await check_scaling(tmp_path)
