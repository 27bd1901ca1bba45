"""In which ways placement is tried: all that there are of the policy, else of the weight. Pure; needs no numpy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, get_args

from libs.shared.contracts.replaying_placements import MOST_WAYS, Way
from libs.shared.contracts.runtime_settings import RuntimeSettings

OTHERS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0)
"""What later requests' waiting weighs."""
_POLICIES = get_args(Way.model_fields["policy"].annotation)
_WEIGHED = "expected_completion"


def ways(settings: RuntimeSettings, offered: Iterable[Any] = ()) -> tuple[Way, ...]:
    """The one in force first; each other differs from it in one setting. ``offered``: weights that other nodes say that
    they kept, which are measured like any others."""
    before = Way(policy=settings.placement_policy, others=settings.placement_others)
    found = [before, *(before.model_copy(update={"policy": policy}) for policy in _POLICIES)]
    if before.policy == _WEIGHED:
        weights = [one for one in offered if isinstance(one, int | float) and min(OTHERS) <= one <= max(OTHERS)]
        found += [before.model_copy(update={"others": float(one)}) for one in (*OTHERS, *weights)]
    return tuple(dict.fromkeys(found))[:MOST_WAYS]
