"""How much of a memory is left by its age, its use and its importance. Pure.

The forgetting curve of FSRS (Ye, Su & Cao, KDD 2022; the power form of FSRS 4.5): R(t, S) = (1 + 19/81 · t/S)^-0.5 with
t days since the memory was last told or used, and S the days in which it sinks to 0.9. Use and importance lengthen S as
repetition does there, by a plain rule in place of its fitted parameters: S = S₀ · (1 + uses) · (1 + 4 · importance).
A strength moves a score, it never deletes: after ten years of silence an unimportant memory still has 0.25.
"""

from __future__ import annotations

FIRST_STABILITY_DAYS = 60.0
IMPORTANCE_LENGTHENS = 4.0
MOST_USES = 50
_DAY_S = 86_400.0
_FACTOR, _DECAY = 19 / 81, -0.5


def stability_days(uses: int, importance: float) -> float:
    """S: the days after which nine tenths are left."""
    return FIRST_STABILITY_DAYS * (1 + min(uses, MOST_USES)) * (1 + IMPORTANCE_LENGTHENS * importance)


def strength(at: float, used_at: float, uses: int, importance: float, *, pinned: bool, now: float) -> float:
    """0..1, times in seconds since 1970 (``used_at`` 0: never). What is pinned does not decay; the future is whole."""
    if pinned:
        return 1.0
    last = max(at, used_at) if used_at > 0 else at
    days = max(0.0, now - last) / _DAY_S
    return float((1 + _FACTOR * days / stability_days(uses, importance)) ** _DECAY)
