"""A closed-loop HTTP load of chat completions, run as its own process so that its CPU time is nobody else's.

``python -m bench.load --url URL --connections N --seconds S`` prints one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass

import aiohttp
import uvloop


@dataclass(frozen=True)
class LoadResult:
    """What a closed loop of ``connections`` saw. Latencies in milliseconds, over answered requests."""

    connections: int
    seconds: float
    requests: int
    failures: int
    p50_ms: float
    p99_ms: float

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds if self.seconds else 0.0


def percentile(ordered: list[float], share: float) -> float:
    """Nearest rank of an ascending list; NaN when it is empty."""
    if not ordered:
        return float("nan")
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


async def _worker(session: aiohttp.ClientSession, url: str, body: bytes, until: float, took: list[float]) -> int:
    failures = 0
    while time.perf_counter() < until:
        start = time.perf_counter()
        async with session.post(url, data=body) as response:
            answer = json.loads(await response.read())
        if response.status == 200 and answer["choices"][0]["message"]["content"]:
            took.append((time.perf_counter() - start) * 1000)
        else:
            failures += 1
            await asyncio.sleep(0.01)
    return failures


async def load(url: str, key: str, body: bytes, connections: int, seconds: float) -> LoadResult:
    """Keeps ``connections`` requests under way for ``seconds``."""
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    connector = aiohttp.TCPConnector(limit=connections)
    timeout = aiohttp.ClientTimeout(total=60)
    took: list[float] = []
    async with aiohttp.ClientSession(headers=headers, connector=connector, timeout=timeout) as session:
        start = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            workers = [
                group.create_task(_worker(session, url, body, start + seconds, took)) for _ in range(connections)
            ]
        elapsed = time.perf_counter() - start
    took.sort()
    failures = sum(w.result() for w in workers)
    return LoadResult(connections, elapsed, len(took), failures, percentile(took, 0.5), percentile(took, 0.99))


def main() -> None:
    """Reads the key and the body from standard input, as JSON, so that neither stands in the process list."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--connections", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    args = parser.parse_args()
    given = json.load(sys.stdin)
    body = json.dumps(given["body"]).encode()
    result = uvloop.run(load(args.url, given["key"], body, args.connections, args.seconds))
    print(json.dumps(asdict(result)))


if __name__ == "__main__":
    main()
