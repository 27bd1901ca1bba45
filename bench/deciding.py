"""How often an evaluation accepts what changed nothing, and what helps: `python -m bench.deciding`.

Differences by conversation are drawn, and go through the decision that adapters and encoders go through. Of those that
change nothing on average, ``leaning`` are as lopsided as an exponential distribution, towards what is hardest: most
are small gains, a few large losses. ``before`` is the rule without the bound that was moved out for those.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from bench.report import Aim, finish, table
from libs.shared.evaluation import bootstrap
from libs.shared.evaluation.bootstrap import Totals, compare_means
from libs.shared.evaluation.decision import decide

UNITS = (5, 6, 8, 12, 20)
EFFECTS = (0.5, 1.0, 2.0, 4.0)
"""Mean gain in standard deviations of a conversation's: 4 is an adapter that helps each alike."""
MOST_FALSE = 0.05
SEED, TRIALS, QUICK, RESAMPLES = 1, 2000, 400, 300
Floats = NDArray[np.float64]


def gains(kind: str, units: int, draw: np.random.Generator) -> Floats:
    """One number a conversation; its expectation is nothing, but for ``by X``."""
    if kind == "even":
        return draw.normal(0.0, 1.0, units)
    if kind == "leaning":
        return 1.0 - draw.exponential(1.0, units)
    if kind == "leaning the other way":
        return draw.exponential(1.0, units) - 1.0
    return draw.normal(float(kind.removeprefix("by ")), 1.0, units)


def accepted(kind: str, units: int, trials: int) -> float:
    """Of the trials, the share that is accepted."""
    draw = np.random.default_rng((SEED, units))
    ones = np.ones(units)
    found = 0
    for trial in range(trials):
        after = Totals(ones + gains(kind, units, draw), ones)
        compared = compare_means("m", Totals(ones, ones), after, better="higher", seed=trial, resamples=RESAMPLES)
        found += decide(compared).accepted
    return found / trials


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.deciding", description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} trials in place of {TRIALS}")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    args = parser.parse_args()
    trials = QUICK if args.quick else TRIALS
    nothing = ("even", "leaning", "leaning the other way")
    kinds = (*nothing, *(f"by {effect:g}" for effect in EFFECTS))
    figures: dict[str, Any] = {}
    for rule, bounds in (("before", 0.0), ("now", bootstrap.LEANING)):
        with patch.object(bootstrap, "LEANING", bounds):
            figures[rule] = {kind: {units: accepted(kind, units, trials) for units in UNITS} for kind in kinds}
        rows = [(kind, *(f"{100 * share:.1f} %" for share in by.values())) for kind, by in figures[rule].items()]
        print(table((f"accepted, {rule}", *(f"{units} conversations" for units in UNITS)), rows))
    worst = max(share for kind in nothing for share in figures["now"][kind].values())
    finish([Aim("most false acceptances", 100 * worst, 100 * MOST_FALSE, "%")], figures, args.json)


if __name__ == "__main__":
    main()
