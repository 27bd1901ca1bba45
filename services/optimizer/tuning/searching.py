"""The searcher: optuna's tree-structured Parzen estimator, a trial at a time, so that it goes on from where it was.

Bergstra et al. 2011; multivariate as in Falkner, Klein & Hutter 2018. Imported only where numbers are crunched, in the
child process. Each trial draws from a seed of its own, its number: a search that was cut short and goes on from its
trials tries the same points as one that ran through.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic

import optuna
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from services.optimizer.tuning.attempts import Attempt
from services.optimizer.tuning.space import BOUNDS, Point

STARTUP = 20
"""Trials at random before the estimator has anything to go by."""
Objective = Callable[[Point, float], tuple[float, bool]]
"""From a point, and the best value so far: (value, whether it was given up after a part of the questions)."""

optuna.logging.set_verbosity(optuna.logging.WARNING)


def search(
    objective: Objective,
    first: Sequence[Point],
    *,
    most: int,
    seconds: float,
    seed: int,
    done: Sequence[Attempt] = (),
    told: Callable[[Attempt], None] = lambda _: None,
    bounds: dict[str, tuple[float, float]] = BOUNDS,
) -> list[Attempt]:
    """Every trial, those ``done`` before included: ``first`` in order, then whatever the estimator asks for.

    It ends with the ``most``-th trial, or after so many ``seconds``, whichever comes first.
    """
    space = {name: FloatDistribution(low, high) for name, (low, high) in bounds.items()}
    study = optuna.create_study(direction="maximize")
    tried: list[Attempt] = []
    until = monotonic() + seconds
    for one in done:
        _add(study, space, one)
        tried.append(one)
    while len(tried) < most and monotonic() < until:
        number = len(tried)
        point = dict(first[number]) if number < len(first) else _asked(study, space, seed, number)
        best = max((one.value for one in tried if not one.pruned), default=float("-inf"))
        value, pruned = _measured(objective, point, best)
        one = Attempt(point=point, value=value, pruned=pruned)
        _add(study, space, one)
        tried.append(one)
        told(one)
    return tried


def _measured(objective: Objective, point: Point, best: float) -> tuple[float, bool]:
    """Whoever asked for the point, and whatever they said of it."""
    return objective(point, best)


def _asked(study: optuna.Study, space: dict[str, FloatDistribution], seed: int, number: int) -> Point:
    study.sampler = optuna.samplers.TPESampler(
        seed=seed * 1_000_003 + number, multivariate=True, n_startup_trials=STARTUP
    )
    trial = study.ask(dict(space))
    return {name: float(trial.params[name]) for name in space}


def _add(study: optuna.Study, space: dict[str, FloatDistribution], one: Attempt) -> None:
    kept = {name: one.point[name] for name in space}
    state = TrialState.PRUNED if one.pruned else TrialState.COMPLETE
    values = {0: one.value} if one.pruned else {}
    study.add_trial(
        create_trial(
            state=state,
            params=kept,
            distributions=dict(space),
            value=one.value,
            intermediate_values=values,
        )
    )
