"""What one night is worth: `python -m bench.sleep CONVERSATION.json…`, files in LoCoMo's format.

Each conversation is one user's memory, in the real services on a PostgreSQL of their own. Every question is asked
within budgets of tokens, then the light phase has its night without the questions, and they are asked again. Answer
coverage is the share of a gold answer's content words (stemmed as the index does, numbers and dates included) that
stand in the context. A context that isn't whole sentences of what was said, each of a source that it names, ends the
run. ``--levers`` takes the parts of a night away one by one, without services. ``--made-up`` takes made-up memories
instead, in which things are told again and facts change (``repeating.py``).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from bench.locomo.data import Asked, Conversation, read
from bench.locomo.scores import judge
from bench.locomo.vectors import Vectors
from bench.report import Aim, finish, table
from bench.sleep.coverage import check, covered, dated, interval, shown
from bench.sleep.levers import levers
from bench.sleep.long_night import long_night
from bench.sleep.repeating import repeated
from bench.sleep.services import House, Slept, house
from libs.shared.contracts.memory import MemoryItem
from libs.shared.hardware import read_board
from services.cognition.selection import tokens_of

BUDGETS = (300, 600, 900)
FEW, MANY = 300, 900
QUICK_STRIDE = 8
WORDS = "before, days in words"
"""As if a reader had been shown the days of the memories as answers have them."""
KINDS = ("all", "single-hop", "multi-hop", "temporal", "open-domain")


@dataclass(frozen=True)
class Case:
    """A question, to the memory at ``place``."""

    place: int
    asked: Asked


Coverage = dict[tuple[str, int], list[float]]
"""By name of the row and budget, a value a case."""


async def measured(args: argparse.Namespace, vectors: Vectors, conversations: list[Conversation]) -> dict[str, Any]:
    """Asks, sleeps, asks again; prints the tables."""
    stride = QUICK_STRIDE if args.quick else 1
    cases = [Case(place, asked) for place, one in enumerate(conversations) for asked in one.questions[::stride]]
    with tempfile.TemporaryDirectory(prefix="mongars-sleep-") as folder:
        async with house(vectors, Path(folder)) as home:
            await home.remember(conversations)
            coverage: Coverage = {}
            recall = [await _recall(home, case) for case in cases]
            await _ask(home, cases, "before", coverage)
            slept = await home.sleep()
            recall_after = [await _recall(home, case) for case in cases]
            await _ask(home, cases, "after", coverage)
    print(f"{len(conversations)} conversations, {len(home.turns)} turns, {len(cases)} questions, {vectors.embedder}\n")
    print(_coverage_table(coverage, cases))
    print(f"\n{_conversations_table(coverage, cases, args.conversations)}")
    return _figures(coverage, recall, recall_after, slept)


async def _recall(home: House, case: Case) -> float:
    """Evidence at 10, of a search without a budget."""
    items = await home.ask(case.place, case.asked.text, k=10)
    return judge([home.turns[item.id].id for item in items], case.asked.gold).evidence


async def _ask(home: House, cases: Sequence[Case], row: str, coverage: Coverage) -> None:
    for case in cases:
        for tokens in BUDGETS:
            items = await home.ask(case.place, case.asked.text, tokens=tokens)
            _hold(items, tokens, home)
            coverage.setdefault((row, tokens), []).append(covered(case.asked.answer, shown(items)))
            if row == "before":
                coverage.setdefault((WORDS, tokens), []).append(covered(case.asked.answer, dated(items)))


def _hold(items: Sequence[MemoryItem], tokens: int, home: House) -> None:
    """Raises NotWhole, AssertionError."""
    check(items, home.turns)
    assert sum(tokens_of(item.text) for item in items) <= tokens, "the context is larger than its budget"


def _coverage_table(coverage: Coverage, cases: Sequence[Case]) -> str:
    counts = {kind: sum(kind in ("all", case.asked.kind) for case in cases) for kind in KINDS}
    rows = [(row, tokens, *_means(values, cases)) for (row, tokens), values in sorted(coverage.items(), key=_order)]
    return table(("context", "tokens", *(f"{kind} ({count})" for kind, count in counts.items())), rows)


def _order(entry: tuple[tuple[str, int], object]) -> tuple[int, int]:
    (row, tokens), _ = entry
    return ("before", WORDS, "after").index(row), tokens


def _means(values: Sequence[float], cases: Sequence[Case]) -> list[str]:
    of = [
        [value for value, case in zip(values, cases, strict=True) if kind in ("all", case.asked.kind)] for kind in KINDS
    ]
    return [f"{fmean(some):.3f}" if some else "—" for some in of]


def _conversations_table(coverage: Coverage, cases: Sequence[Case], files: Sequence[Path]) -> str:
    rows = []
    for place, file in enumerate(files):
        own = [number for number, case in enumerate(cases) if case.place == place]
        after, before = ([coverage[key][number] for number in own] for key in (("after", FEW), ("before", MANY)))
        rows.append((file.stem, len(own), f"{fmean(after):.3f}", f"{fmean(before):.3f}"))
    return table(("conversation", "questions", f"after, {FEW} tokens", f"before, {MANY} tokens"), rows)


def _figures(coverage: Coverage, recall: list[float], recall_after: list[float], slept: Slept) -> dict[str, Any]:
    after, before, words = coverage["after", FEW], coverage["before", MANY], coverage[WORDS, MANY]
    low, high = interval([one - other for one, other in zip(after, before, strict=True)])
    low_words, high_words = interval([one - other for one, other in zip(after, words, strict=True)])
    print(f"\nafter at {FEW} less before at {MANY}: {fmean(after) - fmean(before):+.3f} ({low:+.3f} to {high:+.3f})")
    print(
        f"and with the days in words before: {fmean(after) - fmean(words):+.3f} ({low_words:+.3f} to {high_words:+.3f})"
    )
    print(f"evidence at 10: {fmean(recall):.3f} before, {fmean(recall_after):.3f} after")
    report = slept.report
    board = read_board()
    joules = slept.cpu_s * (board.profile.busy_w - board.profile.idle_w) / (os.cpu_count() or 1)
    print(f"the night: {report.done}; {slept.cpu_s:.1f} s of processor time, {joules:.0f} J by an estimate")
    print(f"(between {board.profile.idle_w:g} W idle and {board.profile.busy_w:g} W busy: {board.profile.source})")
    print(f"at rest: {slept.digest_bytes / 1024:.0f} KiB of digests, {slept.index_bytes / 1024:.0f} KiB of index")
    return {
        "coverage": {f"{row} {tokens}": fmean(values) for (row, tokens), values in coverage.items()},
        "difference": [fmean(after) - fmean(before), low, high],
        "difference_words": [fmean(after) - fmean(words), low_words, high_words],
        "evidence_at_10": [fmean(recall), fmean(recall_after)],
        "night": {"cpu_s": slept.cpu_s, "joules_estimated": joules, **report.figures},
        "bytes": {"digests": slept.digest_bytes, "index": slept.index_bytes},
    }


def aims(figures: dict[str, Any]) -> list[Aim]:
    """Coverage against its own former self at three times the tokens, and recall no lower."""
    coverage, (recall, recall_after) = figures["coverage"], figures["evidence_at_10"]
    before = coverage[f"before {MANY}"]
    return [
        Aim(f"coverage at {FEW} tokens after a night", coverage[f"after {FEW}"], before, at_least=True),
        Aim("evidence at 10 after it", recall_after, recall, at_least=True),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("conversations", nargs="*", type=Path, metavar="CONVERSATION.json", help="in LoCoMo's format")
    parser.add_argument("--levers", action="store_true", help="the parts of a night, taken away one by one")
    parser.add_argument("--made-up", action="store_true", help="of what is told again, and of what changed")
    parser.add_argument("--night", type=int, metavar="MEMORIES", help="how long one over so many made-up ones takes")
    parser.add_argument("--quick", action="store_true", help="every eighth question")
    default = Path(tempfile.gettempdir()) / f"mongars-bench-{os.getuid()}"
    parser.add_argument("--cache", type=Path, default=default, metavar="FOLDER", help=f"default: {default}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    args = parser.parse_args()
    if sum(map(bool, (args.conversations, args.made_up, args.night))) != 1:
        parser.error("either conversations, or --made-up, or --night")
    conversations = [read(path) for path in args.conversations]
    with Vectors(args.cache) as vectors:
        vectors.load()
        if args.made_up:
            finish(*asyncio.run(repeated(vectors)), args.json)
            return
        if args.night:
            finish(*asyncio.run(long_night(vectors, args.night)), args.json)
            return
        figures = asyncio.run(measured(args, vectors, conversations))
        if args.levers:
            figures["levers"] = levers(conversations, vectors, stride=QUICK_STRIDE if args.quick else 1)
    print()
    finish(aims(figures), figures, args.json)


if __name__ == "__main__":
    main()
