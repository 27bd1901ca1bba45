"""What a forgetting takes out of the database, in one transaction: rows, facts, pieces of the index, mentions; and what
it taints.

No key is destroyed here. What a doomed key sealed beside the forgotten is sealed anew first; the slots are returned,
to be destroyed after the commit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from libs.shared.contracts.common import Position
from libs.shared.contracts.forgetting import Removed
from libs.shared.sealing import Unreadable, seal, unseal
from services.persistence.asking_again import ask_again
from services.persistence.parts import Parts
from services.persistence.repositories import accounts, digests, forgetting, ratings, removal, segments, trained
from services.persistence.repositories.forgetting import Promise
from services.persistence.repositories.removal import Doomed, SealedSibling
from services.persistence.repositories.trained import Cause, Kind
from services.persistence.sealing import UserKeys
from services.persistence.slot_file import KeyGone
from services.persistence.supersession import ends_without


@dataclass
class Taken:
    """What went so far."""

    slots: set[int] = field(default_factory=set)
    ordinals: list[int] = field(default_factory=list)
    positions: tuple[Position, ...] = ()
    messages: int = 0
    conversations: int = 0
    facts: int = 0
    vectors: int = 0
    terms: int = 0
    index_segments: int = 0
    jobs: int = 0
    quarantined: int = 0
    asks_again: bool = False
    """The outbox has jobs for what was sealed anew."""
    adapters: set[str] = field(default_factory=set)
    """Those that were trained on any of it: tainted from now on."""
    cause: Cause = Cause.FORGOTTEN

    def removed(self, used_slots: frozenset[int]) -> Removed:
        """For the receipt; of the slots those count that hold a key."""
        return Removed(
            data_keys=len(self.slots & used_slots),
            messages=self.messages,
            conversations=self.conversations,
            facts=self.facts,
            vectors=self.vectors,
            terms=self.terms,
            index_segments=self.index_segments,
            jobs=self.jobs,
            stream_messages=len(self.positions),
            quarantined=self.quarantined,
        )


async def take(driver: Any, promise: Promise, parts: Parts) -> Taken:
    """Removes what was promised; what is gone already takes nothing."""
    # in the order in which others take them: who adds to the index has its lock first
    await segments.lock(driver, promise.user_id)
    await forgetting.lock_user(driver, promise.user_id)
    taken = Taken()
    if promise.scope == "memory":
        await _take_memory(driver, promise.user_id, promise.subject_id, taken, parts)
    elif promise.scope == "fact":
        await _take_facts(driver, promise.user_id, [promise.subject_id], taken)
    elif promise.scope in ("conversation", "document"):
        await _take_conversation(driver, promise.user_id, promise.subject_id, taken, parts)
    else:
        await _take_everything(driver, promise.user_id, taken, parts)
        if promise.scope == "account":
            taken.slots |= await removal.remove_user(driver, promise.user_id)
    return taken


async def take_derived(driver: Any, user_id: str, doomed: Sequence[Doomed], taken: Taken, parts: Parts) -> None:
    """What was made from these messages: facts, digests, places in the index, jobs, mentions; adapters trained on them
    are tainted. The messages stay."""
    turns = sorted({message.turn_id for message in doomed})
    await digests.remove_of_turns(driver, user_id, turns)
    taken.adapters.update(await trained.taint(driver, parts.keys, Kind.TURN, turns, taken.cause, parts.clock()))
    ids = [message.message_id for message in doomed]
    await _take_facts(driver, user_id, await removal.facts_without_source(driver, user_id, ids), taken)
    taken.ordinals += [message.ordinal for message in doomed]
    rewritten = await parts.indexes.take_out(driver, user_id, taken.ordinals)
    taken.slots |= rewritten.old_slots
    taken.index_segments += rewritten.segments
    taken.terms += rewritten.terms
    taken.vectors += rewritten.vectors
    taken.jobs += await removal.remove_mentions(driver, user_id, ids)


async def _take_facts(driver: Any, user_id: str, fact_ids: Sequence[str], taken: Taken) -> None:
    """Removes facts; those that they superseded get the end that they would have without them."""
    if not fact_ids:
        return
    changes = ends_without(await removal.ends_around(driver, user_id, fact_ids), frozenset(fact_ids))
    slots = await removal.remove_facts(driver, user_id, fact_ids)
    taken.slots |= slots
    taken.facts += len(slots)
    if changes:
        await removal.change_ends(driver, user_id, changes)


async def _take_memory(driver: Any, user_id: str, message_id: str, taken: Taken, parts: Parts) -> None:
    doomed = await removal.message(driver, user_id, message_id)
    if doomed is None:
        return
    await take_derived(driver, user_id, [doomed], taken, parts)
    taken.positions = await removal.position_of_turn(driver, doomed.turn_id, parts.clock())
    user = await accounts.keys_of(driver, parts.keys, user_id)
    left = await removal.siblings(driver, doomed)
    if left:
        await _seal_anew(driver, doomed.turn_id, left, user, parts)
        ids = [one.message_id for one in left]
        taken.asks_again = await ask_again(driver, user_id, ids, doomed.conversation_id, parts)
    else:
        await forgetting.bury_turn(driver, doomed.turn_id, parts.clock())
    await ratings.remove(driver, doomed.turn_id)
    taken.slots |= await removal.remove_message(driver, doomed, with_turn=not left)
    taken.conversations, titles = await removal.remove_if_empty(driver, doomed.conversation_id)
    taken.slots |= titles
    taken.messages = 1


async def _seal_anew(driver: Any, turn_id: str, left: Sequence[SealedSibling], user: UserKeys, parts: Parts) -> None:
    """A fresh key for what stays of a turn. If the transaction fails, its slot is taken back as an unused one."""
    slot, key = await parts.keys.new_data_key(user)
    parts.unused_keys.handed_out(slot, monotonic())
    await removal.reseal(driver, turn_id, slot, [_sealed_anew(one, key, user, parts) for one in left])


def _sealed_anew(sibling: SealedSibling, key: bytes, user: UserKeys, parts: Parts) -> SealedSibling:
    try:
        old = parts.keys.data_key(user, sibling.slot)
        text = seal(key, unseal(old, sibling.text))
        about = None if sibling.about is None else seal(key, unseal(old, sibling.about))
    except (KeyGone, Unreadable):
        return sibling  # its key was lost before: nothing can be saved, and nothing more is lost
    return SealedSibling(sibling.message_id, sibling.slot, text, about)


async def _take_conversation(driver: Any, user_id: str, conversation_id: str, taken: Taken, parts: Parts) -> None:
    doomed = await removal.messages_of(driver, user_id, conversation_id)
    if doomed:
        await take_derived(driver, user_id, doomed, taken, parts)
    taken.messages = len(doomed)
    taken.positions = await removal.positions_of_conversation(driver, conversation_id, parts.clock())
    taken.jobs += await removal.remove_jobs_of_conversation(driver, user_id, conversation_id)
    taken.quarantined, slots = await removal.remove_quarantined_of_conversation(driver, user_id, conversation_id)
    taken.slots |= slots
    taken.conversations, slots = await removal.remove_conversation(driver, conversation_id)
    taken.slots |= slots


async def _take_everything(driver: Any, user_id: str, taken: Taken, parts: Parts) -> None:
    now = parts.clock()
    await forgetting.bury_conversations(driver, user_id, now)
    taken.adapters.update(await trained.taint(driver, parts.keys, Kind.OWNER, [user_id], taken.cause, now))
    taken.messages = await removal.count_messages(driver, user_id)
    taken.positions = await removal.positions_of_user(driver, user_id, now)
    taken.jobs = await removal.remove_jobs_of_user(driver, user_id)
    facts = await removal.remove_all_facts(driver, user_id)
    index = await removal.remove_index(driver, user_id)
    taken.quarantined, set_aside = await removal.remove_quarantined_of_user(driver, user_id)
    taken.conversations, slots = await removal.remove_conversations(driver, user_id)
    taken.slots |= facts | index.slots | set_aside | slots
    taken.facts, taken.index_segments = len(facts), len(index.slots)
    taken.terms, taken.vectors = index.terms, index.vectors
