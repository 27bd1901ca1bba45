"""``python -m bench.scheduling``: policies side by side on a simulated fleet, from telemetry that is old.

Every policy sees the same requests. The product's run through its own registry and placement; the others see the
nodes as they truly are (``bench/scheduling/choosers.py`` names their sources). Percentiles are of the seconds from a
request's coming to its last token, means over the seeds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.report import Aim, finish, table
from bench.scheduling import plots
from bench.scheduling.boards import Board, fleet
from bench.scheduling.choosers import NAMES
from bench.scheduling.decisions import decision_us
from bench.scheduling.simulation import Conditions, Event, Simulation
from bench.scheduling.workload import Shape, arrivals

SHARE = 0.8
OURS = "expected_completion"
TRUTH = "clairvoyant"
AGES = (0.2, 1.0, 2.0, 5.0, 10.0)
UNSTABLE = frozenset({"round_robin", "weighted_random"})


@dataclass(frozen=True)
class Case:
    """One policy under one set of conditions; a run for each seed."""

    policy: str
    conditions: Conditions = field(default_factory=Conditions)
    share: float = SHARE
    nodes: int = 8
    requests: int = 20_000
    reading: float = 1.0
    max_tokens: int = 256


@dataclass(frozen=True)
class Figures:
    """Seconds; ``failed`` is a share of all requests."""

    p50: float
    p95: float
    p99: float
    failed: float
    late_failures: int
    """Failed later than five seconds after the last thing that befell a node."""


def run(case: Case, seed: int) -> Figures:
    """One run, in whatever process."""
    boards: list[Board] = fleet(case.nodes, case.reading)
    requests = arrivals(boards, case.share, case.requests, seed, Shape(case.max_tokens))
    found = Simulation(boards, case.policy, case.conditions, seed).run(requests)
    last = max((event.at for event in case.conditions.events), default=0.0)
    return Figures(
        p50=found.percentile(0.5),
        p95=found.percentile(0.95),
        p99=found.percentile(0.99),
        failed=len(found.failed) / case.requests,
        late_failures=sum(at > last + 5.0 for at in found.failed),
    )


class Bench:
    """Runs cases on every core, each once; remembers them."""

    def __init__(self, pool: ProcessPoolExecutor, seeds: int, requests: int) -> None:
        self._pool = pool
        self._seeds = seeds
        self._requests = requests
        self.known: dict[Case, Figures] = {}

    def measure(self, cases: Sequence[Case]) -> list[Figures]:
        """The means over the seeds, in order."""
        cases = [replace(case, requests=min(case.requests, self._requests)) for case in cases]
        new = [case for case in dict.fromkeys(cases) if case not in self.known]
        jobs = {case: [self._pool.submit(run, case, seed) for seed in range(1, self._seeds + 1)] for case in new}
        for case, futures in jobs.items():
            runs = [future.result() for future in futures]
            self.known[case] = Figures(
                p50=statistics.fmean(r.p50 for r in runs),
                p95=statistics.fmean(r.p95 for r in runs),
                p99=statistics.fmean(r.p99 for r in runs),
                failed=statistics.fmean(r.failed for r in runs),
                late_failures=sum(r.late_failures for r in runs),
            )
            print(f"  {describe(case)}: p99 {self.known[case].p99:.1f} s", flush=True)
        return [self.known[case] for case in cases]


def describe(case: Case) -> str:
    """A case in a line."""
    conditions = case.conditions
    words = [case.policy, f"{case.nodes} nodes", f"load {case.share:g}", f"telemetry {conditions.age_s:g} s old"]
    if conditions.schedulers > 1:
        words.append(f"{conditions.schedulers} schedulers" + ("" if conditions.told_s is not None else ", silent"))
    if conditions.lost:
        words.append(f"{conditions.lost:.0%} lost")
    if conditions.events:
        words.append("a node dies and one slows down")
    return ", ".join(words)


def compared(bench: Bench) -> tuple[list[list[object]], dict[str, Figures]]:
    """Every policy at the load and age that the aims are stated for; those that see the truth have no age."""
    cases = [Case(name, requests=4_000 if name in UNSTABLE else 20_000) for name in NAMES]
    figures = dict(zip(NAMES, bench.measure(cases), strict=True))
    truth = figures[TRUTH].p99
    rows: list[list[object]] = [[name, f.p50, f.p95, f.p99, f.p99 / truth] for name, f in figures.items()]
    return rows, figures


def under_conditions(bench: Bench) -> Iterator[list[object]]:
    """The product's policy as telemetry ages, is lost, overtakes itself, and as schedulers are many."""
    base = Conditions()
    asked: list[tuple[str, Conditions]] = [(f"telemetry {age:g} s old", replace(base, age_s=age)) for age in AGES]
    asked += [
        ("three schedulers", replace(base, schedulers=3)),
        ("three schedulers that don't tell each other", replace(base, schedulers=3, told_s=None)),
        ("a fifth of all telemetry lost", replace(base, lost=0.2)),
        ("telemetry that overtakes itself by up to 5 s", replace(base, jitter_s=5.0)),
    ]
    (truth,) = bench.measure([Case(TRUTH)])
    found = bench.measure([Case(OURS, conditions) for _, conditions in asked])
    for (name, _), figures in zip(asked, found, strict=True):
        yield [name, figures.p50, figures.p95, figures.p99, figures.p99 / truth.p99]


def at_loads(bench: Bench) -> Iterator[list[object]]:
    """The product's policy and the clairvoyant at other loads, workloads and sizes."""
    kinds = {f"load {share:g}": Case(OURS, share=share) for share in (0.3, 0.6, 0.9)}
    kinds |= {
        "prompts read four times as fast": Case(OURS, reading=4.0),
        "answers of up to 1,024 tokens": Case(OURS, max_tokens=1024),
        "64 nodes": Case(OURS, nodes=64),
        "64 nodes that have answered before": Case(OURS, Conditions(known=True), nodes=64),
        "1,000 nodes": Case(OURS, nodes=1000),
        "1,000 nodes that have answered before": Case(OURS, Conditions(known=True), nodes=1000),
    }
    names = (OURS, TRUTH, "shortest_expected_delay")
    for kind, case in kinds.items():
        ours, truth, counted = bench.measure([replace(case, policy=name) for name in names])
        yield [kind, ours.p99, truth.p99, ours.p99 / truth.p99, counted.p99 / ours.p99]


def when_nodes_fail(bench: Bench) -> Iterator[list[object]]:
    """A Pi 5 dies, an Orin becomes ten times slower; later both are well again."""
    events = (Event(4000.0, 1, 0.0), Event(6000.0, 2, 0.1), Event(14000.0, 1, None), Event(16000.0, 2, 1.0))
    conditions = Conditions(age_s=1.0, events=events)
    names = (OURS, TRUTH, "shortest_expected_delay", "peak_ewma")
    for name, figures in zip(names, bench.measure([Case(name, conditions, share=0.4) for name in names]), strict=True):
        yield [name, figures.p50, figures.p99, f"{figures.failed:.2%}", figures.late_failures]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.scheduling", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two seeds of 3,000 requests, the comparison alone")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each case (default 3)")
    parser.add_argument("--requests", type=int, default=20_000, help="most requests a run (default 20,000)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--plot", type=Path, metavar="FOLDER", help="draw them as SVG files there")
    options = parser.parse_args()
    seeds, requests = (2, 3_000) if options.quick else (options.seeds, options.requests)
    begun = time.monotonic()
    with ProcessPoolExecutor() as pool:
        bench = Bench(pool, seeds, requests)
        report(bench, options.json, options.plot, quick=options.quick, begun=begun)


def report(bench: Bench, json_file: Path | None, folder: Path | None, *, quick: bool, begun: float) -> None:
    """Prints, draws and ends with PASS or FAIL."""
    rows, figures = compared(bench)
    conditions = list(under_conditions(bench)) if not quick else []
    loads = list(at_loads(bench)) if not quick else []
    failing = list(when_nodes_fail(bench)) if not quick else []
    few, many = decision_us(10), decision_us(1000)
    adapted = decision_us(10, adapter=True), decision_us(1000, adapter=True)
    print(table(["policy", "p50 s", "p95 s", "p99 s", "× clairvoyant"], rows))
    if not quick:
        print(table([OURS, "p50 s", "p95 s", "p99 s", "× clairvoyant"], conditions))
        print(table(["at", "ours p99 s", "clairvoyant", "ratio", "better than sed ×"], loads))
        print(table(["a node dies, one slows down", "p50 s", "p99 s", "failed", "failed later"], failing))
    print(f"decision: {few:.1f} µs of CPU at 10 nodes, {many:.0f} µs at 1,000; {time.monotonic() - begun:.0f} s in all")
    print(f"with an adapter: {adapted[0]:.1f} and {adapted[1]:.0f} µs")
    ours = figures[OURS].p99
    three = next((row[4] for row in conditions if row[0] == "three schedulers"), None)
    aims = [
        Aim("p99 of the clairvoyant's", ours / figures[TRUTH].p99, 1.10, "×"),
        Aim("p99 of weighted least connections", figures["weighted_least_connections"].p99 / ours, 1.3, "×", True),
        Aim("p99 of shortest expected delay", figures["shortest_expected_delay"].p99 / ours, 1.3, "×", True),
        Aim("three schedulers' p99", float(str(three)) if three is not None else None, 1.25, "×"),
        Aim("decision at 10 nodes", few, 20.0, "µs"),
        Aim("decision at 1,000 nodes", many, 500.0, "µs"),
    ]
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        plots.draw(folder, rows, conditions, loads)
    tables = {"policies": rows, "conditions": conditions, "loads": loads, "failing": failing}
    finish(aims, {**tables, "decision_us": {"10": few, "1000": many}, "adapted_us": adapted}, json_file)


if __name__ == "__main__":
    main()
