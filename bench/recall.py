"""What a memory costs: recall over a thousand turns, and keeping and indexing one more; CPU a request, by process.

Everything is real (broker, database, embedder) but the model, which answers at once. A kept turn's cost includes
indexing it, which happens after the answer: each measurement ends when the installation is quiet again, and that takes
the last column's seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import psutil

from bench.gateway import Target, chat_body, installation, run_load
from bench.load import LoadResult
from bench.processes import cpu_seconds
from bench.report import Aim, finish, table

RECALL_AIM_MS = 2.5
KEEP_AIM_MS = 7.0
QUIET_SHARE = 0.1
"""Of one processor, over a second: what an idle installation stays below."""
QUIET_TIMEOUT_S = 600.0
PEOPLE = ["Ada", "Odile", "Bruno", "Nadia", "Victor", "Chloe", "Samir", "Ingrid", "Paul", "Yuki"]
PLACES = ["Lisbon", "Chicoutimi", "Oslo", "Kyoto", "Dakar", "Lima", "Turin", "Galway", "Quito", "Brno"]
THINGS = ["bees", "a boat", "roses", "two cats", "an old piano", "the garden", "a telescope", "a loom"]
DEEDS = ["keeps", "repairs", "sold", "painted", "found", "lost", "borrowed", "photographed", "inherited", "named"]
WHEN = ["in May", "last winter", "before the move", "on Sundays", "since the wedding", "when it rains"]


@dataclass(frozen=True)
class Row:
    """One measurement; CPU in milliseconds a request, by process."""

    name: str
    load: LoadResult
    cpu_ms: dict[str, float]
    settling_s: float


def sentence(chance: random.Random, number: int) -> str:
    """A fact of some twenty tokens, none like another."""
    person, place, thing, deed, when = (chance.choice(words) for words in (PEOPLE, PLACES, THINGS, DEEDS, WHEN))
    return f"{person} from {place} {deed} {thing} {when}, and that was number {number} of the things to remember."


async def tell(url: str, key: str, turns: int) -> None:
    """Keeps the turns, each a conversation of its own, eight at a time."""
    chance = random.Random(1)
    told = iter([sentence(chance, number) for number in range(turns)])
    headers = {"authorization": f"Bearer {key}"}

    async def talk(session: aiohttp.ClientSession) -> None:
        for text in told:
            body = chat_body() | {"messages": [{"role": "user", "content": text}]}
            async with session.post(url, json=body) as response:
                response.raise_for_status()

    async with aiohttp.ClientSession(headers=headers) as session, asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(talk(session))


def settle(pids: dict[str, int]) -> float:
    """Waits until nothing is being indexed any more; how long that took."""
    begun = time.perf_counter()
    before = sum(map(cpu_seconds, pids.values()))
    while time.perf_counter() - begun < QUIET_TIMEOUT_S:
        time.sleep(1.0)
        now = sum(map(cpu_seconds, pids.values()))
        if now - before < QUIET_SHARE:
            return time.perf_counter() - begun - 1.0
        before = now
    raise TimeoutError("the installation does not come to rest")


def measure(target: Target, connections: int, seconds: float) -> Row:
    """Loads the target, and divides all the CPU time that its processes used until they were quiet."""
    before = {name: cpu_seconds(pid) for name, pid in target.pids.items()}
    load = run_load(target, connections, seconds)
    settling_s = settle(target.pids)
    used = {name: cpu_seconds(pid) - before[name] for name, pid in target.pids.items()}
    return Row(target.name, load, {name: s * 1000 / load.requests for name, s in used.items()}, settling_s)


def run(folder: Path, turns: int, seconds: float) -> list[Row]:
    with installation(folder) as (base, keys, pids):
        url = f"{base}/v1/chat/completions"
        asyncio.run(tell(url, keys["read-write"], turns))
        settle(pids)
        reader = Target("recalled", url, keys["read"], chat_body(), pids)
        writer = Target("recalled, kept, indexed", url, keys["read-write"], chat_body(), pids)
        run_load(reader, 1, 1.0)
        return [measure(reader, 1, seconds), measure(writer, 1, seconds), measure(writer, 32, seconds)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="3 s a measurement instead of 15")
    parser.add_argument("--turns", type=int, default=1000, help="turns in the memory (default: 1,000)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mongars-bench-") as name:
        rows = run(Path(name), args.turns, 3.0 if args.quick else 15.0)
    columns = ("request", "connections", "requests/s", "p50 ms", "p99 ms", *rows[0].cpu_ms, "all", "settling s")
    cells = [
        (
            *(r.name, r.load.connections, r.load.per_second, r.load.p50_ms, r.load.p99_ms),
            *(*r.cpu_ms.values(), sum(r.cpu_ms.values()), r.settling_s),
        )
        for r in rows
    ]
    print(f"{args.turns} turns remembered, load {psutil.getloadavg()[0]:.1f}\n\n{table(columns, cells)}")
    aims = [
        Aim("persistence, a recall", rows[0].cpu_ms["persistence"], RECALL_AIM_MS, "ms"),
        Aim("persistence, a kept turn", rows[1].cpu_ms["persistence"], KEEP_AIM_MS, "ms"),
    ]
    figures = [{**vars(r.load), "request": r.name, "cpu_ms": r.cpu_ms, "settling_s": r.settling_s} for r in rows]
    finish(aims, {"turns": args.turns, "rows": json.loads(json.dumps(figures))}, args.json)


if __name__ == "__main__":
    main()
