"""What a request through a replica costs beside a bare NATS request and reply of as many bytes, without a model's work.

Bare is nats-py as it is published, connection and all, at both ends: nothing of our bus makes it quicker or slower.

In one run and in turns, each answered by a process of its own: nats-py's own request with a plain reply; a stream of
the bus alone; a replica as the service runs one, with contract, admission, measuring, a scheduler's ticket, telemetry
that somebody hears, and the stream's protocol; and with ``--ray`` the same replica in Ray Serve.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field
from itertools import cycle
from pathlib import Path
from statistics import quantiles
from typing import Any

import psutil
import uvloop

from bench.instant import ANSWER, InstantBackend
from bench.report import Aim, finish, table
from libs.shared.bus.nats import NatsBus
from libs.shared.bus.permissions import inbox_prefix
from libs.shared.bus.slim_nats import Client
from libs.shared.bus.wire import encode
from libs.shared.contracts.base import Principal
from libs.shared.contracts.inference import GENERATE, GenerateChunk, GenerateRequest
from libs.shared.contracts.scheduling import Ticket
from libs.shared.contracts.telemetry import REPLICA, ReplicaTelemetry
from libs.shared.telemetry import setup
from services.inference.deployment import connect
from services.inference.lease import ReplicaLease
from services.inference.models import ModelSpec
from services.inference.replica import Identity, Replica
from services.inference.settings import InferenceSettings
from services.inference.telemetry.node import Replicas
from services.inference.telemetry.pulse import Pulse
from tests.support.broker import NODE, TestBroker
from tests.support.conversations import prompt

AIM = 1.3
CONCURRENCY = (1, 32)
BLOCKS, BLOCK = 40, 250
"""Turns of each kind, and requests in one: other work on the machine falls on all of them alike."""
WARM_UP = 300
QUESTION = prompt("hi " * 150).model_copy(update={"model": "instant"})
SPEC = ModelSpec(name="instant", backend="bench.replica_cost:Nothing")
HERE, IN_RAY, STREAM, BARE = f"{NODE}-1", f"{NODE}-2", f"{NODE}-14", f"{NODE}-15"
RAY_START_S = 180.0
TICKETS = 256
"""So many are made before the clock runs, and asked with again and again."""

Ask = Callable[[], Awaitable[object]]


class Nothing(InstantBackend):
    """Answers at once, and is counted as a local model's answers are."""

    name = "llama_cpp"


@dataclass
class Way:
    """One way to ask, what it took so far, and the process that answers."""

    name: str
    ask: Ask
    server: int
    seconds: dict[int, list[float]] = field(default_factory=dict)
    cpu_s: dict[int, list[float]] = field(default_factory=dict)
    """Of caller, server and broker."""


@dataclass(frozen=True)
class Cost:
    """Microseconds a request: as waited for, and as processor time."""

    way: str
    concurrency: int
    p50_us: float
    p99_us: float
    caller_us: float
    server_us: float
    broker_us: float

    @property
    def cpu_us(self) -> float:
        return self.caller_us + self.server_us + self.broker_us


async def serve(way: str, url: str, folder: Path) -> None:
    """One way's server; ends when its standard input does."""
    settings = InferenceSettings(
        state=folder / "state", nats_url=url, nats_seed_file=folder / "keys" / f"inference-{NODE}.nk", node_id=NODE
    )
    async with SERVERS[way](settings):
        print(json.dumps({"serves": way}), flush=True)
        await asyncio.to_thread(sys.stdin.read)


@asynccontextmanager
async def _plain(settings: InferenceSettings) -> AsyncIterator[None]:
    bare = await _bare(settings.nats_url, settings.nats_seed_file, inbox_prefix(Principal.INFERENCE, NODE))
    answer = encode(ANSWER, GENERATE.max_bytes)

    async def reply(message: Any) -> None:
        await message.respond(answer)

    await bare.subscribe(GENERATE.subject_at(replica=BARE), queue="q", cb=reply)
    yield
    await bare.close()


@asynccontextmanager
async def _stream(settings: InferenceSettings) -> AsyncIterator[None]:
    setup(Principal.INFERENCE, settings)
    bus = await connect(settings)
    await bus.serve_stream(GENERATE, _answer, replica=STREAM)
    yield
    await bus.drain(1)


@asynccontextmanager
async def _replica(settings: InferenceSettings) -> AsyncIterator[None]:
    setup(Principal.INFERENCE, settings)
    bus, pulse = await connect(settings), Pulse()
    identity = Identity(NODE, HERE, "boot")
    replica = Replica(identity, Nothing(SPEC), max_queue=settings.max_queue, changed=pulse.nudge)
    await replica.serve(bus)
    # The number that Ray Serve's replica must not take.
    with ReplicaLease(settings.folder.run, NODE):
        telling = asyncio.create_task(_tell(bus, replica, pulse))
        yield
        telling.cancel()
    await bus.drain(1)


SERVERS = {BARE: _plain, STREAM: _stream, HERE: _replica}


async def _answer(request: GenerateRequest) -> AsyncIterator[GenerateChunk]:
    yield ANSWER


async def _tell(bus: NatsBus, replica: Replica, pulse: Pulse) -> None:
    while True:
        await pulse.wait()
        await bus.broadcast(REPLICA, replica.snapshot())


async def hear(url: str, folder: Path) -> None:
    """What the node's agent hears of its replicas in other processes; ends when its standard input does."""
    settings = InferenceSettings(
        state=folder / "state", nats_url=url, nats_seed_file=folder / "keys" / f"inference-{NODE}.nk", node_id=NODE
    )
    bus, replicas = await connect(settings), Replicas(NODE)

    async def note(told: ReplicaTelemetry) -> None:
        replicas.hear(told, time.monotonic())

    await bus.subscribe(REPLICA, note)
    print(json.dumps({"hears": True}), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await bus.drain(1)


async def _bare(url: str, seed_file: Path | None, inbox: str) -> Client:
    client = Client()
    await client.connect(url, nkeys_seed=str(seed_file), inbox_prefix=inbox.encode())
    return client


async def measure(blocks: int, ray: bool) -> list[Cost]:
    """Every way at every concurrency, block by block in turn."""
    with tempfile.TemporaryDirectory() as place:
        async with AsyncExitStack() as stack:
            broker = await stack.enter_async_context(TestBroker(Path(place)))
            pids = {way: await _serving(stack, way, broker.url, place) for way in SERVERS}
            hearer = await stack.enter_async_context(_started("bench.replica_cost", "--hear", broker.url, place))
            await _event(hearer, "hears")
            bus = await broker.connect(Principal.COGNITION)
            bare = await _bare(broker.url, broker.seed_file(Principal.COGNITION), inbox_prefix(Principal.COGNITION))
            stack.push_async_callback(bare.close)
            ways = [
                Way("bare request and reply", _bare_request(bare), pids[BARE]),
                Way("a stream of the bus alone", _asking(bus, STREAM), pids[STREAM]),
                Way("through a replica", _asking(bus, HERE), pids[HERE]),
            ]
            if ray:
                ways.append(await _in_ray(stack, broker, Path(place), bus))
            for concurrency in CONCURRENCY:
                for way in ways:
                    await _repeat(way.ask, WARM_UP, concurrency)
                for _ in range(blocks):
                    for way in ways:
                        await _block(way, concurrency, broker.pid)
            return [_cost(way, concurrency) for concurrency in CONCURRENCY for way in ways]


async def _serving(stack: AsyncExitStack, way: str, url: str, place: str) -> int:
    """The process of its server, which answers."""
    server = await stack.enter_async_context(_started("bench.replica_cost", "--serve", way, url, place))
    await _event(server, "serves")
    return server.pid


def _bare_request(client: Client) -> Ask:
    subject, body = GENERATE.subject_at(replica=BARE), encode(_questions()[-1], GENERATE.max_bytes)
    return lambda: client.request(subject, body, timeout=10)


def _questions() -> list[GenerateRequest]:
    """Each with a ticket of its own, as a scheduler gives them."""
    tickets = (Ticket(scheduler="bench", number=number + 1) for number in range(TICKETS))
    return [QUESTION.model_copy(update={"ticket": ticket}) for ticket in tickets]


def _asking(bus: NatsBus, replica: str) -> Ask:
    questions = cycle(_questions())

    async def ask() -> None:
        async with bus.stream(GENERATE, next(questions), replica=replica) as chunks:
            async for _ in chunks:
                pass

    return ask


async def _in_ray(stack: AsyncExitStack, broker: TestBroker, folder: Path, bus: NatsBus) -> Way:
    """The replica that Ray Serve runs: the node's second."""
    environment = {
        "MONGARS_STATE": str(folder / "state"),
        "MONGARS_NATS_URL": broker.url,
        "MONGARS_NATS_SEED_FILE": str(broker.seed_file(Principal.INFERENCE)),
        "MONGARS_NODE_ID": NODE,
    }
    host = await stack.enter_async_context(_started("services.inference.ray_host", environment=environment))
    assert host.stdin is not None
    host.stdin.write(json.dumps([SPEC.model_dump(mode="json")]).encode() + b"\n")
    assert (await _event(host, "model"))["ok"]
    children = psutil.Process(host.pid).children(recursive=True)
    found = next(child for child in children if "ServeReplica" in " ".join(child.cmdline()))
    return Way("through a replica in Ray Serve", _asking(bus, IN_RAY), found.pid)


@asynccontextmanager
async def _started(module: str, *arguments: str, environment: dict[str, str] | None = None) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *arguments, stdin=PIPE, stdout=PIPE, env=os.environ | (environment or {})
    )
    try:
        yield process
    finally:
        assert process.stdin is not None
        if process.returncode is None:
            process.stdin.write(b"stop\n")
            process.stdin.close()
        await process.wait()


async def _event(process: Process, key: str) -> dict[str, Any]:
    """The first line of JSON that has ``key``."""
    assert process.stdout is not None
    async with asyncio.timeout(RAY_START_S):
        async for line in process.stdout:
            if line.startswith(b"{") and key in (told := json.loads(line)):
                return dict(told)
    raise RuntimeError("a process of the benchmark ended before it was ready")


async def _repeat(ask: Ask, times: int, concurrency: int) -> list[float]:
    """The seconds that each took."""
    took: list[float] = []

    async def worker() -> None:
        for _ in range(times // concurrency):
            started = time.perf_counter()
            await ask()
            took.append(time.perf_counter() - started)

    await asyncio.gather(*(worker() for _ in range(concurrency)))
    return took


async def _block(way: Way, concurrency: int, broker: int) -> None:
    processes = [psutil.Process(pid) for pid in (os.getpid(), way.server, broker)]
    before = [_cpu_s(process) for process in processes]
    way.seconds.setdefault(concurrency, []).extend(await _repeat(way.ask, BLOCK, concurrency))
    spent = way.cpu_s.setdefault(concurrency, [0.0] * len(processes))
    for place, process in enumerate(processes):
        spent[place] += _cpu_s(process) - before[place]


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _cost(way: Way, concurrency: int) -> Cost:
    took = way.seconds[concurrency]
    shares = quantiles(took, n=100)
    return Cost(way.name, concurrency, shares[49] * 1e6, shares[98] * 1e6, *_each(way.cpu_s[concurrency], len(took)))


def _each(spent: list[float], requests: int) -> tuple[float, float, float]:
    caller, server, broker = (seconds / requests * 1e6 for seconds in spent)
    return caller, server, broker


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the requests")
    parser.add_argument(
        "--ray", action="store_true", help="through a replica in Ray Serve too, which takes long to start"
    )
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--serve", nargs=3, metavar=("WAY", "URL", "FOLDER"), help=argparse.SUPPRESS)
    parser.add_argument("--hear", nargs=2, metavar=("URL", "FOLDER"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        uvloop.run(serve(given.serve[0], given.serve[1], Path(given.serve[2])))
        return
    if given.hear:
        uvloop.run(hear(given.hear[0], Path(given.hear[1])))
        return
    costs = uvloop.run(measure(BLOCKS // 10 if given.quick else BLOCKS, given.ray))
    columns = (
        "way",
        "at a time",
        "p50 µs",
        "p99 µs",
        "caller µs",
        "server µs",
        "broker µs",
        "CPU µs",
        "× bare, p50",
        "CPU",
    )
    bare = {cost.concurrency: cost for cost in costs if cost.way == costs[0].way}
    rows = [(c, c.p50_us / bare[c.concurrency].p50_us, c.cpu_us / bare[c.concurrency].cpu_us) for c in costs]
    print(table(columns, [(*asdict(cost).values(), cost.cpu_us, p50, cpu) for cost, p50, cpu in rows]))
    aims = [
        Aim(f"{cost.way}, one at a time, {what}", value, AIM, "× bare")
        for cost, p50, cpu in rows
        if "replica" in cost.way and cost.concurrency == 1
        for what, value in (("p50", p50), ("CPU", cpu))
    ]
    finish(aims, {"costs": [asdict(cost) for cost in costs]}, given.json)


if __name__ == "__main__":
    main()
