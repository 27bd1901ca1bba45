"""A change from its proposal to its end: each step is signed, one is under way at a time, and people come first."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from libs.shared.contracts.ledger import (
    DECIDE_CHANGE,
    LEDGER_CHANGED,
    LIST_CHANGES,
    OPTIMIZER_ACTOR,
    PROPOSE_CHANGE,
    READ_SETTINGS,
    VERIFY_LEDGER,
    Change,
    ChangeKind,
    ChangeRecorded,
    ChangeState,
    DecideChange,
    Decision,
    LedgerVerified,
    ListChanges,
    Measured,
    ProposeChange,
    ReadSettings,
    SettingsRead,
    VerifyLedger,
)
from libs.shared.errors import ChangeConflict, InvalidRequest
from services.persistence import steps as rules
from tests.support.persistence import Client, RunningPersistence

GAIN = Measured(measure="coverage", by="replay", before=0.5, after=0.6, low=0.05, high=0.15, samples=40)


async def propose(
    client: Client, value: Any, *, key: str = "recall_k", actor: str = OPTIMIZER_ACTOR, apply: bool = False
) -> Change:
    request = ProposeChange(key=key, value=value, actor=actor, apply=apply, reason="because")
    return await client.bus.request(PROPOSE_CHANGE, request)


async def decide(
    client: Client, change: Change, *decisions: Decision, actor: str = OPTIMIZER_ACTOR, share: float = 0.2
) -> Change:
    for decision in decisions:
        asked = DecideChange(
            change_id=change.change_id,
            decision=decision,
            actor=actor,
            reason=f"{decision.value} it",
            measured=(GAIN,),
            share=share if decision is Decision.TRY_OUT else None,
        )
        change = await client.bus.request(DECIDE_CHANGE, asked)
    return change


async def read(client: Client, change: Change) -> Change:
    asked = ListChanges(limit=1, change_id=change.change_id, steps=True)
    (found,) = (await client.bus.request(LIST_CHANGES, asked)).changes
    return found


async def in_force(client: Client) -> SettingsRead:
    return await client.bus.request(READ_SETTINGS, ReadSettings())


async def verified(client: Client) -> LedgerVerified:
    return await client.bus.request(VERIFY_LEDGER, VerifyLedger())


async def whole(client: Client) -> bool:
    found = await verified(client)
    return found.broken_at is None and found.entry_broken_at is None


async def test_a_change_lives_from_proposal_to_kept_and_every_step_says_why(client: Client) -> None:
    change = await propose(client, 6)
    await decide(client, change, Decision.ACCEPT, Decision.TRY_OUT)
    tried = await in_force(client)
    assert tried.settings.recall_k == 8
    assert tried.trial is not None
    assert (tried.trial.change_id, tried.trial.value, tried.trial.share) == (change.change_id, 6, 0.2)
    assert (await read(client, change)).in_force
    await decide(client, change, Decision.APPLY)
    applied = await in_force(client)
    assert (applied.settings.recall_k, applied.trial, applied.last_change) == (6, None, change.change_id)
    await decide(client, change, Decision.KEEP)
    told = await read(client, change)
    assert [step.state.value for step in told.steps] == ["proposed", "evaluated", "canary", "applied", "kept"]
    assert [step.reason for step in told.steps] == ["because", "accept it", "try_out it", "apply it", "keep it"]
    assert told.steps[1].measured == (GAIN,)
    found = await verified(client)
    assert (found.changes, found.steps, found.broken_at, found.entry_broken_at) == (1, 5, None, None)
    await decide(client, change, Decision.ROLL_BACK)
    assert (await in_force(client)).settings.recall_k == 8


async def test_each_decision_is_told_at_once_to_whoever_looks_at_the_ledger(client: Client) -> None:
    told: asyncio.Queue[ChangeRecorded] = asyncio.Queue()
    await client.bus.subscribe(LEDGER_CHANGED, told.put)
    change = await decide(client, await propose(client, 6), Decision.ACCEPT, Decision.APPLY)
    async with asyncio.timeout(5):
        heard = [await told.get() for _ in range(3)]
    assert {one.change_id for one in heard} == {change.change_id}
    assert [one.state.value for one in heard] == ["proposed", "evaluated", "applied"]
    assert change.decided is not None
    assert heard[-1].at == change.decided.at


async def test_what_was_measured_before_it_was_proposed_stands_in_its_first_step(client: Client) -> None:
    request = ProposeChange(key="recall_k", value=6, actor=OPTIMIZER_ACTOR, measured=(GAIN,))
    change = await client.bus.request(PROPOSE_CHANGE, request)
    assert [step.measured for step in (await read(client, change)).steps] == [(GAIN,)]
    assert await whole(client)


async def test_changes_are_listed_by_when_they_were_decided(client: Client) -> None:
    old, other = await propose(client, 6, actor="operator"), await propose(client, 5, actor="operator")
    rejected = await decide(client, other, Decision.REJECT, actor="root")
    late = await decide(client, old, Decision.APPROVE, actor="root")
    assert late.decided is not None
    assert rejected.decided is not None

    async def since(at: datetime) -> list[str]:
        found = await client.bus.request(LIST_CHANGES, ListChanges(decided_since=at))
        return [one.change_id for one in found.changes]

    assert await since(late.decided.at) == [old.change_id]
    assert await since(rejected.decided.at) == [other.change_id, old.change_id]
    assert await since(late.decided.at + timedelta(seconds=1)) == []


async def test_deciding_the_same_again_changes_nothing(client: Client) -> None:
    change = await propose(client, 6)
    for decision in (Decision.ACCEPT, Decision.TRY_OUT, Decision.APPLY, Decision.KEEP, Decision.ROLL_BACK):
        once, again = [await decide(client, change, decision) for _ in range(2)]
        assert once == again
    assert len((await read(client, change)).steps) == 6
    assert await whole(client)


async def test_a_rolled_back_trial_leaves_nothing_behind(client: Client) -> None:
    change = await propose(client, 6)
    await decide(client, change, Decision.ACCEPT, Decision.TRY_OUT, Decision.ROLL_BACK)
    found = await in_force(client)
    assert (found.settings.recall_k, found.trial) == (8, None)


async def test_what_the_optimizer_proposes_is_not_applied_unmeasured(client: Client) -> None:
    change = await propose(client, 6)
    for decision in (Decision.APPLY, Decision.TRY_OUT, Decision.KEEP):
        with pytest.raises(ChangeConflict):
            await decide(client, change, decision)
    with pytest.raises(ChangeConflict):
        await decide(client, change, Decision.APPROVE, actor="admin")
    with pytest.raises(InvalidRequest):
        await propose(client, 5, key="recall_min_score", apply=True)
    assert (await in_force(client)).settings.recall_k == 8


async def test_the_optimizer_touches_nothing_that_people_alone_set(client: Client) -> None:
    for key, value in (("remote_models", True), ("approval", "none")):
        with pytest.raises(InvalidRequest):
            await propose(client, value, key=key)


async def test_one_change_of_a_key_is_under_way_and_one_trial(client: Client) -> None:
    change = await propose(client, 6)
    with pytest.raises(ChangeConflict) as refused:
        await propose(client, 5)
    assert refused.value.data["last_change"] == change.change_id
    await decide(client, change, Decision.ACCEPT, Decision.TRY_OUT)
    other = await decide(client, await propose(client, 0.3, key="recall_min_score"), Decision.ACCEPT)
    with pytest.raises(ChangeConflict):
        await decide(client, other, Decision.TRY_OUT)
    await decide(client, change, Decision.APPLY)
    await decide(client, other, Decision.TRY_OUT)


async def test_an_admins_edit_ends_the_trial_of_the_same_setting_in_the_same_moment(client: Client) -> None:
    change = await decide(client, await propose(client, 6), Decision.ACCEPT, Decision.TRY_OUT)
    edit = await propose(client, 3, actor="admin", apply=True)
    found = await in_force(client)
    assert (found.settings.recall_k, found.trial, found.last_change) == (3, None, edit.change_id)
    ended = await read(client, change)
    assert ended.state is ChangeState.ROLLED_BACK
    assert edit.change_id in ended.steps[-1].reason
    assert await whole(client)


async def test_a_watched_edit_lets_the_optimizer_wait(client: Client) -> None:
    await propose(client, 3, actor="admin", apply=True)
    change = await decide(client, await propose(client, 6), Decision.ACCEPT)
    with pytest.raises(ChangeConflict, match="watched"):
        await decide(client, change, Decision.TRY_OUT)


async def test_where_the_policy_asks_an_admin_allows_it_first(client: Client) -> None:
    await propose(client, "settings", key="approval", actor="admin", apply=True)
    change = await decide(client, await propose(client, 6), Decision.ACCEPT)
    with pytest.raises(ChangeConflict, match="administrator"):
        await decide(client, change, Decision.TRY_OUT)
    assert (await decide(client, change, Decision.APPROVE, actor="admin")).state is ChangeState.APPROVED
    await decide(client, change, Decision.TRY_OUT, Decision.APPLY)
    assert (await in_force(client)).settings.recall_k == 6


async def test_a_kept_change_is_restored_when_a_later_one_is_rolled_back(client: Client) -> None:
    first = await decide(client, await propose(client, 6), Decision.ACCEPT, Decision.APPLY, Decision.KEEP)
    edit = await propose(client, 3, actor="admin", apply=True)
    with pytest.raises(ChangeConflict):
        await decide(client, first, Decision.ROLL_BACK)
    await decide(client, edit, Decision.ROLL_BACK)
    found = await in_force(client)
    assert (found.settings.recall_k, found.last_change) == (6, first.change_id)


async def test_a_value_that_its_kind_does_not_take_is_refused(client: Client) -> None:
    for value in ("a generation", {"generation": "g1", "commitment": "short"}):
        request = ProposeChange(kind=ChangeKind.DIGEST, key="digest:u1", value=value, actor=OPTIMIZER_ACTOR)
        with pytest.raises(InvalidRequest, match="generation"):
            await client.bus.request(PROPOSE_CHANGE, request)
    assert (await verified(client)).changes == 0


async def test_changes_are_listed_by_state_and_key(client: Client) -> None:
    change = await propose(client, 6)
    edit = await propose(client, True, key="hedging", actor="admin", apply=True)

    async def listed(**asked: Any) -> list[str]:
        found = await client.bus.request(LIST_CHANGES, ListChanges(**asked))
        return [one.change_id for one in found.changes]

    assert await listed(state=ChangeState.APPLIED) == [edit.change_id]
    assert await listed(key="recall_k") == [change.change_id]
    await decide(client, edit, Decision.KEEP)
    assert await listed(in_flight=True) == [change.change_id]


@pytest.mark.parametrize(
    "forgery",
    [
        "UPDATE change_steps SET reason = 'forged' WHERE sequence = 2",
        "UPDATE change_steps SET signature = (SELECT max(signature) FROM change_steps)",
        "DELETE FROM change_steps WHERE sequence = 2",
        "DELETE FROM change_steps WHERE sequence = 3",
        "UPDATE changes SET state = 'kept'",
        "UPDATE change_steps SET measured = '[]' WHERE sequence = 2",
    ],
)
async def test_whatever_is_forged_in_the_database_is_found(
    forgery: str, client: Client, persistence: RunningPersistence
) -> None:
    await decide(client, await propose(client, 6), Decision.ACCEPT, Decision.APPLY)
    assert await whole(client)
    async with persistence.parts.database.transaction() as session:
        await session.execute(text(forgery))
    assert not await whole(client)


async def test_changes_from_before_steps_were_kept_get_one_that_says_so(
    client: Client, persistence: RunningPersistence
) -> None:
    edits = [await propose(client, k, actor="admin", apply=True) for k in (3, 4)]
    waiting = await propose(client, 5, actor="operator")
    async with persistence.parts.database.transaction() as session:
        await session.execute(text("DELETE FROM change_steps"))
        await session.execute(text("UPDATE ledger_head SET step_sequence = 0, step_hash = repeat('0', 64)"))
    async with persistence.parts.database.transaction() as session:
        assert await persistence.parts.ledger.adopt(session) == 3
    async with persistence.parts.database.transaction() as session:
        assert await persistence.parts.ledger.adopt(session) == 0
    told = [await read(client, change) for change in (*edits, waiting)]
    assert [[step.state for step in one.steps] for one in told] == [[one.state] for one in told]
    assert {step.reason for one in told for step in one.steps} == {rules.BEFORE_STEPS}
    assert await whole(client)
    await decide(client, edits[1], Decision.ROLL_BACK, actor="admin")
    assert (await in_force(client)).settings.recall_k == 3


async def test_steps_made_at_once_form_one_chain(client: Client) -> None:
    changes = [await propose(client, k, actor="operator") for k in range(6)]
    await asyncio.gather(*(decide(client, change, Decision.REJECT, actor="admin") for change in changes))
    found = await verified(client)
    assert (found.steps, found.broken_at) == (12, None)
