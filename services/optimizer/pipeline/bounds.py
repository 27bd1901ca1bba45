"""Values that a setting takes and that can never be right: refused whatever a replay says, also where nothing may be
replayed. Pure.

A setting gets its bound here by one function under its name in ``BOUNDS``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from libs.shared.contracts.runtime_settings import RecallWeights

Bound = Callable[[Any], str | None]
"""Why the value, as the ledger holds it, can't be right; None where nothing forbids it."""


def weighs_nothing(value: Any) -> str | None:
    """What every score is the sum of counts for nothing."""
    try:
        weights = RecallWeights.model_validate(value)
    except ValidationError:  # of another release: its evaluation says so
        return None
    if any(weight > 0 for name, weight in weights if name != "repetition"):
        return None
    return "no part of a memory's score would weigh anything, so that nothing would be found"


BOUNDS: dict[str, Bound] = {"recall_weights": weighs_nothing}


def hollow(key: str, value: Any) -> str | None:
    """Why the value can't be right; None for all that has no bound."""
    bound = BOUNDS.get(key)
    return None if bound is None else bound(value)
