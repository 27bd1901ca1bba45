"""Joules that idle work and answers cost beyond what the machine draws anyway, from the watts that nodes tell. Pure.

A node's idle watts are the average of what it told while it neither answered nor worked. What it draws above them while
it works for the night is the night's, and while it answers the answers'. Where nothing measures, the night's joules are
its processor seconds times what the board's profile gives a core, and those of answers rest on the node's own estimate.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from libs.shared.contracts.sleep import AnswerEnergy, Energy
from libs.shared.hardware.boards import Profile

LONGEST_GAP_S = 5.0
"""Of a node that was silent for longer nothing is known of that time."""
IDLE_HALF_LIFE_S = 600.0
LEAST_ANSWERS = 20
"""Fewer don't tell what an answer costs."""


@dataclass(frozen=True)
class Told:
    """What a node drew at a moment, and what for. Seconds of a clock that only goes forward."""

    at_s: float
    watts: float
    measured: bool
    working: bool
    answering: bool


@dataclass(frozen=True)
class Account:
    """Of one node."""

    last: Told | None = None
    idle_w: float | None = None
    night_j: float = 0.0
    answers_j: float = 0.0
    measured: bool = True
    """Whether everything in it was."""


def heard(account: Account, told: Told) -> Account:
    """With what was drawn since the node told last."""
    last = account.last
    account = replace(account, last=told)
    if last is None or not 0.0 < told.at_s - last.at_s <= LONGEST_GAP_S:
        return account
    seconds = told.at_s - last.at_s
    if not last.working and not last.answering:
        return replace(account, idle_w=_average(account.idle_w, last.watts, seconds))
    if account.idle_w is None:
        return account
    joules = max(0.0, last.watts - account.idle_w) * seconds
    measured = account.measured and last.measured
    if last.answering:  # work that makes way at once costs nothing then
        return replace(account, answers_j=account.answers_j + joules, measured=measured)
    return replace(account, night_j=account.night_j + joules, measured=measured)


def night_energy(before: Account, after: Account, cpu_s: float, profile: Profile, cores: float) -> Energy:
    """Of what ran between the two, whose child processes used ``cpu_s`` of the processors."""
    told = after.last
    if told is not None and told.measured and after.idle_w is not None and after.night_j > before.night_j:
        return Energy(joules=round(after.night_j - before.night_j, 3), source="measured")
    return Energy(joules=round(cpu_s * watts_per_core(profile, cores), 3), source="estimated")


def watts_per_core(profile: Profile, cores: float) -> float:
    """Beyond idleness, of one that is busy."""
    return (profile.busy_w - profile.idle_w) / max(1.0, cores)


@dataclass(frozen=True)
class Answers:
    """Joules and answers of some days."""

    joules: float = 0.0
    answers: int = 0

    @property
    def each_j(self) -> float | None:
        return self.joules / self.answers if self.answers >= LEAST_ANSWERS else None


def answer_energy(before: Answers, since: Answers, accounts: Iterable[Account]) -> AnswerEnergy:
    """``before`` the last cycle, and ``since``."""
    each, was = since.each_j, before.each_j
    source: Literal["measured", "estimated"] = "estimated"
    known = [account for account in accounts if account.last is not None]
    if known and all(account.measured and account.last is not None and account.last.measured for account in known):
        source = "measured"
    saved = round((was - each) * since.answers, 3) if each is not None and was is not None else None
    shown = each if each is not None else was
    return AnswerEnergy(
        per_answer_j=round(shown, 3) if shown is not None else None,
        answers=since.answers,
        source=source,
        saved_j=saved,
    )


def _average(before: float | None, watts: float, seconds: float) -> float:
    if before is None:
        return watts
    share: float = 1.0 - 0.5 ** (seconds / IDLE_HALF_LIFE_S)
    return before + share * (watts - before)
