"""The light phase: what was remembered since the last night is digested, and put before the ledger.

User by user: open a generation → read memories that lack a digest → digest them in the child process → embed their
sentences where a node has room → write them, sealed by persistence → commit → propose. Each batch is kept as soon as it
is written, so that a life that ends anywhere goes on from there; what was digested stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from libs.shared.bus.base import Bus
from libs.shared.contracts.base import Principal
from libs.shared.contracts.common import Id
from libs.shared.contracts.digests import (
    BEGIN_DIGESTS,
    KEEP_DIGESTS,
    KEY,
    LIST_UNDIGESTED,
    READ_UNDIGESTED,
    SEAL_DIGESTS,
    BeginDigests,
    Digest,
    Generation,
    GenerationRef,
    InForceValue,
    KeepDigests,
    ListUndigested,
    ReadUndigested,
)
from libs.shared.contracts.inference import EMBED, EmbedRequest
from libs.shared.contracts.ledger import (
    DECIDE_CHANGE,
    LIST_CHANGES,
    PROPOSE_CHANGE,
    ChangeKind,
    ChangeState,
    DecideChange,
    Decision,
    ListChanges,
    ProposeChange,
)
from libs.shared.contracts.scheduling import PLACE_JOB, PlaceJob
from libs.shared.contracts.sleep import PhaseProgress
from libs.shared.errors import ModelNotFound, NoModel, NoNode, Overloaded, Preempted, TimedOut, Unavailable
from libs.shared.telemetry import get_logger
from services.optimizer.digesting.making import RECIPE, Made, Said, Telling, in_bytes, payload_of
from services.optimizer.digesting.measuring import Tally, helps, measured
from services.optimizer.phases.base import Job, PhaseReport, PhaseWork

JOB = "digest"
BATCH = 100
"""Memories that are read, digested and written together."""
EMBEDDED_AT_ONCE = 32
"""Sentences: a request that comes meanwhile waits for no more."""
RESERVE_S = 20.0
"""Of the phase's time, what is left for the end of a batch."""
UNDECIDED = frozenset(
    {ChangeState.PROPOSED, ChangeState.EVALUATED, ChangeState.APPROVED, ChangeState.CANARY, ChangeState.APPLIED}
)
"""While the watch looks at one generation, no other is made: it would be undone with it."""

NOTHING = Tally()
AWAY = (ModelNotFound, NoModel, NoNode, Overloaded, Preempted, TimedOut, Unavailable)
"""What only says that sentences can't be embedded now."""

log = get_logger(__name__)


class NoRoom(Exception):
    """No node may embed what nobody waits for; another night will."""


@dataclass(frozen=True)
class Night:
    """What became of one user's memories."""

    digests: int = 0
    sealed_bytes: int = 0
    tally: Tally = NOTHING
    change: Id | None = None
    left: bool = False
    """There was more to do than time, or no node had room."""
    reason: str = ""

    def plus(self, other: Night) -> Night:
        """Both together; the change and the reason are of one user alone."""
        return Night(
            self.digests + other.digests,
            self.sealed_bytes + other.sealed_bytes,
            self.tally.plus(other.tally),
            left=self.left or other.left,
        )


async def propose(work: PhaseWork) -> PhaseReport:
    """Digests what waits, and proposes each user's generation. Raises ServiceError, JobFailed."""
    await work.clear()
    waiting = (await work.bus.request(LIST_UNDIGESTED, ListUndigested(recipe=RECIPE))).waiting
    together, changes, reasons = Night(), list[Id](), set[str]()
    for number, user_id in enumerate(waiting):
        if work.seconds_left < RESERVE_S:
            together = replace(together, left=True)
            break
        work.tell(PhaseProgress(doing="digesting memories", step=number, steps=len(waiting)))
        night = await _of_user(work, user_id)
        together = together.plus(night)
        changes += [night.change] if night.change else []
        reasons |= {night.reason} if night.reason else set()
    log.info("digested", users=len(waiting), digests=together.digests, proposals=len(changes), left=together.left)
    said = _said(together, len(changes), sorted(reasons))
    return PhaseReport(said, tuple(changes), figures=_figures(together), left=together.left)


async def _of_user(work: PhaseWork, user_id: str) -> Night:
    """Nothing while an earlier generation waits for a decision: it would take that one's place."""
    if await _undecided(work, user_id):
        return Night(reason="an earlier generation waits for its decision")
    await work.clear()
    generation = await work.bus.request(BEGIN_DIGESTS, BeginDigests(user_id=user_id, recipe=RECIPE))
    night = await _written(work, user_id, generation)
    if night.left or (reason := helps(night.tally)) is not None:
        return night if night.left else replace(night, reason=reason or "")
    return await _proposed(work, user_id, generation, night)


async def _undecided(work: PhaseWork, user_id: str) -> bool:
    await work.clear()
    found = await work.bus.request(LIST_CHANGES, ListChanges(key=KEY + user_id, limit=1))
    return any(change.key == KEY + user_id and change.state in UNDECIDED for change in found.changes)


async def _written(work: PhaseWork, user_id: str, generation: Generation) -> Night:
    """Batch by batch, until none is left to read or the time is over; what earlier nights measured of it counts too."""
    night = Night(tally=_measured_before(work, generation))
    while work.seconds_left > RESERVE_S:
        await work.clear()
        asked = ReadUndigested(user_id=user_id, generation_id=generation.generation_id, limit=BATCH)
        memories = (await work.bus.request(READ_UNDIGESTED, asked)).memories
        if not memories:
            return night
        said = [Said.model_validate(memory.model_dump()) for memory in memories]
        made = Made.model_validate_json(await work.compute(Job(JOB, payload_of(said))))
        try:
            digests = await _embedded(work, made.tellings, generation.embedder)
        except (NoRoom, *AWAY):
            return replace(night, left=True)
        await work.clear()
        keeping = KeepDigests(user_id=user_id, generation_id=generation.generation_id, digests=tuple(digests))
        kept = await work.bus.request(KEEP_DIGESTS, keeping)
        night = night.plus(Night(kept.count, kept.sealed_bytes, made.tally))
        _file(work, generation).write_text(night.tally.model_dump_json())
        if not kept.count:  # all of it was forgotten or edited meanwhile, or can't be sealed: another night
            return replace(night, left=True)
    return replace(night, left=True)


def _file(work: PhaseWork, generation: Generation) -> Path:
    """Sums alone: of a generation that is being written, which may take several nights."""
    return work.folder / f"{generation.generation_id}.json"


def _measured_before(work: PhaseWork, generation: Generation) -> Tally:
    """Nothing, where the file is missing or was cut short: then this night's memories alone are measured."""
    try:
        return Tally.model_validate_json(_file(work, generation).read_text())
    except (OSError, ValueError):
        return NOTHING


async def _embedded(work: PhaseWork, tellings: Sequence[Telling], embedder: str | None) -> list[Digest]:
    """With a vector a sentence, where the user's memory has an embedder. Raises NoRoom."""
    sentences = list(dict.fromkeys(sentence for one in tellings for sentence in one.said)) if embedder else []
    vectors: dict[str, bytes] = {}
    for start in range(0, len(sentences), EMBEDDED_AT_ONCE):
        some = sentences[start : start + EMBEDDED_AT_ONCE]
        await work.clear()
        vectors.update(zip(some, await _vectors(work.bus, some, str(embedder)), strict=True))
    return [
        Digest(
            message_id=one.message_id,
            version=one.version,
            sentences=one.read,
            vectors=in_bytes([vectors[sentence] for sentence in one.said]) if vectors else b"",
            keys=one.keys,
        )
        for one in tellings
    ]


async def _vectors(bus: Bus, sentences: Sequence[str], embedder: str) -> tuple[bytes, ...]:
    """Made where the scheduler finds room for work that nobody waits for. Raises NoRoom, Preempted."""
    placed = await bus.request(PLACE_JOB, PlaceJob(model=embedder.partition("@")[0]))
    if placed.placement is None:
        raise NoRoom("no node has room to embed digests")
    request = EmbedRequest(model=placed.placement.model.name, texts=tuple(sentences), background=True)
    found = await bus.request(EMBED, request, replica=placed.placement.replica)
    if found.embedder != embedder:
        raise NoRoom("no node embeds as this memory was embedded")
    return found.vectors


async def _proposed(work: PhaseWork, user_id: str, generation: Generation, night: Night) -> Night:
    await work.clear()
    ref = GenerationRef(user_id=user_id, generation_id=generation.generation_id)
    sealed = await work.bus.request(SEAL_DIGESTS, ref)
    assert sealed.commitment is not None
    value = InForceValue(generation=sealed.generation_id, commitment=sealed.commitment)
    change = await work.bus.request(
        PROPOSE_CHANGE,
        ProposeChange(
            kind=ChangeKind.DIGEST,
            key=KEY + user_id,
            value=value.model_dump(mode="json"),
            reason=f"{night.digests} digests by {RECIPE}: fewer tokens for what was said",
            actor=Principal.OPTIMIZER,
        ),
    )
    await work.bus.request(
        DECIDE_CHANGE,
        DecideChange(
            change_id=change.change_id,
            decision=Decision.ACCEPT,
            actor=Principal.OPTIMIZER,
            reason="measured on the memories themselves",
            measured=measured(night.tally),
        ),
    )
    _file(work, generation).unlink(missing_ok=True)
    return replace(night, change=change.change_id)


def _said(night: Night, proposals: int, reasons: Sequence[str]) -> str:
    """And why a generation was not proposed; the first reasons alone, where users have many."""
    why = f" (not proposed: {'; '.join(reasons[:3])})" if reasons else ""
    if not night.digests:
        return ("no memory waits for a digest" if not night.left else "no node had room for digests") + why
    return f"{night.digests} memories digested, {proposals} generations proposed{why}"


def _figures(night: Night) -> dict[str, float]:
    found = {"digests": float(night.digests), "sealed_bytes": float(night.sealed_bytes)}
    if night.tally.memories:
        tokens, kept = measured(night.tally)
        found |= {"tokens_before": tokens.before, "tokens_after": tokens.after, "words_kept": kept.after}
    return found
