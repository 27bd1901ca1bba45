"""``python -m bench.scheduling.live``: the same question asked of real processes.

A real broker, a real scheduler process and eight real inference processes, each with a plug-in backend as fast as its
board, time scaled; requests come by the same arrivals as in the simulation and are placed, streamed and reported as
cognition does it. Then, at a lower load, one node is killed with SIGKILL and another made ten times slower.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from bench.report import Aim, finish, table
from bench.scheduling.boards import Board, fleet
from bench.scheduling.simulation import ATTEMPTS, Conditions, Simulation
from bench.scheduling.workload import Request, arrivals
from libs.shared.bus.base import Bus
from libs.shared.contracts.base import Empty, Principal
from libs.shared.contracts.chat import ChatMessage, Sampling
from libs.shared.contracts.inference import GENERATE, GenerateRequest
from libs.shared.contracts.ledger import SETTINGS, SETTINGS_KEY
from libs.shared.contracts.runtime_settings import RuntimeSettings
from libs.shared.contracts.scheduling import LIST_NODES, PLACE, Placement, PlaceRequest
from libs.shared.errors import ServiceError
from services.cognition.outcomes import Outcomes, Writing
from tests.support.broker import TestBroker

MODEL = "llama"
SCALE = 25.0
POLICIES = ("expected_completion", "least_in_flight")
WARM_UP = 0.3
"""Share of the requests that are not counted: until each node has answered once, none knows how fast it is."""


@dataclass
class Found:
    """Seconds by the fleet's own clock, and when requests failed."""

    seconds: list[float] = field(default_factory=list)
    failed: list[float] = field(default_factory=list)

    def percentile(self, share: float) -> float:
        kept = sorted(self.seconds[int(WARM_UP * len(self.seconds)) :])
        return kept[min(len(kept) - 1, int(share * len(kept)))] * SCALE


@dataclass
class Fleet:
    """What runs: a process a node, and a file each that says how fast it is."""

    cognition: Bus
    nodes: dict[str, Process]
    speeds: dict[str, Path]

    async def ask(self, request: Request, outcomes: Outcomes, found: Found) -> None:
        """Placed, streamed, and tried again elsewhere while no token has come; as cognition does."""
        began = time.monotonic()
        tried: list[str] = []
        text = f"answer={request.answer_tokens} " + "x" * (3 * request.prompt_tokens)
        for _ in range(ATTEMPTS):
            question = PlaceRequest(
                model=MODEL,
                prompt_tokens=request.prompt_tokens,
                max_tokens=request.max_tokens,
                exclude=tuple(tried),
            )
            try:
                placed = await self.cognition.request(PLACE, question)
            except ServiceError:
                break
            writing = Writing()
            try:
                await self._stream(placed, text, request, writing)
            except ServiceError as error:
                await outcomes.failed(placed, error, started=writing.begun)
                tried.append(placed.replica)
                if writing.begun:
                    break
            else:
                found.seconds.append(time.monotonic() - began)
                await outcomes.succeeded(placed, writing)
                return
        found.failed.append(time.monotonic())

    async def _stream(self, placed: Placement, text: str, request: Request, writing: Writing) -> None:
        generate = GenerateRequest(
            request_id=uuid4().hex,
            model=MODEL,
            messages=(ChatMessage(role="user", content=text),),
            sampling=Sampling(max_tokens=request.max_tokens),
            ticket=placed.ticket,
        )
        waiting = time.monotonic()
        async with self.cognition.stream(GENERATE, generate, replica=placed.replica) as chunks:
            async for chunk in chunks:
                writing.came(time.monotonic() - waiting, chunk.usage)
                waiting = time.monotonic()


def options(board: Board, speed: Path) -> str:
    """The node's models, as its environment has them."""
    told = {"read_per_s": board.read_per_s * SCALE, "write_per_s": board.write_per_s * SCALE, "speed": str(speed)}
    backend = "bench.scheduling.throttled:Throttled"
    return json.dumps([{"name": MODEL, "backend": backend, "options": told | {"slots": board.slots}}])


@asynccontextmanager
async def running(folder: Path, boards: Sequence[Board], policy: str) -> AsyncIterator[Fleet]:
    """Everything started and ready, and ended with the block."""
    names = tuple(f"n{place}-{board.name}" for place, board in enumerate(boards))
    async with TestBroker(folder, nodes=names) as broker:
        processes: dict[str, Process] = {}
        speeds: dict[str, Path] = {}
        try:
            await settings_in_force(broker, policy)
            scheduler = await start("services.scheduler", broker, folder, Principal.SCHEDULER)
            processes["scheduler"] = scheduler
            for name, board in zip(names, boards, strict=True):
                (folder / name).mkdir()
                speeds[name] = folder / name / "speed"
                speeds[name].write_text("1.0")
                models = options(board, speeds[name])
                processes[name] = await start(
                    "services.inference", broker, folder / name, Principal.INFERENCE, node=name, models=models
                )
            api = await broker.connect(Principal.API)
            await ready(api, len(names))
            cognition = await broker.connect(Principal.COGNITION)
            yield Fleet(cognition, {name: processes[name] for name in names}, speeds)
        finally:
            for process in processes.values():
                if process.returncode is None:
                    process.kill()
                await process.wait()


async def settings_in_force(broker: TestBroker, policy: str) -> None:
    """The policy, where the scheduler reads it: the settings' bucket, as persistence writes it."""
    bus = await broker.connect(Principal.PERSISTENCE)
    chosen = RuntimeSettings.model_validate({"placement_policy": policy})
    await bus.bucket(SETTINGS).put(SETTINGS_KEY, chosen.model_dump_json().encode())


async def start(module: str, broker: TestBroker, state: Path, who: Principal, **more: str) -> Process:
    """A service's process, as the supervisor starts it."""
    node = more.get("node")
    environment = os.environ | {
        "MONGARS_NATS_URL": broker.url,
        "MONGARS_NATS_SEED_FILE": str(broker.seed_file(who, node)),
        "MONGARS_STATE": str(state),
        "MONGARS_OLLAMA_URL": "none",
        "MONGARS_INFERENCE_RUNTIME": "inline",
        "MONGARS_MODELS": more.get("models", "[]"),
        "MONGARS_MAX_QUEUE": "1000",
    }
    if node is not None:
        environment["MONGARS_NODE_ID"] = node
    log = (state / f"{who}.log").open("ab")
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, env=environment, stdout=log, stderr=log, start_new_session=True
    )


async def ready(api: Bus, nodes: int, timeout_s: float = 120.0) -> None:
    """Until every node serves the model."""
    async with asyncio.timeout(timeout_s):
        while True:
            try:
                told = (await api.request(LIST_NODES, Empty())).nodes
            except ServiceError:
                told = ()
            if sum(any(m.name == MODEL for m in node.telemetry.models) for node in told) == nodes:
                return
            await asyncio.sleep(0.5)


async def offered(running_fleet: Fleet, requests: Sequence[Request], found: Found) -> None:
    """Every request at its time, whatever became of the others."""
    outcomes = Outcomes(running_fleet.cognition)
    begun = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for request in requests:
            await asyncio.sleep(max(0.0, begun + request.at / SCALE - time.monotonic()))
            group.create_task(running_fleet.ask(request, outcomes, found))


async def compared(policy: str, share: float, count: int) -> Found:
    """One policy's figures over the whole fleet."""
    found, boards = Found(), fleet(8)
    with tempfile.TemporaryDirectory(prefix="mongars-fleet-") as folder:
        async with running(Path(folder), boards, policy) as made:
            await offered(made, arrivals(boards, share, count, 1), found)
    return found


async def with_failures(count: int) -> tuple[Found, float]:
    """At 40 % of capacity a Pi 5 is killed and an Orin made ten times slower; when that was."""
    found, boards = Found(), fleet(8)
    requests = arrivals(boards, 0.4, count, 2)
    with tempfile.TemporaryDirectory(prefix="mongars-fleet-") as folder:
        async with running(Path(folder), boards, "expected_completion") as made:

            async def befall() -> float:
                await asyncio.sleep(requests[count // 3].at / SCALE)
                made.nodes["n1-pi5"].send_signal(signal.SIGKILL)
                made.speeds["n2-orin"].write_text("0.1")
                return time.monotonic()

            fate = asyncio.create_task(befall())
            await offered(made, requests, found)
            return found, await fate


def simulated(policy: str, share: float, count: int) -> float:
    """The p99 that the simulation gives the same requests, with telemetry as live as here."""
    boards = fleet(8)
    conditions = Conditions(every_s=0.25 * SCALE, age_s=0.02 * SCALE, known=True)
    found = Simulation(boards, policy, conditions, 1).run(arrivals(boards, share, count, 1))
    return found.percentile(0.99, WARM_UP)


async def measure(count: int, load: float, json_file: Path | None) -> None:
    """Prints the comparison and ends with PASS or FAIL."""
    rows, live, thought = [], {}, {}
    for policy in POLICIES:
        found = await compared(policy, load, count)
        live[policy], thought[policy] = found.percentile(0.99), simulated(policy, load, count)
        rows.append([policy, found.percentile(0.5), live[policy], thought[policy], len(found.failed)])
        print(f"  {policy}: p99 {live[policy]:.1f} s, simulated {thought[policy]:.1f} s", flush=True)
    found, fate = await with_failures(count)
    share = len(found.failed) / count
    late = sum(at > fate + 5.0 for at in found.failed)
    print(table(["policy", "p50 s", "p99 s", "simulated p99 s", "failed"], rows))
    print(f"a node killed, one ten times slower: p99 {found.percentile(0.99):.1f} s, failed {share:.2%}, later {late}")
    order = [sorted(POLICIES, key=figures.__getitem__) for figures in (live, thought)]
    aims = [
        Aim("rankings that differ from the simulation's", float(order[0] != order[1]), 0.0),
        Aim("failed with a node killed and one slowed", 100 * share, 1.0, "%"),
        Aim("failed later than 5 s after", float(late), 0.0),
    ]
    finish(aims, {"rows": rows, "failed": share, "late": late}, json_file)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.scheduling.live", description=__doc__)
    parser.add_argument("--requests", type=int, default=1200, help="of each policy (default 1,200: about two minutes)")
    parser.add_argument("--load", type=float, default=0.6, help="share of the fleet's capacity (default 0.6)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    options = parser.parse_args()
    asyncio.run(measure(options.requests, options.load, options.json))


if __name__ == "__main__":
    main()
