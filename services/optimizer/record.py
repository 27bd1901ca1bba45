"""The cycles that were, and what answers cost before and since the last: kept over a restart, bounded."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel

from libs.shared.contracts.sleep import Cycle, CycleState, Phase, PhaseState
from services.optimizer.energy import Answers
from services.optimizer.kept_files import read_kept, write_kept

MOST_CYCLES = 50


class _Answers(BaseModel):
    joules: float = 0.0
    answers: int = 0


class _File(BaseModel):
    cycles: tuple[Cycle, ...] = ()
    before: _Answers = _Answers()
    since: _Answers = _Answers()


def interrupted(cycle: Cycle) -> Cycle:
    """A cycle that was under way when its service ended. Pure."""
    if cycle.state is not CycleState.RUNNING:
        return cycle
    phases = tuple(
        one.model_copy(update={"state": PhaseState.STOPPED, "progress": None})
        if one.state is PhaseState.RUNNING
        else one
        for one in cycle.phases
    )
    told = {"state": CycleState.INTERRUPTED, "phases": phases, "reason": "the optimizer ended in the middle of it"}
    return cycle.model_copy(update=told)


def with_cycle(cycles: Iterable[Cycle], cycle: Cycle) -> tuple[Cycle, ...]:
    """The newest first. Pure."""
    others = [one for one in cycles if one.cycle_id != cycle.cycle_id]
    return (cycle, *others)[:MOST_CYCLES]


class Record:
    """Its file; a cycle that it has as running when it is opened was interrupted."""

    def __init__(self, path: Path) -> None:
        self._path = path
        kept = read_kept(path, _File, _File())
        self._cycles = tuple(interrupted(cycle) for cycle in kept.cycles)
        self._before = Answers(kept.before.joules, kept.before.answers)
        self._since = Answers(kept.since.joules, kept.since.answers)

    @property
    def cycles(self) -> tuple[Cycle, ...]:
        return self._cycles

    @property
    def last_phases(self) -> tuple[Phase, ...]:
        """Of the last cycle, those that had more to do or were never begun."""
        if not self._cycles:
            return ()
        unfinished = (PhaseState.WAITING, PhaseState.STOPPED)  # and those that say themselves that more is left
        return tuple(one.phase for one in self._cycles[0].phases if one.left or one.state in unfinished)

    @property
    def before(self) -> Answers:
        """What answers cost before the last cycle."""
        return self._before

    @property
    def since(self) -> Answers:
        return self._since

    def keep(self, cycle: Cycle) -> None:
        self._cycles = with_cycle(self._cycles, cycle)
        self._write()

    def answered(self, joules: float, answers: int) -> None:
        """Since the last cycle; added up, and written with the next."""
        self._since = Answers(self._since.joules + joules, self._since.answers + answers)

    def begin_anew(self) -> None:
        """A cycle ended that changed something: what answers cost until now is what came before it. With too few of
        them to tell, they are added to what came before that."""
        if self._since.each_j is not None or self._before.answers == 0:
            self._before = self._since
        else:
            self._before = Answers(self._before.joules + self._since.joules, self._before.answers + self._since.answers)
        self._since = Answers()
        self._write()

    def save(self) -> None:
        self._write()

    def _write(self) -> None:
        before = _Answers(joules=self._before.joules, answers=self._before.answers)
        since = _Answers(joules=self._since.joules, answers=self._since.answers)
        write_kept(self._path, _File(cycles=self._cycles, before=before, since=since))
