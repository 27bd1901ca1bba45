"""``python -m bench.scheduling.hedging``: what a second copy of late requests gains, and what it costs.

The same requests with hedging off and on, through the product's own registry, placement, decision and budget, while a
node becomes ten times slower: for good, or for a minute in every ten. Percentiles are of the seconds from a request's
coming to its last token, of short requests (those that may be sent twice), over all seeds together.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from bench.report import Aim, finish, table
from bench.scheduling.boards import fleet
from bench.scheduling.simulation import Conditions, Event, Simulation
from bench.scheduling.workload import Shape, arrivals
from libs.shared.contracts.runtime_settings import RuntimeSettings

ORIN = 2
"""The place of one of the two fast boards."""
WARM_UP = 0.1
EVERY_S, FOR_S = 600.0, 60.0
LOADS = (0.3, 0.6)
SHAPE = Shape(max_tokens=128, prompt_median=300.0)


def for_good(last_s: float) -> tuple[Event, ...]:
    """From a fifth of the time on."""
    return (Event(0.2 * last_s, ORIN, 0.1),)


def now_and_then(last_s: float) -> tuple[Event, ...]:
    """A minute in every ten."""
    starts = [EVERY_S * number for number in range(1, int(last_s / EVERY_S))]
    return tuple(e for at in starts for e in (Event(at, ORIN, 0.1), Event(at + FOR_S, ORIN, 1.0)))


def never(last_s: float) -> tuple[Event, ...]:
    """All nodes are well."""
    return ()


SLOW = {"no node": never, "one for good": for_good, "one for a minute in ten": now_and_then}


@dataclass
class Found:
    """Of all seeds together."""

    seconds: list[float] = field(default_factory=list)
    """Of each short request after the warm-up."""
    requests: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    busy_s: float = 0.0
    wasted_s: float = 0.0

    def add(self, other: Found) -> None:
        self.seconds += other.seconds
        self.requests += other.requests
        self.counts += other.counts
        self.busy_s += other.busy_s
        self.wasted_s += other.wasted_s

    def row(self) -> list[object]:
        """Percentiles, and what the copies were and cost."""
        self.seconds.sort()
        kept = [self.seconds[min(len(self.seconds) - 1, int(s * len(self.seconds)))] for s in (0.5, 0.99, 0.999)]
        told = [self.counts[what] for what in ("sent", "won", "lost", "no_budget", "no_node")]
        return [*kept, *told, f"{self.counts['sent'] / self.requests:.2%}", f"{self.wasted_s / self.busy_s:.2%}"]


def run(slow: str, on: bool, share: float, requests: int, seed: int) -> Found:
    """One run, in whatever process."""
    boards, settings = fleet(8), RuntimeSettings(hedging=on)
    coming = arrivals(boards, share, requests, seed, SHAPE)
    conditions = Conditions(age_s=1.0, known=True, events=SLOW[slow](coming[-1].at), settings=settings)
    simulation = Simulation(boards, "expected_completion", conditions, seed)
    outcome = simulation.run(coming)
    short = {r.number for r in coming if r.prompt_tokens <= settings.hedging_prompt_tokens}
    first = int(WARM_UP * requests)
    seconds = [s for number, s in outcome.answered.items() if number >= first and number in short]
    copies = simulation.copies
    return Found(seconds, requests, Counter(copies.counts), outcome.busy_s + copies.wasted_s, copies.wasted_s)


def measure(pool: ProcessPoolExecutor, shares: Sequence[float], requests: int, seeds: int) -> list[list[object]]:
    """A row for each load, slowness, and hedging off and on."""
    cases = [(slow, share, on) for share in shares for slow in SLOW for on in (False, True)]
    jobs = {
        case: [pool.submit(run, case[0], case[2], case[1], requests, seed) for seed in range(1, seeds + 1)]
        for case in cases
    }
    rows = []
    for (slow, share, on), futures in jobs.items():
        whole = Found()
        for future in futures:
            whole.add(future.result())
        rows.append([slow, f"{share:g}", "on" if on else "off", *whole.row()])
        print("  " + ", ".join(map(str, rows[-1])), flush=True)
    return rows


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.scheduling.hedging", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one seed of 2,000 requests")
    parser.add_argument("--seeds", type=int, default=2, help="runs of each case (default 2)")
    parser.add_argument("--requests", type=int, default=5_000, help="requests a run (default 5,000)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    options = parser.parse_args()
    seeds, requests = (1, 2_000) if options.quick else (options.seeds, options.requests)
    begun = time.monotonic()
    with ProcessPoolExecutor() as pool:
        rows = measure(pool, LOADS, requests, seeds)
    head = ["slow", "load", "hedging", "p50 s", "p99 s", "p99.9 s", "sent", "won", "lost", "no budget", "no node"]
    print(table([*head, "of requests", "extra work"], rows))
    print(f"{time.monotonic() - begun:.0f} s in all")
    finish(aims(rows), {"hedging": [[*row] for row in rows]}, options.json)


def aims(rows: list[list[object]]) -> list[Aim]:
    """Copies within their share, little lost by them, and the latest answers no later where a node is slow at times."""
    on = [row for row in rows if row[2] == "on"]
    tails = {(row[1], row[2]): float(str(row[5])) for row in rows if row[0] == "one for a minute in ten"}
    gains = [tails[load, "off"] / tails[load, "on"] for load, state in tails if state == "on"]
    return [
        Aim("requests sent twice", max(_percent(row[11]) for row in on), 5.0, "%"),
        Aim("extra work", max(_percent(row[12]) for row in on), 2.0, "%"),
        Aim("p99.9 without of that with, a minute in ten", min(gains), 1.0, "×", True),
    ]


def _percent(told: object) -> float:
    return float(str(told).removesuffix("%"))


if __name__ == "__main__":
    main()
