"""How well recall finds the evidence for LoCoMo's questions: `python -m bench.locomo CONVERSATION.json…`.

The product's own index, reading and ranking, without its services, over conversations that are given as files. Cells
are any-evidence@10 / evidence@10 / MRR. The vectors of the texts are kept in ``--cache``, a folder for temporary files
unless it is told otherwise.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

from bench.locomo.data import read
from bench.locomo.least import by_least, by_way, graded
from bench.locomo.memory import PRODUCT
from bench.locomo.methods import PRODUCT_NAME, TABLES, by_product, named
from bench.locomo.runs import Runs
from bench.locomo.scores import ALL, Score, Scores, by_kind, margin
from bench.locomo.vectors import Vectors
from bench.report import Aim, finish, table

LEAST = "least"
DRAWS, QUICK_DRAWS, QUICK_STRIDE = 20, 3, 4
FLOORS = Score(0.85, 0.78, 0.58)
_SHARES = ("least", "gold kept", "questions that keep some", "unrelated that let something in", "another pair's")


def aims(scores: Score) -> list[Aim]:
    """Of the product, over all questions."""
    names = ("any-evidence@10", "evidence@10", "MRR")
    return [Aim(name, value, floor, at_least=True) for name, value, floor in zip(names, scores, FLOORS, strict=True)]


def as_table(rows: dict[str, Scores], counts: dict[str, int]) -> str:
    """Methods by kinds of question."""
    columns = ("method", *(f"{kind} ({counts[kind]})" for kind in counts))
    return table(columns, [(name, *(scores[kind] for kind in counts)) for name, scores in rows.items()])


def print_least(runs: Runs) -> dict[str, Any]:
    """The two tables of what may enter a prompt."""
    found = graded(runs)
    leasts, ways = by_least(found), by_way(found)
    cells = [("—" if value is None else f"{value:.3f}" for value in row) for row in leasts]
    print(f"\n{LEAST}: {len(found.unrelated)} unrelated questions, {len(found.strangers)} of another pair\n")
    print(table(_SHARES, [tuple(row) for row in cells]))
    columns = ("evidence by", "unrelated that let something in", "least", "gold kept")
    print(
        "\n"
        + table(columns, [(name, f"{rate:.0%}", f"{least:.3f}", f"{kept:.3f}") for name, rate, least, kept in ways])
    )
    return {"by_least": leasts, "by_way": ways}


def measure(args: argparse.Namespace, vectors: Vectors) -> tuple[Score, dict[str, Any]]:
    """Prints the tables; the product's score, and all figures."""
    conversations = [read(path) for path in args.conversations]
    runs = Runs(conversations, vectors, stride=QUICK_STRIDE if args.quick else 1)
    judged = by_product(runs, PRODUCT)
    product = by_kind(judged)
    counts = {kind: sum(kind in (ALL, of) for of, _ in judged) for kind in product}
    turns = sum(len(conversation.turns) for conversation in conversations)
    print(f"{len(conversations)} conversations, {turns} turns, {len(judged)} questions, {vectors.embedder}")
    print(f"cells: any-evidence@10 / evidence@10 / MRR; 95 % interval of {PRODUCT_NAME}'s: ± {margin(judged)}")
    wanted = args.table or [name for name in (*TABLES, LEAST) if not (args.quick and name == "tried")]
    figures: dict[str, Any] = {"questions": counts, "product": product}
    for name, rows in named(wanted, runs, QUICK_DRAWS if args.quick else DRAWS):
        print(f"\n{name}\n\n{as_table(rows, counts)}", flush=True)
        figures[name] = rows
    if LEAST in wanted:
        figures[LEAST] = print_least(runs)
    return product[ALL], figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("conversations", nargs="+", type=Path, metavar="CONVERSATION.json", help="in LoCoMo's format")
    parser.add_argument("--table", action="append", choices=(*TABLES, LEAST), help="only these (default: all)")
    parser.add_argument("--quick", action="store_true", help="every fourth question, three draws of weights, no tried")
    default = Path(tempfile.gettempdir()) / f"mongars-bench-{os.getuid()}"
    parser.add_argument("--cache", type=Path, default=default, metavar="FOLDER", help=f"default: {default}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    args = parser.parse_args()
    with Vectors(args.cache) as vectors:
        score, figures = measure(args, vectors)
    print()
    finish(aims(score), figures, args.json)


if __name__ == "__main__":
    main()
