"""What tuning recall gains, on LoCoMo: `python -m bench.tuning CONVERSATION.json…`.

The product's own index, reading, ranking, replay and searcher, without its services. Weights that are bad on purpose
are tuned on some conversations, and what comes of it is measured on the others by LoCoMo's evidence; once with that
evidence as labels, and once with what the answers give away: where nobody has marked anything, nothing else is there.
``--table caches`` and ``--table placement`` need no conversations: who asks when is drawn from a seed there.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from bench.locomo.data import read
from bench.locomo.runs import Runs
from bench.locomo.vectors import Vectors
from bench.report import Aim, finish, table
from bench.tuning.budgets import DELIVERED, BudgetRun, budgets
from bench.tuning.caches import DELIVERED_MIB, CacheRun, caches
from bench.tuning.caches import SEEDS as CACHE_SEEDS
from bench.tuning.data import Replayable, replayable, resting_on_none
from bench.tuning.labels import labels
from bench.tuning.placement import LOADS, QUICK_LOADS, PlacementRun, placements
from bench.tuning.starts import DEFAULT, PRODUCT, STARTS, with_weights
from bench.tuning.tuned import Run, recall, tuned
from bench.tuning.warm import Reached, reached
from services.optimizer.phases.deep import POINTS, SEED
from services.optimizer.replay.evaluating import evaluated
from services.optimizer.replay.held import held

QUICK_POINTS, QUICK_STRIDE = 80, 2
SEEDS, QUICK_SEEDS = (1, 2, 3, 4, 5), (1, 2)
TABLES = ("labels", "tuned", "budgets", "caches", "placement", "evaluated", "warm")
OWN = frozenset({"caches", "placement"})
"""Those that need no conversations."""
LOST_MS = 2.0
"""A size that costs less is nearly as good as the best."""
LOST = 0.05
"""A bad budget that costs less is nearly as good as the delivered one: there is nothing to regain."""


def print_tuned(runs: Sequence[Run]) -> list[Aim]:
    """What was in force, what the search came to, and what is in force then, by the truth."""
    rows = [
        (
            run.labels,
            run.start,
            _files(run),
            run.before,
            run.found,
            run.after,
            run.moved,
            "yes" if run.proposed else "no",
        )
        for run in runs
    ]
    columns = ("labels", "from", "held out", "before", "found", "in force then", "weights moved", "proposed")
    print("\n" + table(columns, [tuple(f"{v:.3f}" if isinstance(v, float) else v for v in row) for row in rows]))
    default = {_files(run): run.before for run in runs if run.start == PRODUCT}
    regained = [(run.after - run.before) / (default[_files(run)] - run.before) for run in runs if run.start != PRODUCT]
    return [
        Aim("of what bad weights lost, regained at the least", min(regained), 0.7, at_least=True),
        Aim("proposals that are worse by the truth", sum(run.worse for run in runs), 0),
        Aim("changes of the product's weights", sum(run.proposed for run in runs if run.start == PRODUCT), 0),
    ]


def _files(run: Run | BudgetRun) -> str:
    return "+".join(map(str, run.held_out))


def print_budgets(runs: Sequence[BudgetRun]) -> list[Aim]:
    """What was in force and what is then, by the truth."""
    rows = [
        (
            run.labels,
            f"{run.key} {run.start:g}",
            _files(run),
            f"{run.value:g}" if run.proposed else "no",
            *(f"{one:.3f}" for one in run.evidence[:2]),
            *(f"{one:.0f}" for one in run.tokens[:2]),
            *(f"{one:.3f}" for one in run.worth),
        )
        for run in runs
    ]
    three = ("worth before", "then", "as delivered")
    columns = ("labels", "from", "held out", "proposed", "evidence before", "then", "tokens before", "then", *three)
    print("\n" + table(columns, rows))
    bad = [run for run in runs if run.worth[2] - run.worth[0] >= LOST]
    regained = [(run.worth[1] - run.worth[0]) / (run.worth[2] - run.worth[0]) for run in bad]
    as_delivered = [run for run in runs if run.start == getattr(DELIVERED, run.key)]
    return [
        Aim(f"of what {len(bad)} bad budgets lost, regained, median", median(regained), 0.7, at_least=True),
        Aim("budgets proposed that are worth less by the truth", sum(run.worth[1] < run.worth[0] for run in runs), 0),
        Aim("changes of the product's budgets", sum(run.proposed for run in as_delivered), 0),
    ]


def print_caches(runs: Sequence[CacheRun]) -> list[Aim]:
    """Sizes before and after, and what a use costs then, by simulation."""
    rows = [
        (
            run.place,
            str(run.seed),
            str(run.start_mib),
            str(run.value_mib) if run.proposed else "no",
            *(f"{one:.3f}" for one in run.hits),
            *(f"{one:.2f}" for one in (run.before, run.after, run.delivered, run.best)),
        )
        for run in runs
    ]
    costs = ("a use costs before, ms", "then", "as delivered", "at best")
    print("\n" + table(("place", "seed", "from MiB", "proposed", "found before", "then", *costs), rows))
    bad = [run for run in runs if run.before - run.best >= LOST_MS]
    regained = [(run.before - run.after) / (run.before - run.best) for run in bad]
    delivered = [run for run in runs if run.start_mib == DELIVERED_MIB and run.place == "household"]
    return [
        Aim(f"of what {len(bad)} bad sizes cost, regained, median", median(regained), 0.7, at_least=True),
        Aim("sizes proposed that cost more by simulation", sum(run.after > run.before for run in runs), 0),
        Aim("changes of the delivered size in a household", sum(run.proposed for run in delivered), 0),
    ]


def print_placements(runs: Sequence[PlacementRun]) -> list[Aim]:
    """What was in force and what is then, by the network's simulation."""
    rows = [
        (
            f"{run.load:g}",
            run.start,
            run.value if run.proposed else "no",
            *(f"{one:.1f}" for pair in (run.before, run.after, run.delivered) for one in pair),
        )
        for run in runs
    ]
    figures = ("mean before, s", "p95", "mean then, s", "p95", "mean as delivered, s", "p95")
    print("\n" + table(("load", "from", "proposed", *figures), rows))
    bad = [run for run in runs if run.before[0] > 1.1 * run.delivered[0]]
    regained = [(run.before[0] - run.after[0]) / (run.before[0] - run.delivered[0]) for run in bad]
    return [
        Aim(f"of what {len(bad)} bad placements cost, regained at the least", min(regained), 0.7, at_least=True),
        Aim("proposals after which answers take longer", sum(run.after[0] > run.before[0] for run in runs), 0),
    ]


def print_evaluated(questions: Sequence[Replayable]) -> list[Aim]:
    """The weights in force changed to bad ones, as the pipeline has a change evaluated."""
    told, in_force = [one.told for one in questions], with_weights(DEFAULT)
    found = {
        name: evaluated(told, in_force, with_weights(weights), "recall_weights")
        for name, weights in STARTS.items()
        if name != PRODUCT
    }
    rows = [
        (name, "yes" if one.accepted else "no", "yes" if one.worse else "no", one.reason) for name, one in found.items()
    ]
    print("\n" + table(("changed to", "accepted", "worse beyond noise", "reason"), rows))
    return [Aim("bad changes that are not told to be worse", sum(not one.worse for one in found.values()), 0)]


def print_warm(found: Sequence[Reached]) -> list[Aim]:
    """Evaluations of either way."""
    rows = [
        (one.start, one.seed, f"{one.cold}{'' if one.cold_reached else ' (never)'}", one.warm, one.lied_to)
        for one in found
    ]
    print("\n" + table(("from", "seed", "from nothing", "from what was told", "among lies"), rows))
    cold, warm = sum(one.cold for one in found), sum(one.warm for one in found)
    return [
        Aim(
            "evaluations from what was told, of those from nothing, median",
            median(o.warm / o.cold for o in found),
            1 / 3,
        ),
        Aim("of all searches together", warm / cold, 1 / 3),
        Aim("evaluations that lies cost", max(one.lied_to - one.warm for one in found), 1),
    ]


def measure(args: argparse.Namespace) -> tuple[list[Aim], dict[str, Any]]:
    """Prints the tables."""
    wanted = args.table or TABLES
    aims: list[Aim] = []
    figures: dict[str, Any] = {}
    if "caches" in wanted:
        sizes = caches(QUICK_SEEDS if args.quick else CACHE_SEEDS)
        figures["caches"] = [asdict(run) for run in sizes]
        aims += print_caches(sizes)
    if "placement" in wanted:
        placed = placements(QUICK_LOADS if args.quick else LOADS)
        figures["placement"] = [asdict(run) for run in placed]
        aims += print_placements(placed)
    if not OWN.issuperset(wanted):
        with Vectors(args.cache) as vectors:
            aims += measure_recall(args, vectors, wanted, figures)
    return aims, figures


def measure_recall(
    args: argparse.Namespace, vectors: Vectors, wanted: Sequence[str], figures: dict[str, Any]
) -> list[Aim]:
    """Those of recall, on the given conversations."""
    conversations = [read(path) for path in args.conversations]
    given = Runs(conversations, vectors, stride=QUICK_STRIDE if args.quick else 1)
    questions = replayable(given)
    points = QUICK_POINTS if args.quick else POINTS
    print(
        f"{len(conversations)} conversations, {len(questions)} questions, {points} points a search, {vectors.embedder}"
    )
    print(f"recall of {PRODUCT}: {recall(held([one.gold for one in questions]), DEFAULT):.3f}")
    aims: list[Aim] = []
    if "labels" in wanted:
        figures["labels"] = labels(questions)._asdict()
        print("\n" + table(tuple(figures["labels"]), [tuple(figures["labels"].values())]))
    if "tuned" in wanted:
        runs = tuned(questions, points, SEED)
        figures["tuned"] = [asdict(run) for run in runs]
        aims += print_tuned(runs)
    if "budgets" in wanted:
        prompts = budgets(questions, resting_on_none(given))
        figures["budgets"] = [asdict(run) for run in prompts]
        aims += print_budgets(prompts)
    if "evaluated" in wanted:
        aims += print_evaluated(questions)
    if "warm" in wanted:
        found = reached(questions, points, QUICK_SEEDS if args.quick else SEEDS)
        figures["warm"] = [asdict(one) for one in found]
        aims += print_warm(found)
    return aims


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("conversations", nargs="*", type=Path, metavar="CONVERSATION.json", help="in LoCoMo's format")
    parser.add_argument("--table", action="append", choices=TABLES, help="only these (default: all)")
    parser.add_argument("--quick", action="store_true", help="every second question, fewer points and seeds")
    default = Path(tempfile.gettempdir()) / f"mongars-bench-{os.getuid()}"
    parser.add_argument("--cache", type=Path, default=default, metavar="FOLDER", help=f"default: {default}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    args = parser.parse_args()
    if not args.conversations and not OWN.issuperset(args.table or TABLES):
        parser.error("conversations are needed for these tables")
    aims, figures = measure(args)
    print()
    finish(aims, figures, args.json)


if __name__ == "__main__":
    main()
