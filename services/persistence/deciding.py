"""Taking a decision on a change: what it does, and the step that records it, in one transaction."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from libs.shared.contracts.common import Stamp
from libs.shared.contracts.ledger import Change, ChangeRecorded, ChangeState, Decision, Measured, Step, asks_approval
from libs.shared.errors import InvalidRequest
from services.persistence.appliers import Applier, Appliers, applier_of
from services.persistence.ledger import Standing, decide, settings_from
from services.persistence.outbox import CHANGE_KIND
from services.persistence.repositories import ledger, steps, work
from services.persistence.steps import BEFORE_STEPS, Head, StepSigner


@dataclass(frozen=True)
class Said:
    """Who decides, when, why, and on what evidence."""

    stamp: Stamp
    reason: str = ""
    measured: tuple[Measured, ...] = ()
    share: float | None = None


@dataclass(frozen=True)
class Ledger:
    """Records what happens to changes. Whoever calls holds the head's lock until the commit."""

    signer: StepSigner
    appliers: Appliers

    async def record(self, session: AsyncSession, change: Change, state: ChangeState, said: Said) -> Change:
        """The next step of a change, which enters ``state``; the same transaction has to do what it says."""
        head = await ledger.lock_head(session)
        step = self.signer.step(
            Head(head.step_sequence, head.step_hash),
            change,
            state,
            actor=said.stamp.actor,
            at=said.stamp.at,
            reason=said.reason,
            measured=said.measured,
        )
        await steps.append(session, step)
        if state is not ChangeState.PROPOSED:
            change = await ledger.set_state(session, change, state, said.stamp)
        await _announce(session, change, step)
        return change

    async def decide(self, session: AsyncSession, change: Change, decision: Decision, said: Said) -> Change:
        """Raises ChangeConflict, InvalidRequest. A decision that was taken already changes nothing."""
        applier = applier_of(self.appliers, change.kind)
        standing = await _standing(session, change, applier)
        state = decide(change, decision, standing)
        if state is change.state:
            return change
        await self._supersede(session, change, state, standing, said)
        if state is ChangeState.CANARY:
            if said.share is None:
                raise InvalidRequest("the share of the conversations is missing", errors=["share"])
            await steps.start_trial(session, change.change_id, said.share)
        elif change.state is ChangeState.CANARY:
            await steps.end_trial(session)
        await _carry_out(session, change, state, applier, said)
        return await self.record(session, change, state, said)

    async def _supersede(
        self, session: AsyncSession, change: Change, state: ChangeState, standing: Standing, said: Said
    ) -> None:
        """What is tried out against a value that is replaced now goes first."""
        if standing.trial in (None, change.change_id) or state not in (ChangeState.APPLIED, ChangeState.ROLLED_BACK):
            return
        tried = await ledger.find(session, str(standing.trial))
        if tried.key != change.key:
            return
        await steps.end_trial(session)
        reason = f"the change {change.change_id} of the same setting came before its trial was decided"
        await self.record(session, tried, ChangeState.ROLLED_BACK, Said(said.stamp, reason))

    async def adopt(self, session: AsyncSession) -> int:
        """Gives the changes of releases that kept no steps one step each: how they stood. How many."""
        head = await ledger.lock_head(session)
        if head.step_sequence:
            return 0
        found = await steps.without_steps(session)
        position = Head(head.step_sequence, head.step_hash)
        for change in found:
            stamp = change.decided or change.proposed
            step = self.signer.step(position, change, change.state, actor=stamp.actor, at=stamp.at, reason=BEFORE_STEPS)
            await steps.append(session, step)
            position = Head(step.sequence, step.hash)
        return len(found)


async def _standing(session: AsyncSession, change: Change, applier: Applier) -> Standing:
    held = await applier.held(session, change.key)
    trial = await steps.read_trial(session)
    settings, _ = settings_from({row.key: row.value for row in await ledger.read_settings(session)})
    return Standing(
        current=held.value,
        setter=held.setter,
        setter_state=(await ledger.find(session, held.setter)).state if held.setter else None,
        trial=trial.change_id if trial is not None else None,
        asks_approval=asks_approval(settings, change.kind),
    )


async def _carry_out(session: AsyncSession, change: Change, state: ChangeState, applier: Applier, said: Said) -> None:
    if state is ChangeState.APPLIED:
        await applier.apply(session, change, said.stamp.at)
    elif state is ChangeState.ROLLED_BACK and change.state is not ChangeState.CANARY:
        setter = await steps.setter_before(session, change)
        await applier.restore(session, change, setter, said.stamp.at)


async def _announce(session: AsyncSession, change: Change, step: Step) -> None:
    recorded = ChangeRecorded(
        change_id=change.change_id, sequence=change.sequence, state=step.state, hash=change.hash, at=step.at
    )
    message_id = f"{change.change_id}-{step.state.value}"
    await work.add_event(session, message_id, CHANGE_KIND, recorded.model_dump(mode="json"))
