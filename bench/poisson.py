"""An open loop of chat completions at the moments of a Poisson process, run as a process of its own.

``python -m bench.poisson --url URL --rate R --seconds S --seed N`` reads the key and the bodies from standard input,
and prints one JSON object. A request leaves at its moment whether or not those before it were answered, and its latency
counts from that moment: what waits for a slow one is not left out (coordinated omission).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from collections.abc import Iterator, Sequence

import aiohttp
import uvloop

TIMEOUT_S = 30.0


def moments(rate: float, seconds: float, seed: int) -> Iterator[float]:
    """Seconds from the beginning, ascending. Pure."""
    draw, at = random.Random(seed), 0.0
    while (at := at + draw.expovariate(rate)) < seconds:
        yield at


async def one(session: aiohttp.ClientSession, url: str, body: bytes, due: float, took: list[float]) -> int:
    """Adds its milliseconds; 1 where it failed."""
    try:
        async with session.post(url, data=body) as response:
            await response.read()
            good = response.status == 200
    except (aiohttp.ClientError, TimeoutError):
        good = False
    if good:
        took.append((time.perf_counter() - due) * 1000)
    return 0 if good else 1


async def load(url: str, key: str, bodies: Sequence[bytes], at: Sequence[float]) -> dict[str, object]:
    """All requests' milliseconds in the order of their answers, and how many failed."""
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    took: list[float] = []
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(headers=headers, connector=connector, timeout=timeout) as session:
        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            asked = []
            for number, moment in enumerate(at):
                await asyncio.sleep(began + moment - time.perf_counter())
                due, body = began + moment, bodies[number % len(bodies)]
                asked.append(group.create_task(one(session, url, body, due, took)))
    return {"milliseconds": took, "failed": sum(task.result() for task in asked)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True)
    parser.add_argument("--rate", type=float, required=True, help="requests a second")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    args = parser.parse_args()
    given = json.load(sys.stdin)
    bodies = [json.dumps(body).encode() for body in given["bodies"]]
    at = list(moments(args.rate, args.seconds, args.seed))
    print(json.dumps(uvloop.run(load(args.url, given["key"], bodies, at))))


if __name__ == "__main__":
    main()
