"""What a request and a stream cost on the bus: processor time of caller, server and broker, by how many run at once."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
import uvloop

from bench.report import Aim, finish, table
from libs.shared.bus.nats import NatsBus
from libs.shared.contracts.base import Principal
from libs.shared.contracts.inference import GENERATE, GenerateChunk, GenerateRequest
from libs.shared.contracts.scheduling import PLACE, PlaceRequest
from tests.support.broker import NODE, TestBroker
from tests.support.conversations import echo, prompt

CPU_AIM_US = 120.0
CONCURRENCY = (1, 32)
LONG = 1000
ONE_CHUNK, MANY_CHUNKS = f"{NODE}-0", f"{NODE}-1"
_WARM_UP = 200


@dataclass(frozen=True)
class Cost:
    """Microseconds a request, or a chunk of a long stream."""

    what: str
    concurrency: int
    caller_us: float
    server_us: float
    broker_us: float
    wall_us: float


async def serve(url: str, folder: Path) -> None:
    """The server's process; ends when its standard input does."""
    scheduler = await NatsBus.connect(
        url, principal=Principal.SCHEDULER, seed_file=folder / "keys" / f"{Principal.SCHEDULER}.nk"
    )
    inference = await NatsBus.connect(
        url, principal=Principal.INFERENCE, seed_file=folder / "keys" / f"inference-{NODE}.nk", node=NODE
    )
    await scheduler.serve(PLACE, echo)
    await inference.serve_stream(GENERATE, _one_chunk, replica=ONE_CHUNK)
    await inference.serve_stream(GENERATE, _many_chunks, replica=MANY_CHUNKS)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await scheduler.drain(1)
    await inference.drain(1)


async def _one_chunk(request: GenerateRequest) -> AsyncIterator[GenerateChunk]:
    yield GenerateChunk(text="an answer of sixteen tokens, in one piece", finish_reason="stop")


async def _many_chunks(request: GenerateRequest) -> AsyncIterator[GenerateChunk]:
    for _ in range(LONG):
        yield GenerateChunk(text="word ")


def _cpu_s(pid: int | None = None) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


async def _repeat(act: Callable[[], Awaitable[None]], times: int, concurrency: int) -> None:
    async def worker() -> None:
        for _ in range(times // concurrency):
            await act()

    await asyncio.gather(*(worker() for _ in range(concurrency)))


async def measure(quick: bool) -> list[Cost]:
    with tempfile.TemporaryDirectory() as place:
        async with TestBroker(Path(place)) as broker:
            server = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "bench.bus", "--serve", broker.url, place,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
            assert server.stdout is not None
            assert server.stdin is not None
            try:
                await server.stdout.readline()
                bus = await broker.connect(Principal.COGNITION)
                return await _costs(bus, (server.pid, broker.pid), 10 if quick else 1)
            finally:
                server.stdin.close()
                await server.wait()


async def _costs(bus: NatsBus, pids: tuple[int, int], less: int) -> list[Cost]:
    request, question = PlaceRequest(model="m" * 250), prompt("hi " * 150)

    async def ask() -> None:
        await bus.request(PLACE, request)

    def reading(replica: str) -> Callable[[], Awaitable[None]]:
        async def read() -> None:
            async with bus.stream(GENERATE, question, replica=replica) as chunks:
                async for _ in chunks:
                    pass

        return read

    cases = (
        ("request", ask, 10_000, 1),
        ("stream of one chunk", reading(ONE_CHUNK), 8_000, 1),
        ("chunk of a long stream", reading(MANY_CHUNKS), 64, LONG),
    )
    return [
        await _cost(what, act, max(concurrency, times // less), concurrency, per, pids)
        for what, act, times, per in cases
        for concurrency in CONCURRENCY
    ]


async def _cost(
    what: str, act: Callable[[], Awaitable[None]], times: int, concurrency: int, per: int, pids: tuple[int, int]
) -> Cost:
    await _repeat(act, max(1, _WARM_UP // per), 1)
    processes = (None, *pids)
    before, started = [_cpu_s(pid) for pid in processes], time.perf_counter()
    await _repeat(act, times, concurrency)
    wall = time.perf_counter() - started
    spent = [_cpu_s(pid) - was for pid, was in zip(processes, before, strict=True)]
    scale = 1e6 / (times // concurrency * concurrency * per)
    caller, server, broker = (s * scale for s in spent)
    return Cost(what, concurrency, caller, server, broker, wall * scale)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the requests")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--serve", nargs=2, metavar=("URL", "FOLDER"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        uvloop.run(serve(given.serve[0], Path(given.serve[1])))
        return
    costs = uvloop.run(measure(given.quick))
    columns = ("what", "at a time", "caller µs", "server µs", "broker µs", "wall µs")
    print(table(columns, [tuple(asdict(cost).values()) for cost in costs]))
    alone = costs[0]
    aims = [
        Aim("caller, one request at a time", alone.caller_us, CPU_AIM_US, "µs"),
        Aim("server, one request at a time", alone.server_us, CPU_AIM_US, "µs"),
    ]
    finish(aims, {"costs": [asdict(cost) for cost in costs]}, given.json)


if __name__ == "__main__":
    main()
