"""``python -m bench.scheduling.serve``: the placement policy as Ray Serve's request router, beside Serve's own.

One Ray on the loopback, two deployments of three replicas each, of which one is ten times slower; Poisson arrivals at
a share of their capacity, sent through deployment handles. Percentiles of the seconds from sending to the answer.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.report import Aim, finish, table
from services.inference.ray_host import AUTHENTICATION_FILE, environment, write_token

SECONDS = (0.06, 0.06, 0.6)
BETTER = 1.5
ROUTERS = {"Ray Serve's own": None, "placement policy": "services.scheduler.serve_router:PlacingRouter"}


class Slow:
    """One request at a time; each replica takes the first speed that is left in ``folder``."""

    def __init__(self, folder: str) -> None:
        self._turn = asyncio.Lock()
        self._waiting = 0
        for number, seconds in enumerate(SECONDS):
            try:
                Path(folder, str(number)).touch(exist_ok=False)
            except FileExistsError:
                continue
            self._seconds = seconds
            return

    async def __call__(self) -> float:
        self._waiting += 1
        try:
            async with self._turn:
                await asyncio.sleep(self._seconds)
        finally:
            self._waiting -= 1
        return self._seconds

    def record_routing_stats(self) -> dict[str, int]:
        """For a router that asks: what it has, and how much of it at a time."""
        return {"ongoing": self._waiting, "slots": 1}


def deployed(name: str, router: str | None, folder: str) -> Any:
    """A handle to three replicas behind ``router``."""
    from ray import serve
    from ray.serve.config import RequestRouterConfig

    chosen: dict[str, Any] = {"request_routing_stats_period_s": 0.5}
    if router:
        chosen["request_router_class"] = router
    deployment: Any = serve.deployment(Slow)
    made = deployment.options(
        name=name,
        num_replicas=len(SECONDS),
        max_ongoing_requests=100,
        ray_actor_options={"num_cpus": 0},
        request_router_config=RequestRouterConfig(**chosen),
    )
    Path(folder).mkdir()
    return serve.run(made.bind(folder), name=name, route_prefix=None)


async def offered(handle: Any, share: float, count: int, seed: int) -> list[float]:
    """Seconds of each request, in the order of their sending."""
    chance, rate = random.Random(seed), share * sum(1 / seconds for seconds in SECONDS)
    took = [0.0] * count

    async def one(number: int) -> None:
        began = time.monotonic()
        await handle.remote()
        took[number] = time.monotonic() - began

    begun, at = time.monotonic(), 0.0
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            at += chance.expovariate(rate)
            await asyncio.sleep(max(0.0, begun + at - time.monotonic()))
            group.create_task(one(number))
    return took


def percentile(took: list[float], share: float) -> float:
    """In milliseconds, after a tenth for warming up."""
    kept = sorted(took[len(took) // 10 :])
    return kept[int(share * len(kept))] * 1000


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.scheduling.serve", description=__doc__)
    parser.add_argument("--requests", type=int, default=800, help="to each (default 800: about forty seconds)")
    parser.add_argument("--load", type=float, default=0.6, help="share of the capacity (default 0.6)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mongars-serve-") as folder:
        os.environ.update(environment(Path(folder)))
        os.environ["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])
        write_token(Path(folder, AUTHENTICATION_FILE))
        figures = measured(folder, options.load, options.requests)
    rows = [[name, *(percentile(took, share) for share in (0.5, 0.95, 0.99))] for name, took in figures.items()]
    print(table(["router", "p50 ms", "p95 ms", "p99 ms"], rows))
    own, ours = (percentile(took, 0.99) for took in figures.values())
    aims = [Aim("Serve's p99 of the placement policy's", own / ours, BETTER, "×", at_least=True)]
    finish(aims, json.loads(json.dumps({"rows": rows, "ratio": own / ours})), options.json)


def measured(folder: str, load: float, count: int) -> dict[str, list[float]]:
    """Both routers, one after the other, in one Ray."""
    import ray
    from ray import serve

    started: Any = ray.init(
        address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1"
    )
    assert started is not None
    try:
        serve.start(proxy_location="Disabled")
        found = {}
        for number, (name, router) in enumerate(ROUTERS.items()):
            handle = deployed(f"slow{number}", router, f"{folder}/{number}")
            found[name] = asyncio.run(offered(handle, load, count, 1))
        return found
    finally:
        shutdown: Any = serve.shutdown
        shutdown()
        ray.shutdown()


if __name__ == "__main__":
    main()
