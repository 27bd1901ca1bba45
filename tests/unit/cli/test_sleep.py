"""The night in words."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cli.commands.events import said
from cli.commands.sleep import _phases
from cli.errors import CommandError
from cli.sleeping.changing import REMEDIES, once_decided, settled, value_of
from cli.sleeping.showing import REASONS, facts, how_decided, life_of, outcomes, row, standing
from libs.shared.bus.base import Bus
from libs.shared.bus.memory import MemoryBroker
from libs.shared.contracts.base import Principal
from libs.shared.contracts.common import Stamp
from libs.shared.contracts.ledger import (
    LIST_CHANGES,
    READ_SETTINGS,
    Change,
    Changes,
    ChangeState,
    ListChanges,
    Measured,
    ReadSettings,
    SettingsRead,
    Step,
)
from libs.shared.contracts.runtime_settings import RuntimeSettings
from libs.shared.contracts.sleep import (
    AnswerEnergy,
    Cycle,
    CycleState,
    Energy,
    Phase,
    PhaseOutcome,
    PhaseProgress,
    PhaseState,
    SleepStatus,
)
from libs.shared.errors import ChangeConflict, ChangeNotFound, InvalidRequest, SettingUnknown
from services.optimizer.idleness import deciding

BEGUN = datetime(2026, 5, 4, 2, 0, tzinfo=UTC)
DONE = PhaseOutcome(
    phase=Phase.LIGHT,
    state=PhaseState.DONE,
    done="2 duplicates merged",
    took_s=90.0,
    held_s=30.0,
    energy=Energy(joules=120.0, source="measured"),
    changes=("c1",),
)
RUNNING = PhaseOutcome(
    phase=Phase.DEEP, state=PhaseState.RUNNING, progress=PhaseProgress(doing="replaying", step=3, steps=40)
)
CYCLE = Cycle(cycle_id="0123456789abcdef", state=CycleState.RUNNING, begun_at=BEGUN, phases=(DONE, RUNNING))


def ended(state: CycleState, reason: str = "") -> Cycle:
    return CYCLE.model_copy(update={"state": state, "reason": reason, "ended_at": BEGUN + timedelta(minutes=5)})


def test_where_a_cycle_stands_is_one_line() -> None:
    assert standing(CYCLE) == "deep phase, replaying, 3/40"
    assert standing(CYCLE, ("request",)) == "deep phase, replaying, 3/40, makes way: somebody waits for an answer"
    assert standing(ended(CycleState.WOKEN, "many_requests")) == "woken: many requests came in the last minutes"
    assert said("sleep.changed", CYCLE.model_dump(mode="json")) == "sleep 0123456789ab: deep phase, replaying, 3/40"


def test_a_cycle_is_listed_with_what_its_phases_did_and_drew() -> None:
    assert row(ended(CycleState.DONE))[3:5] == ("5 min", "light done, deep running")
    assert next(outcomes(CYCLE)) == (
        "light: done; 2 duplicates merged; 90 s, of which 30 s making way; 120.0 J measured; changes: c1"
    )


def test_how_it_stands_says_honestly_that_there_is_nothing_to_do() -> None:
    nothing = dict(facts(SleepStatus(enabled=True, phases=(), idle=True)))
    assert nothing["awake"].startswith("there is nothing to do")
    waiting = SleepStatus(
        enabled=True,
        phases=(Phase.LIGHT,),
        idle=False,
        reasons=("hot",),
        expected_quiet_s=7200.0,
        answers=AnswerEnergy(per_answer_j=4.0, answers=30, source="measured", saved_j=15.0),
    )
    told = dict(facts(waiting))
    assert (told["awake"], told["forecast"]) == ("the machine is hot", "quiet for about 2.0 h")
    assert told["answers"] == "4.0 J each, measured; 15 J saved since the last cycle with changes"


def test_a_change_is_shown_with_why_by_whom_and_what_was_measured() -> None:
    loss = Measured(
        measure="recall_evidence", by="watch", before=0.9, after=0.0, low=-1, high=-0.18, samples=11, unit="pairs"
    )
    stamp = Stamp(actor="root", at=BEGUN)
    step = Step(
        sequence=2,
        change_id="c1",
        change_hash="1" * 64,
        state=ChangeState.ROLLED_BACK,
        at=BEGUN,
        actor="optimizer",
        reason="less is found",
        measured=(loss,),
        previous_hash="0" * 64,
        hash="2" * 64,
        key="k",
        signature="s",
    )
    change = Change(
        change_id="c1",
        sequence=1,
        key="recall_k",
        before=8,
        after=0,
        reason="shorter",
        state=ChangeState.ROLLED_BACK,
        proposed=stamp,
        previous_hash="0" * 64,
        hash="1" * 64,
        steps=(step,),
    )
    told = list(life_of(change))
    assert told[:3] == ["c1: setting recall_k, rolled back", "  before  8", "  after   0"]
    assert told[3].endswith("rolled back by optimizer: less is found")
    assert told[4].strip() == "recall_evidence by watch: 0.9 before, 0 after (95 % -1 to -0.18; 11 compared)"


def test_every_reason_that_is_decided_by_has_its_words() -> None:
    source = deciding.__loader__.get_source(deciding.__name__)  # type: ignore[union-attr]
    for reason in ("request_in_flight", "recent_request", "many_requests", "visit_expected", "quiet_hours", "busy"):
        assert f'"{reason}"' in source
        assert reason in REASONS


def test_a_phase_that_there_is_not_is_refused_before_anything_is_asked() -> None:
    assert _phases(["light", "deep"]) == (Phase.LIGHT, Phase.DEEP)
    with pytest.raises(CommandError, match="no such phase"):
        _phases(["nap"])


def ledger_entry(state: ChangeState, reason: str = "") -> Change:
    stamp = Stamp(actor="optimizer", at=BEGUN)
    step = Step(
        sequence=2,
        change_id="c1",
        change_hash="1" * 64,
        state=state,
        at=BEGUN,
        actor="optimizer",
        reason=reason,
        previous_hash="0" * 64,
        hash="2" * 64,
        key="k",
        signature="s",
    )
    return Change(
        change_id="c1",
        sequence=1,
        key="recall_k",
        before=8,
        after=0,
        reason="shorter",
        state=state,
        proposed=stamp,
        previous_hash="0" * 64,
        hash="1" * 64,
        steps=(step,),
    )


def test_what_a_cycle_proposed_is_told_by_what_became_of_it() -> None:
    assert how_decided(ledger_entry(ChangeState.REJECTED, "too few"), waits=False) == "c1: recall_k, rejected: too few"
    waiting = how_decided(ledger_entry(ChangeState.EVALUATED, "better"), waits=True)
    assert waiting == "c1: recall_k, evaluated; an administrator decides: mongars sleep approve c1"


@pytest.mark.parametrize("state", list(ChangeState))
def test_a_change_is_waited_for_until_it_is_in_force_or_refused(state: ChangeState) -> None:
    waits = {ChangeState.PROPOSED, ChangeState.EVALUATED, ChangeState.APPROVED}
    assert settled(ledger_entry(state)) is (state not in waits)


@pytest.mark.parametrize(
    ("text", "value"),
    [("6", 6), ("0.3", 0.3), ("true", True), ("null", None), ('{"terms": 0.5}', {"terms": 0.5}), ("power_of_two",) * 2],
)
def test_a_value_is_json_or_a_plain_word(text: str, value: object) -> None:
    assert value_of(text) == value


def test_every_refusal_of_the_ledger_has_its_remedy() -> None:
    refusals = (ChangeConflict, ChangeNotFound, InvalidRequest, SettingUnknown)
    assert {one.code for one in refusals} == set(REMEDIES)


async def standing_in(
    monkeypatch: pytest.MonkeyPatch, state: ChangeState, said: list[str], **settings: Any
) -> tuple[bool, bool]:
    """(is settled, waits for an administrator), as it is told of a change in that state."""
    broker = MemoryBroker()
    persistence, command = await broker.connect(Principal.PERSISTENCE), await broker.connect(Principal.CLI)

    async def listed(_: ListChanges) -> Changes:
        return Changes(changes=(ledger_entry(state),))

    async def read(_: ReadSettings) -> SettingsRead:
        return SettingsRead(settings=RuntimeSettings(**settings))

    @asynccontextmanager
    async def as_command(_: object) -> AsyncIterator[Bus]:
        yield command

    await persistence.serve(LIST_CHANGES, listed)
    await persistence.serve(READ_SETTINGS, read)
    monkeypatch.setattr("cli.bus.as_command", as_command)
    installation: Any = None  # what is asked is asked over the bus alone
    ((change, waits),) = await once_decided(installation, ["c1"], said.append, limit_s=0.6)
    for bus in (persistence, command):
        await bus.drain(1)
    return settled(change), waits


async def test_what_is_never_decided_is_waited_for_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    assert await standing_in(monkeypatch, ChangeState.PROPOSED, said) == (False, False)
    assert said[0] == "waits until recall_k is decided"


async def test_what_an_administrator_has_to_allow_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    assert await standing_in(monkeypatch, ChangeState.EVALUATED, said, approval="settings") == (False, True)
    assert await standing_in(monkeypatch, ChangeState.APPLIED, said) == (True, False)
    assert said == []
