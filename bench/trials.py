"""What a trial of a change tells, and how often it is wrong: `python -m bench.trials`.

Conversations are drawn, each of several turns that are alike, with how much of a question the memory holds between
nothing and all of it. Where nothing changed, each trial that is ended was ended by chance; where something did, those
who try it out find nothing in a share of their conversations. Sides, pairs, bets and their bounds are the product's.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from bench.report import Aim, finish, table
from libs.shared.contracts.common import Stamp
from libs.shared.contracts.ledger import OPTIMIZER_ACTOR, Change, ChangeState, Trial
from libs.shared.contracts.watching import TurnMeasured
from libs.shared.shares import arm_of
from services.optimizer.pipeline.trying_out import ENOUGH_PAIRS
from services.optimizer.watch.arms import Arms
from services.optimizer.watch.guardrails import FALSE_ALARMS, compare

BEGAN = datetime(2026, 3, 1, tzinfo=UTC)
SHARE = 0.2
TURNS = 4
LOSSES = (0.2, 0.3, 0.4, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Told:
    """Over many trials. ``loss``: of the conversations that try it out, in how many nothing is found any more."""

    loss: float
    counted: str
    ended: float
    """Of the trials."""
    pairs: float | None
    """Median, of those that were ended."""


def change(number: int) -> Change:
    """One on trial."""
    stamp = Stamp(actor=OPTIMIZER_ACTOR, at=BEGAN)
    return Change(
        change_id=f"c{number}",
        sequence=1,
        key="recall_k",
        before=8,
        after=6,
        reason="",
        state=ChangeState.CANARY,
        proposed=stamp,
        decided=stamp,
        previous_hash="0" * 64,
        hash="1" * 64,
    )


def pairs_until_ended(number: int, loss: float, chance: random.Random, *, every_turn: bool) -> int | None:
    """One trial, looked at after each conversation; None: as many were compared as are enough."""
    one, arms = change(number), Arms()
    trial = Trial(change_id=one.change_id, key=one.key, value=one.after, share=SHARE)
    talk = 0
    while len(arms.pairs) < ENOUGH_PAIRS:
        talk, seen = talk + 1, len(arms.pairs)
        arm = arm_of(trial, f"talk-{talk}")
        lost = arm.tried and chance.random() < loss
        known, slow = 0.0 if lost else chance.random(), chance.lognormvariate(0.0, 0.8)
        for turn in range(TURNS):
            first_s = slow * chance.uniform(0.9, 1.1)
            again = turn > 0 and not every_turn
            arms.take(TurnMeasured(began=BEGAN, first_s=first_s, evidence=known, arm=arm, again=again))
        if len(arms.pairs) > seen and (found := compare(one, arms)).alarm is not None:
            return found.measured[0].samples
    return None


def measured(loss: float, trials: int, *, every_turn: bool = False) -> Told:
    """So many trials of one loss."""
    chance = random.Random(7)
    ends = [pairs_until_ended(number, loss, chance, every_turn=every_turn) for number in range(trials)]
    pairs = [one for one in ends if one is not None]
    counted = "every turn" if every_turn else "one turn a conversation"
    return Told(loss, counted, len(pairs) / trials, median(pairs) if pairs else None)


def shown(rows: Sequence[Told]) -> str:
    """A table."""
    cells = [
        (f"{row.loss:.0%}", row.counted, f"{row.ended:.3f}", "" if row.pairs is None else f"{row.pairs:.0f}")
        for row in rows
    ]
    return table(("nothing found in", "counted", "trials ended", "pairs until then"), cells)


def main() -> None:
    """Prints the table; the exit code says whether the aims are met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer trials")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    args = parser.parse_args()
    trials = 50 if args.quick else 1000
    none, each = measured(0.0, trials), measured(0.0, trials // 5, every_turn=True)
    lossy = [measured(loss, trials // 5) for loss in LOSSES]
    print(shown([none, each, *lossy]))
    aims = [
        Aim("of trials of what changes nothing, ended", none.ended, FALSE_ALARMS),
        Aim("of those that find nothing in half of their conversations, ended", lossy[3].ended, 0.8, at_least=True),
    ]
    finish(aims, {"trials": trials, "told": [asdict(one) for one in (none, each, *lossy)]}, args.json)


if __name__ == "__main__":
    main()
