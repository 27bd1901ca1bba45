"""What a night costs those who ask meanwhile, and how soon it makes way: a whole installation under Poisson requests.

Blocks of requests alternate, in pairs of random order: in one the optimizer's process is stopped, in the other it
sleeps all the while (a cycle that ended is begun again) over memories that were just imported, questions that may be
replayed, and habits. It goes on as soon after a request as it ever may (half a second instead of two), so that many
requests meet it. Both answer the same questions out of a memory, by a model that answers at once. Printed are
latencies of either side from the moments at which requests were due, the ratio of their 99th percentiles with its 95 %
interval (pairs of blocks are drawn with replacement), and, by the optimizer's own metric, how long idle work went on
using the processor after a request that met it running had arrived at the gateway.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import Any
from urllib.request import Request, urlopen

import numpy as np

from bench.dialogues import Probe, dialogue
from bench.installing import Installation, command, installed
from bench.memory_client import Client, import_turns
from bench.processes import cpu_seconds
from bench.report import Aim, finish, table
from libs.shared.layout import StateFolder

RATIO_AT_MOST = 1.15
YIELD_AT_MOST_MS = 100.0
MEMORIES = 1500
"""Of whoever asks."""
NEW_MEMORIES = 600
"""Of somebody else, before each pair: what a night digests."""
ASKED_BEFORE = 150
"""Questions that may be replayed."""
BLOCK_S = 60.0
LOOK_S = 1.0
WARM_S = 2.0
READY_S = 60.0
RESAMPLES = 2000
METRIC = "sleep_preemption_duration_seconds"
REPLAYED = "consents", "tuning", "on", "--user"


@dataclass
class Side:
    """One kind of block: latencies in milliseconds, by block."""

    blocks: list[list[float]] = field(default_factory=list)
    failed: int = 0

    @property
    def all(self) -> list[float]:
        return [ms for block in self.blocks for ms in block]


@dataclass
class Nights:
    """What went on in the blocks in which it slept."""

    seconds: float = 0.0
    cpu_s: float = 0.0
    """Of the optimizer and its children."""
    cycles: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By id, as the optimizer told them last."""
    yields: dict[float, float] = field(default_factory=dict)
    """Bound in seconds → how many took at most that."""

    def figure(self, name: str) -> float:
        """The sum of what phases told of it."""
        phases = (phase for cycle in self.cycles.values() for phase in cycle["phases"])
        return float(sum(phase["figures"].get(name, 0.0) for phase in phases))


def percentile(values: Sequence[float], share: float) -> float:
    return float(np.quantile(np.asarray(values, dtype=np.float64), share))


def ratio(off: Side, night: Side, resamples: int = RESAMPLES, seed: int = 1) -> tuple[float, float, float]:
    """Of the 99th percentiles, and its 95 % interval by pairs of blocks. Pure."""
    draw = np.random.default_rng(seed)

    def of(places: Sequence[int]) -> float:
        one, other = ([ms for at in places for ms in side.blocks[at]] for side in (night, off))
        return percentile(one, 0.99) / percentile(other, 0.99)

    count = len(off.blocks)
    drawn = [of(draw.integers(0, count, count).tolist()) for _ in range(resamples)]
    return of(range(count)), percentile(drawn, 0.025), percentile(drawn, 0.975)


def within(yields: dict[float, float], share: float) -> float:
    """The smallest bound, in milliseconds, that so many keep to; infinite where the last is passed. Pure."""
    total = max(yields.values(), default=0.0)
    return 1000 * min((bound for bound, count in yields.items() if total and count >= share * total), default=np.inf)


class House:
    """The installation, those who ask, and the optimizer, which can be stopped."""

    def __init__(self, running: Installation) -> None:
        self.running = running
        self.nights = Nights()
        self.asker = running.key("asker", "read")
        self.admin = command(
            running.environment, "keys", "create", "--user", "admin", "--name", "bench", "--scope", "admin"
        ).strip()
        self._strangers = 0

    def prepare(self) -> list[dict[str, Any]]:
        """What the asker remembers and once asked; the bodies of what is asked."""
        told = dialogue("asker", MEMORIES, seed=1)
        import_turns(self.running.url, self.running.key("asker", "read-write"), told.turns)
        command(self.running.environment, *REPLAYED, "asker")
        client = Client(self.running.url, self.running.key("asker", "read-write"))
        for probe in _around(told.probes, ASKED_BEFORE):
            client.chat(probe.question)
        client.close()
        return [
            {"model": "instant", "messages": [{"role": "user", "content": probe.question}], "max_tokens": 16}
            for probe in told.probes
        ]

    def remember_more(self) -> None:
        """Of somebody new."""
        self._strangers += 1
        name = f"stranger-{self._strangers}"
        told = dialogue(name, NEW_MEMORIES, seed=100 + self._strangers)
        import_turns(self.running.url, self.running.key(name, "read-write"), told.turns)

    def optimizer_off(self) -> None:
        """Returns when its process has ended."""
        self._supervisor("stop")

    def _supervisor(self, action: str) -> str:
        socket = StateFolder(self.running.state).run / "supervisor.sock"
        line = [str(Path(sys.executable).with_name("supervisorctl")), "-s", f"unix://{socket}", action, "optimizer"]
        return subprocess.run(line, capture_output=True, text=True, check=True, timeout=READY_S).stdout

    @contextmanager
    def sleeping(self) -> Iterator[None]:
        """A night goes on while this is entered."""
        self._supervisor("start")
        client, over = Client(self.running.url, self.admin), Event()
        _until(lambda: self._begun(client), "no cycle began")
        keeper = Thread(target=self._keep_asleep, args=(over,))
        pid = int(self._supervisor("pid"))
        began, used = time.monotonic(), cpu_seconds(pid)
        keeper.start()
        try:
            yield
        finally:
            over.set()
            keeper.join()
            self.nights.seconds += time.monotonic() - began
            self.nights.cpu_s += cpu_seconds(pid) - used
            self._count(client)
            client.close()

    def _begun(self, client: Client) -> bool:
        with suppress(RuntimeError):  # not there yet, or it sleeps already
            client.ask("POST", "/api/v1/sleep/now", {"phases": []})
        with suppress(RuntimeError):
            return client.ask("GET", "/api/v1/sleep?cycles=0")[0]["running"] is not None
        return False

    def _keep_asleep(self, over: Event) -> None:
        client = Client(self.running.url, self.admin)
        while not over.wait(LOOK_S):
            self._begun(client)
        client.close()

    def _count(self, client: Client) -> None:
        told = client.ask("GET", "/api/v1/sleep?cycles=50")[0]
        cycles = [*told["cycles"], *([told["running"]] if told["running"] else [])]
        self.nights.cycles |= {one["cycle_id"]: one for one in cycles}
        for bound, count in _buckets(self.running.url, self.admin).items():
            self.nights.yields[bound] = self.nights.yields.get(bound, 0.0) + count


def _buckets(url: str, key: str) -> dict[float, float]:
    asked = Request(f"{url}/metrics", headers={"authorization": f"Bearer {key}"})
    with urlopen(asked, timeout=30) as answer:
        text = answer.read().decode()
    found: dict[float, float] = {}
    for bound, count in re.findall(rf'^{METRIC}_bucket{{.*?le="([^"]+)".*?}} (\S+)', text, re.MULTILINE):
        found[float(bound)] = found.get(float(bound), 0.0) + float(count)
    return found


def _around(probes: Sequence[Probe], count: int) -> Sequence[Probe]:
    return [probes[at % len(probes)] for at in range(count)]


def _until(seen: Callable[[], bool], why: str) -> None:
    """Raises TimeoutError."""
    deadline = time.monotonic() + READY_S
    while not seen():
        if time.monotonic() > deadline:
            raise TimeoutError(why)
        time.sleep(0.1)


def block(house: House, bodies: Sequence[object], rate: float, seconds: float, seed: int) -> tuple[list[float], int]:
    """Milliseconds of each request, and how many failed."""
    line = [sys.executable, "-m", "bench.poisson", "--url", f"{house.running.url}/v1/chat/completions"]
    line += ["--rate", str(rate), "--seconds", str(seconds), "--seed", str(seed)]
    given = json.dumps({"key": house.asker, "bodies": bodies})
    done = subprocess.run(line, input=given, capture_output=True, text=True, check=True, timeout=seconds + 120)
    told = json.loads(done.stdout)
    return told["milliseconds"], told["failed"]


def measured(house: House, rate: float, requests: int, block_s: float) -> tuple[Side, Side]:
    """(optimizer off, night), each at least so many requests."""
    off, night, draw = Side(), Side(), random.Random(7)
    bodies = house.prepare()
    while min(len(off.all), len(night.all)) < requests:
        house.remember_more()
        for side in draw.sample((off, night), 2):
            seed = draw.randrange(1 << 30)
            house.optimizer_off()
            if side is night:
                with house.sleeping():
                    took, failed = _warm_block(house, bodies, rate, block_s, seed)
            else:
                took, failed = _warm_block(house, bodies, rate, block_s, seed)
            side.blocks.append(took)
            side.failed += failed
        print(f"{len(off.all)} requests without, {len(night.all)} with a night", file=sys.stderr, flush=True)
    return off, night


def _warm_block(
    house: House, bodies: Sequence[object], rate: float, seconds: float, seed: int
) -> tuple[list[float], int]:
    block(house, bodies, rate, WARM_S, seed + 1)
    return block(house, bodies, rate, seconds, seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000, help="at least so many on either side")
    parser.add_argument("--rate", type=float, default=5.0, help="requests a second")
    parser.add_argument("--block", type=float, default=BLOCK_S, metavar="SECONDS", help="of one kind before the other")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    args = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="mongars-night-load-") as folder,
        installed(Path(folder), MONGARS_SLEEP="false", MONGARS_SLEEP_RESUME_S="0.1") as running,
    ):
        house = House(running)
        off, night = measured(house, args.rate, args.requests, args.block)
    nights, (found, low, high) = house.nights, ratio(off, night)
    rows = [
        (name, len(side.all), *(percentile(side.all, share) for share in (0.5, 0.9, 0.99, 0.999)), side.failed)
        for name, side in (("optimizer off", off), ("night", night))
    ]
    print(table(("", "requests", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "failed"), rows))
    met = max(nights.yields.values(), default=0.0)
    print(f"\np99, night to off: {found:.3f} ({low:.3f} to {high:.3f}), by {len(off.blocks)} pairs of blocks")
    print(
        f"the night used {nights.cpu_s:.0f} processor seconds in {nights.seconds:.0f} s: {len(nights.cycles)} cycles,"
        f" {nights.figure('digests'):.0f} digests, {nights.figure('points'):.0f} points of settings"
    )
    shares = ", ".join(f"{share:.0%} within {within(nights.yields, share):.0f} ms" for share in (0.5, 0.9, 0.99, 1.0))
    print(f"{met:.0f} requests met idle work running; it had stopped: {shares}")
    aims = [
        Aim("p99 of the night to p99 without, upper bound", high, RATIO_AT_MOST),
        Aim("idle work stopped, p99", within(nights.yields, 0.99), YIELD_AT_MOST_MS, "ms"),
        Aim("requests that met idle work running", met, 100, at_least=True),
        Aim("requests that failed", off.failed + night.failed, 0),
    ]
    figures = {"off": off.blocks, "night": night.blocks, "yields": list(nights.yields.items()), "cpu_s": nights.cpu_s}
    finish(aims, figures, args.json)


if __name__ == "__main__":
    main()
