"""What a node's telemetry costs: processor time of sampling and publishing, as a share of one core.

A node's agent as the inference service runs it (its sensors on this machine, three replicas, a broker in a process of
its own) is watched for a real minute: quiet, which is one message a second; under ten requests a second; and under more
than its slots can take, where every request changes a queue. The agent has the process to itself, and all of its time
counts, the client's included; what the same requests take where nobody tells of them is taken off. The second table
is one look a second at each recorded board; ordinary files stand there for the kernel's, which cost more or less.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import resource
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import uvloop

from bench.report import Aim, finish, table
from libs.shared.contracts.base import Principal
from libs.shared.errors import Overloaded
from libs.shared.hardware import Sensors, read_board
from services.inference.admission import Admission
from services.inference.backends.extractive import ExtractiveBackend
from services.inference.replica import Identity, Replica
from services.inference.telemetry.agent import NodeAgent
from services.inference.telemetry.node import Facts
from tests.support import machines
from tests.support.broker import NODE, TestBroker

AIM_PERCENT = 1.0
REPLICAS = 3
REQUESTS_PER_S = {"quiet": 0, "10 requests/s": 10, "overloaded, 60 requests/s": 60}
ANSWER_S = 0.5
SETTLE_S = 2.0
LOOKS = 200
CLOCK_READS = 3
"""Of a look, so that a second passes from one to the next."""


@dataclass(frozen=True)
class Cost:
    """Over one real interval; ``share`` is of one core, what the requests take without telemetry taken off."""

    what: str
    seconds: float
    messages_per_s: float
    share: float


class BusyReplica(Replica):
    """A replica through whose queue requests pass without any work being done."""

    async def take(self) -> None:
        admission: Admission = self._admission
        try:
            ticket = await admission.enter(120)
        except Overloaded:
            return
        await asyncio.sleep(ANSWER_S)
        admission.leave(ticket, ANSWER_S)


def replicas_of(changed: Callable[[bool], None]) -> list[BusyReplica]:
    """Of one node."""
    return [
        BusyReplica(Identity(NODE, f"{NODE}-{n}", "bench"), ExtractiveBackend(), max_queue=64, changed=changed)
        for n in range(REPLICAS)
    ]


@asynccontextmanager
async def speaking(broker: TestBroker) -> AsyncIterator[tuple[NodeAgent, list[BusyReplica]]]:
    """An agent that publishes, and its replicas."""
    bus = await broker.connect(Principal.INFERENCE)
    agent = NodeAgent(Facts(NODE, "bench", "0", read_board().name), Sensors(broker.folder), bus, tuple)
    replicas = replicas_of(agent.changed)
    for replica in replicas:
        await replica.serve(bus)
        agent.add(replica)
    running = asyncio.ensure_future(agent.run())
    try:
        yield agent, replicas
    finally:
        running.cancel()
        await asyncio.wait([running])


def cpu_s() -> float:
    """Of this process, all threads, and of the programs that it ran to their end."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime


async def spent(replicas: list[BusyReplica], per_s: int, seconds: float) -> tuple[float, float]:
    """Seconds that passed while requests came, and what this process used of the processor in them."""
    coming = asyncio.ensure_future(requests(replicas, per_s) if per_s else asyncio.sleep(0))
    await asyncio.sleep(SETTLE_S)
    used_s, begun = cpu_s(), time.perf_counter()
    await asyncio.sleep(seconds)
    found = time.perf_counter() - begun, cpu_s() - used_s
    coming.cancel()
    await asyncio.wait([coming])
    return found


async def requests(replicas: list[BusyReplica], per_s: int) -> None:
    """They come and go until cancelled."""
    async with asyncio.TaskGroup() as group:
        for replica in itertools.cycle(replicas):
            group.create_task(replica.take())
            await asyncio.sleep(1 / per_s)


async def measure(seconds: float) -> list[Cost]:
    """One load after the other."""
    costs = []
    mute = replicas_of(lambda _: None)
    with tempfile.TemporaryDirectory(prefix="mongars-telemetry-") as folder:
        async with TestBroker(Path(folder)) as broker:
            for what, per_s in REQUESTS_PER_S.items():
                took_s, without_s = await spent(mute, per_s, seconds)
                without = without_s / took_s
                async with speaking(broker) as (agent, replicas):
                    began = agent.published
                    took_s, with_s = await spent(replicas, per_s, seconds)
                    rate = (agent.published - began) / (took_s + SETTLE_S)
                costs.append(Cost(what, took_s, rate, with_s / took_s - without))
    return costs


def look_ms(name: str) -> float:
    """Processor milliseconds of one look at a recorded board."""
    with tempfile.TemporaryDirectory(prefix="mongars-board-") as folder:
        root = Path(folder)
        machines.lay_out(name, root)
        seconds = itertools.count()
        sensors = Sensors(root, root=root, clock=lambda: float(next(seconds)) / CLOCK_READS)
        used_s = cpu_s()
        for _ in range(LOOKS):
            sensors.sample()
        return 1000 * (cpu_s() - used_s) / LOOKS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="watch for 10 s each instead of 60")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    args = parser.parse_args()
    costs = uvloop.run(measure(10.0 if args.quick else 60.0))
    rows = [(c.what, c.messages_per_s, 1000 * c.share / c.messages_per_s, 100 * c.share) for c in costs]
    print(table(("node", "messages/s", "CPU ms a message", "% of one core"), rows))
    looks = {path.stem: look_ms(path.stem) for path in sorted(machines.BOARDS.glob("*.yaml"))}
    print("\n" + table(("recorded board", "CPU ms a look"), list(looks.items())))
    figures = {"costs": [asdict(cost) for cost in costs], "look_ms": looks}
    finish([Aim(f"telemetry, {c.what}", 100 * c.share, AIM_PERCENT, "% of a core") for c in costs], figures, args.json)


if __name__ == "__main__":
    main()
