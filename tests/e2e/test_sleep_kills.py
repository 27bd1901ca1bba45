"""Whatever is killed while changes are on their way, none is left half applied, and the chain of their steps fits."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

import asyncpg
import pytest

from cli.database.choice import kept_password
from cli.installation import load
from libs.shared.contracts.ledger import Change, ChangeKind, ChangeState, Decision
from libs.shared.contracts.sleep import Phase
from libs.shared.errors import ChangeConflict, SleepUnderWay
from tests.e2e.person import Meet, Person
from tests.support.installation import Installation
from tests.support.living_ledger import LivingLedger, expected_in_force, half_applied
from tests.support.replayable import has_asked

VICTIMS = ("optimizer", "persistence")
BACK_S = 30.0
FOLLOWS_S = 15.0
"""Until the bucket says again what the database does."""
OVER = (ChangeState.REJECTED, ChangeState.ROLLED_BACK, ChangeState.KEPT)


@dataclass
class Night:
    """Changes of every kind, and a kill within each. ``killed`` counts what the change was when its step was cut."""

    installed: Installation
    ledger: LivingLedger
    person: Person
    chance: random.Random
    within_s: dict[str, float]
    """From the beginning of a step, the latest moment of its kill."""
    victim: str = ""
    step: str = ""
    killed: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @contextmanager
    def struck(self, change: Change | None = None) -> Iterator[None]:
        """Kills the victim somewhere within the body or a moment after, and waits until it is back."""
        pid = self.installed.pid(self.victim)
        assert pid is not None
        delay_s = self.chance.uniform(0.0, self.within_s[self.step])
        blow = threading.Timer(delay_s, os.kill, (pid, signal.SIGKILL))
        blow.start()
        yield
        blow.join()
        assert self.installed.wait_until(lambda: self.installed.pid(self.victim) not in (pid, None), BACK_S)
        seen = self.ledger.read(change.change_id).state.value if change is not None else "-"
        self.killed[(self.step, self.victim, seen)] += 1

    def other_k(self) -> int:
        """Another number of memories than the last time."""
        return 9 + next(self.numbers) % 40

    def proposed(self) -> None:
        with self.struck():
            change = self.ledger.propose("recall_k", self.other_k(), actor="operator")
        self.ledger.until(change, ChangeState.EVALUATED, ChangeState.REJECTED)

    def evaluated(self) -> None:
        change = self.ledger.propose("recall_k", self.other_k(), actor="operator")
        with self.struck(change):
            pass
        self.ledger.until(change, ChangeState.EVALUATED, ChangeState.REJECTED)

    def evaluating_takes_s(self) -> float:
        """Undisturbed."""
        change = self.ledger.propose("recall_k", self.other_k(), actor="operator")
        begun = time.monotonic()
        self.ledger.until(change, ChangeState.EVALUATED, ChangeState.REJECTED)
        return time.monotonic() - begun

    def applied_by_leave(self) -> None:
        change = self.ledger.propose("recall_k", self.other_k(), actor="operator")
        self.ledger.until(change, ChangeState.EVALUATED, ChangeState.REJECTED)
        with self.struck(change):
            self.ledger.decide(change, Decision.APPROVE)
        self.ledger.until(change, ChangeState.APPLIED, ChangeState.KEPT)
        self.undo(change.key)

    def applied_by_itself(self) -> None:
        """As a phase proposes and measures; the pipeline applies."""
        share = self.ledger.in_database().settings.hedging_share
        change = self.ledger.propose("hedging_share", 0.06 if share != 0.06 else 0.07, actor="optimizer")
        # where the answer was lost, it is asked again, and may have gone on meanwhile
        with self.struck(change), suppress(ChangeConflict):
            self.ledger.decide(change, Decision.ACCEPT, actor="optimizer")
        self.ledger.until(change, ChangeState.APPLIED, ChangeState.KEPT)
        self.undo(change.key)

    def rolled_back(self) -> None:
        edit = self.ledger.propose("hedging", True, actor="root", apply=True)
        with self.struck(edit):
            self.ledger.decide(edit, Decision.ROLL_BACK)
        self.ledger.until(edit, ChangeState.ROLLED_BACK)

    def kept(self) -> None:
        """The pipeline keeps what another edit of the same came after."""
        first = self.ledger.propose("recall_min_score", 0.3, actor="root", apply=True)
        with self.struck(first):
            self.ledger.propose("recall_min_score", 0.35, actor="root", apply=True)
        self.ledger.until(first, ChangeState.KEPT)
        self.undo(first.key)

    def digested(self) -> None:
        """A whole light phase; what it proposed before it was cut goes its way, and another night finishes the rest."""
        at, number = datetime(2025, 1, 1, tzinfo=UTC), next(self.numbers)
        turn = {"id": f"n/{number}", "conversation_id": "notes", "speaker": "Odile", "at": at.isoformat()}
        turn["text"] = (
            f"Thanks a lot, my dear! The {number}th parcel came yesterday, with my brother Emil. How are you?"
        )
        self.person.http.post("/api/v1/memories/import", json={"turns": [turn]}).raise_for_status()
        with self.struck():
            self.slept()
        self.slept()
        for change in self.ledger.all():
            if change.kind is ChangeKind.DIGEST and change.state not in OVER:
                if change.state is ChangeState.PROPOSED:  # its phase ended before it was measured: an hour, or now
                    self.ledger.decide(change, Decision.REJECT)
                self.ledger.until(change, ChangeState.APPLIED, *OVER)
                self.undo(change.key)

    def slept(self) -> None:
        """Until the cycle is over, in whatever way."""
        with suppress(SleepUnderWay):
            self.ledger.sleep(Phase.LIGHT)
        assert self.installed.wait_until(lambda: self.ledger.sleeping().running is None, BACK_S)

    def undo(self, key: str) -> None:
        """All that is in force of it: whoever asked twice, hearing no answer, did so twice."""
        while (change := expected_in_force(self.ledger.all()).get(key)) is not None:
            self.ledger.decide(change, Decision.ROLL_BACK)


STEPS: dict[str, Callable[[Night], None]] = {
    "propose": Night.proposed,
    "evaluate": Night.evaluated,
    "apply by leave": Night.applied_by_leave,
    "apply": Night.applied_by_itself,
    "roll back": Night.rolled_back,
    "keep": Night.kept,
    "digest": Night.digested,
}


def kill_at_each_step(night: Night, steps: list[str]) -> None:
    """One kill a step, each with one victim in one round and the other in the next, as there are seven; after each kill
    nothing may be half applied."""
    for number, step in enumerate(steps):
        night.step, night.victim = step, VICTIMS[number % len(VICTIMS)]
        STEPS[step](night)
        print(number + 1, step, night.victim, flush=True)
        assert half_applied(night.ledger) == [], f"after kill {number + 1}, of {night.victim} at {step}"
        same = lambda: told_alike(night.ledger)  # noqa: E731
        assert night.installed.wait_until(same, FOLLOWS_S), "the bucket doesn't say what the database does"


def told_alike(ledger: LivingLedger) -> bool:
    held, told = ledger.in_database(), ledger.in_bucket()
    return told is not None and (told.settings, told.last_change, told.trial) == (
        held.settings,
        held.last_change,
        held.trial,
    )


def begun(made: Installation, person: Person, seed: int) -> Night:
    within_s = dict.fromkeys(STEPS, 0.25) | {"digest": 1.5, "apply": 0.5, "keep": 0.5}
    night = Night(made, LivingLedger(made), person, random.Random(seed), within_s)
    night.within_s["evaluate"] = 1.5 * night.evaluating_takes_s()
    return night


def test_kills_while_changes_are_on_their_way_leave_none_half_applied(
    make_installation: Callable[..., Installation], meet: Meet
) -> None:
    made = make_installation()
    made.up()
    made.wait_whole()
    night = begun(made, meet(made, "odile"), seed=1)
    kill_at_each_step(night, ["evaluate", "apply", "roll back"])
    assert sum(night.killed.values()) == 3
    night.ledger.propose("recall_k", 9, actor="root", apply=True)
    assert half_applied(night.ledger) == []
    for forgery, said in FORGED.items():
        asyncio.run(in_database(made, forgery))
        assert any(said in one for one in half_applied(night.ledger)), forgery


FORGED = {
    "UPDATE settings SET value = '10' WHERE key = 'recall_k'": "the database holds",
    "DELETE FROM settings WHERE key = 'recall_k'": "in force: False",
    "UPDATE changes SET state = 'evaluated' WHERE key = 'recall_k' AND state = 'applied'": "its steps say",
}
"""What a step that does half of what it says would leave, and by which words it is noticed."""


async def in_database(made: Installation, statement: str) -> None:
    there = load(made.state, by_root=True)
    connection = await asyncpg.connect(there.database_url, password=kept_password(there))
    try:
        assert await connection.execute(statement) != "UPDATE 0"
    finally:
        await connection.close()


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_kills_at_each_step_at_the_stated_count_leave_none_half_applied(
    make_installation: Callable[..., Installation], meet: Meet, record_property: Callable[[str, object], None]
) -> None:
    made = make_installation(MONGARS_RATE_LIMIT_PER_MINUTE="0")
    made.up()
    made.wait_whole()
    person = meet(made, "odile")
    has_asked(made, "odile", person, conversations=60)
    night = begun(made, person, seed=11)
    kill_at_each_step(night, list(STEPS) * 8)
    changes = night.ledger.all()
    told = {"kills": dict(night.killed), "changes": len(changes), "steps": sum(len(one.steps) for one in changes)}
    record_property("kills", str(told))
    for (step, victim, seen), count in sorted(night.killed.items()):
        print(f"{step:<16} {victim:<12} {seen:<12} {count}")
    print(Counter(change.state.value for change in changes), told["changes"], told["steps"])
    assert sum(night.killed.values()) == 56
    assert {(step, victim) for step, victim, _ in night.killed} == {(s, v) for s in STEPS for v in VICTIMS}
    assert any(step.measured for one in changes if one.proposed.actor == "operator" for step in one.steps), "replayed"
