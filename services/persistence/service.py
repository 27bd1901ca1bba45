"""The wiring of persistence: opens database and slot file, finishes what was cut short, serves every subject."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import count
from time import monotonic
from typing import Any

from libs.shared.bus import Bus
from libs.shared.cache.curves import UseCurve, steps_to
from libs.shared.contracts import accounts as account_contracts
from libs.shared.contracts import adapters as adapter_contracts
from libs.shared.contracts import backups as backup_contracts
from libs.shared.contracts import caching as caching_contracts
from libs.shared.contracts import conversations as conversation_contracts
from libs.shared.contracts import digests as digest_contracts
from libs.shared.contracts import documents as document_contracts
from libs.shared.contracts import forgetting as forgetting_contracts
from libs.shared.contracts import indexing as indexing_contracts
from libs.shared.contracts import jobs as job_contracts
from libs.shared.contracts import keeping as keeping_contracts
from libs.shared.contracts import ledger as ledger_contracts
from libs.shared.contracts import material as material_contracts
from libs.shared.contracts import memory as memory_contracts
from libs.shared.contracts import ratings as rating_contracts
from libs.shared.contracts import recall as recall_contracts
from libs.shared.contracts import replay as replay_contracts
from libs.shared.contracts import training as training_contracts
from libs.shared.contracts import turns as turn_contracts
from libs.shared.contracts.base import Rpc
from libs.shared.contracts.ledger import ChangeKind
from libs.shared.contracts.telemetry import DependencyHealth
from libs.shared.disk_room import DISK_FULL, DiskRoom
from libs.shared.errors import ServiceError
from libs.shared.service import ServiceContext
from libs.shared.telemetry import get_logger
from services.persistence import forgetting, housekeeping, restored_adapters
from services.persistence.appliers import Appliers, SettingApplier
from services.persistence.applying import TurnApplier
from services.persistence.artefacts import ARTEFACT_KEY, Artefacts
from services.persistence.backup_list import BackupList
from services.persistence.conversation_owners import ConversationOwners
from services.persistence.cutting import take_cut
from services.persistence.deciding import Ledger
from services.persistence.digest_changes import DigestApplier
from services.persistence.handing_over import hand_over
from services.persistence.handlers import (
    accounts,
    adapters,
    asked,
    backups,
    consents,
    conversations,
    digests,
    documents,
    facts,
    finding,
    index_cache,
    indexing,
    jobs,
    joining,
    keeping,
    ledger,
    mappings,
    memories,
    ratings,
    rewriting,
    runs,
    trained,
    turns,
)
from services.persistence.handlers import forgetting as forgetting_handlers
from services.persistence.index_room import LEAST_INDEX_MIB, index_room_mib, obey
from services.persistence.indexes import Indexes
from services.persistence.mirror import SettingsMirror
from services.persistence.outbox import Outbox
from services.persistence.parts import Parts, new_id, utc_now
from services.persistence.postgres import Database, judge_schema
from services.persistence.repositories import ledger_checks, work
from services.persistence.repositories import turns as turn_rows
from services.persistence.sealing import KeyRing, read_installation_key
from services.persistence.settings import PersistenceSettings
from services.persistence.slot_file import SlotFile, SlotFileBusy
from services.persistence.steps import STEP_KEY, StepSigner
from services.persistence.tables import SCHEMA_REVISION
from services.persistence.unused_keys import UnusedKeys
from services.persistence.watermark import Watermark

log = get_logger(__name__)

_RETRY_S = (0.1, 0.2, 0.5, 1.0)
_MIB = 1024 * 1024
_APPLIERS: Appliers = {ChangeKind.SETTING: SettingApplier(), ChangeKind.DIGEST: DigestApplier()}
_USERS_JUDGED = 16
"""One whose key opens is enough; a forgotten one's may be gone already."""
_SLOT_FILE_WAIT_S = 20.0

_KEEPING = frozenset(
    contract.subject
    for contract in (
        turn_contracts.OPEN_TURN,
        keeping_contracts.KEEP_TURNS,
        keeping_contracts.KEEP_NOTE,
        keeping_contracts.REWRITE_MEMORY,
        keeping_contracts.KEEP_DOCUMENT,
        digest_contracts.KEEP_DIGESTS,
        training_contracts.KEEP_RUN,
        account_contracts.CREATE_USER,
        adapter_contracts.KEEP_ADAPTER,
    )
)
"""What adds something, and is refused while the disk is full. Sessions and keys go on: reading needs them."""

HANDLERS: tuple[tuple[Rpc[Any, Any], Callable[..., Awaitable[Any]]], ...] = (
    (turn_contracts.OPEN_TURN, turns.open_turn),
    (turn_contracts.READ_TURNS, turns.read_turns),
    (turn_contracts.JOIN_TURN, joining.join_turn),
    (conversation_contracts.LIST_CONVERSATIONS, conversations.list_conversations),
    (conversation_contracts.READ_CONVERSATION, conversations.read_conversation),
    (conversation_contracts.CHANGE_CONVERSATION, conversations.change_conversation),
    (conversation_contracts.DELETE_CONVERSATION, forgetting_handlers.delete_conversation),
    (memory_contracts.FORGET_MEMORY, forgetting_handlers.forget_memory),
    (memory_contracts.FORGET_EVERYTHING, forgetting_handlers.forget_everything),
    (document_contracts.FORGET_DOCUMENT, forgetting_handlers.forget_document),
    (forgetting_contracts.LIST_RECEIPTS, forgetting_handlers.list_receipts),
    (recall_contracts.READ_PROFILE, finding.read_profile),
    (recall_contracts.FIND_CANDIDATES, finding.find_candidates),
    (recall_contracts.READ_MEMORIES, memories.read_memories),
    (indexing_contracts.READ_UNINDEXED, indexing.read_unindexed),
    (indexing_contracts.INDEX_MESSAGES, indexing.index_messages),
    (keeping_contracts.KEEP_TURNS, keeping.keep_turns),
    (keeping_contracts.KEEP_NOTE, keeping.keep_note),
    (keeping_contracts.REWRITE_MEMORY, rewriting.rewrite_memory),
    (keeping_contracts.KEEP_DOCUMENT, documents.keep_document),
    (keeping_contracts.FIND_FACTS, facts.find_facts),
    (keeping_contracts.KEEP_FACTS, facts.keep_facts),
    (digest_contracts.LIST_UNDIGESTED, digests.list_undigested),
    (digest_contracts.BEGIN_DIGESTS, digests.begin_digests),
    (digest_contracts.READ_UNDIGESTED, digests.read_undigested),
    (digest_contracts.KEEP_DIGESTS, digests.keep_digests),
    (digest_contracts.SEAL_DIGESTS, digests.seal_digests),
    (digest_contracts.READ_DIGESTS, digests.read_digests),
    (memory_contracts.LIST_MEMORIES, memories.list_memories),
    (memory_contracts.READ_MEMORY, memories.read_memory),
    (document_contracts.LIST_DOCUMENTS, documents.list_documents),
    (document_contracts.READ_DOCUMENT, documents.read_document),
    (rating_contracts.RATE_TURN, ratings.rate_turn),
    (rating_contracts.LIST_RATINGS, ratings.list_ratings),
    (rating_contracts.LIST_CONSENTS, consents.list_consents),
    (rating_contracts.SET_CONSENT, consents.set_consent),
    (rating_contracts.CHANGE_TRAINING_CHOICES, consents.change_training_choices),
    (material_contracts.COUNT_MATERIAL, trained.count_material),
    (material_contracts.RECORD_DATASET, trained.record_dataset),
    (material_contracts.RECORD_ADAPTER, trained.record_adapter),
    (material_contracts.LIST_TRAINED, trained.list_trained),
    (replay_contracts.READ_ASKED, asked.read_asked),
    (caching_contracts.READ_INDEX_CACHE, index_cache.read_index_cache),
    (replay_contracts.STILL_ALLOWED, asked.still_allowed),
    (account_contracts.CREATE_USER, accounts.create_user),
    (account_contracts.READ_USER, accounts.read_user),
    (account_contracts.LIST_USERS, accounts.list_users),
    (account_contracts.CHANGE_USER, accounts.change_user),
    (account_contracts.DELETE_USER, accounts.delete_user),
    (account_contracts.FIND_LOGIN, accounts.find_login),
    (account_contracts.CREATE_KEY, accounts.create_key),
    (account_contracts.LIST_KEYS, accounts.list_keys),
    (account_contracts.REVOKE_KEY, accounts.revoke_key),
    (account_contracts.FIND_KEY, accounts.find_key),
    (account_contracts.MAP_USER, mappings.map_user),
    (account_contracts.ACCEPT_MAPPING, mappings.accept_mapping),
    (account_contracts.UNMAP_USER, mappings.unmap_user),
    (account_contracts.LIST_MAPPINGS, mappings.list_mappings),
    (account_contracts.FIND_MAPPED, mappings.find_mapped),
    (account_contracts.SAVE_REFRESH, accounts.save_refresh),
    (account_contracts.ROTATE_REFRESH, accounts.rotate_refresh),
    (account_contracts.END_SESSION, accounts.end_session),
    (ledger_contracts.READ_SETTINGS, ledger.read_settings),
    (ledger_contracts.PROPOSE_CHANGE, ledger.propose_change),
    (ledger_contracts.DECIDE_CHANGE, ledger.decide_change),
    (ledger_contracts.LIST_CHANGES, ledger.list_changes),
    (ledger_contracts.VERIFY_LEDGER, ledger.verify_ledger),
    (job_contracts.LIST_JOBS, jobs.list_jobs),
    (job_contracts.FINISH_JOB, jobs.finish_job),
    (training_contracts.KEEP_RUN, runs.keep_run),
    (training_contracts.REPORT_RUN, runs.report_run),
    (training_contracts.FORGET_RUN, runs.forget_run),
    (training_contracts.READ_RUN, runs.read_run),
    (training_contracts.LIST_RUNS, runs.list_runs),
    (backup_contracts.SETTLE_BACKUP, backups.settle_backup),
    (backup_contracts.LIST_BACKUPS, backups.list_backups),
    (adapter_contracts.KEEP_ADAPTER, adapters.keep_adapter),
    (adapter_contracts.LIST_ADAPTERS, adapters.list_adapters),
    (adapter_contracts.SERVE_ADAPTER, adapters.serve_adapter),
    (adapter_contracts.ROLL_BACK_ADAPTER, adapters.roll_back_adapter),
    (adapter_contracts.REMOVE_ADAPTER, adapters.remove_adapter),
)
"""Every subject that persistence serves, beside health and metrics."""


async def wire(context: ServiceContext) -> None:
    """Serves everything, at once or as soon as the database answers: until then health says that it is away.

    Raises SchemaMismatch, SlotFileDamaged, SlotFileBusy, InstallationKeyMissing, KeysDontFit.
    """
    settings = context.settings
    assert isinstance(settings, PersistenceSettings)
    database = Database(
        settings.database_address(),
        pool_size=settings.database_pool_size,
        statement_timeout_s=settings.statement_timeout_s,
    )
    context.stack.push_async_callback(database.close)
    context.check("database", partial(check_database, database))
    opened = asyncio.Event()
    context.check("subjects", partial(check_opened, opened))
    try:
        judge_schema(await database.schema_revision())
    except ServiceError as error:
        log.warning("database_awaited", reason=error.code)
        context.tasks.create_task(_serve_once_reachable(context, settings, database, opened))
    else:
        await _open_and_serve(context, settings, database, opened)


async def _serve_once_reachable(
    context: ServiceContext, settings: PersistenceSettings, database: Database, opened: asyncio.Event
) -> None:
    for attempt in count():
        await asyncio.sleep(_RETRY_S[min(attempt, len(_RETRY_S) - 1)])
        try:
            judge_schema(await database.schema_revision())
            await _open_and_serve(context, settings, database, opened)
            break
        except ServiceError as error:
            log.debug("database_awaited", reason=error.code)


async def _open_and_serve(
    context: ServiceContext, settings: PersistenceSettings, database: Database, opened: asyncio.Event
) -> None:
    slots = await open_slots(settings, database)
    context.stack.push_async_callback(slots.close)
    parts = await build(context.bus, database, slots, settings)
    await _check_ledger(parts, context)
    await forgetting.finish_promised(parts)
    await serve(parts, context.bus)
    context.check("slots", partial(check_slots, slots))
    context.check("outbox", partial(check_outbox, parts.outbox), required=False)

    async def disk() -> DependencyHealth:
        short = parts.room.short()
        context.degraded(DISK_FULL, short)
        return DependencyHealth(ok=not short, detail="nothing new is kept until there is room" if short else "")

    context.check("disk", disk, required=False)
    opened.set()
    context.stack.push_async_callback(parts.indexes.close)
    context.tasks.create_task(parts.indexes.warm())
    context.tasks.create_task(parts.outbox.run())
    context.tasks.create_task(parts.mirror.run())
    context.tasks.create_task(housekeeping.run(parts, settings))
    context.tasks.create_task(restored_adapters.run(parts, settings.folder.restored_adapters))


async def build(bus: Bus, database: Database, slots: SlotFile, settings: PersistenceSettings) -> Parts:
    """The parts on an open database and slot file."""
    keys = KeyRing(slots, read_installation_key(settings.folder.installation_key))
    async with database.transaction() as session:
        position = await turn_rows.read_watermark(session)
        referenced = await work.referenced_slots(session)
        user_slots, last_slot = await work.slots_of_keys(session, _USERS_JUDGED)
    keys.judge(user_slots, last_slot)
    slots.withhold(referenced)  # an earlier process may have promised some of them after ``open_slots`` looked
    watermark = Watermark(epoch=position.epoch, sequence=position.sequence)
    outbox = Outbox(database, bus)
    unused = UnusedKeys(slots.used - referenced, now=monotonic())
    indexes = Indexes(
        database=database,
        keys=keys,
        unused=unused,
        budget_bytes=settings.index_memory_mib * _MIB,
        clock=utc_now,
        new_id=new_id,
        on_job=outbox.wake,
        curve=UseCurve(steps_to(index_room_mib(settings), LEAST_INDEX_MIB)),
    )
    applier = TurnApplier(
        database=database,
        keys=keys,
        watermark=watermark,
        clock=utc_now,
        new_id=new_id,
        retention_s=settings.applied_turn_retention_s,
        on_job=outbox.wake,
        on_settled=unused.used,
        on_used=indexes.used,
    )
    return Parts(
        bus=bus,
        database=database,
        keys=keys,
        unused_keys=unused,
        owners=ConversationOwners(),
        watermark=watermark,
        outbox=outbox,
        mirror=SettingsMirror(database, bus, partial(obey, indexes, settings)),
        applier=applier,
        indexes=indexes,
        room=DiskRoom(settings.folder.root, settings.disk_reserve_mib),
        backups=await asyncio.to_thread(BackupList, settings.folder.backup_list),
        artefacts=Artefacts(bus, keys.derived_key(ARTEFACT_KEY)),
        ledger=Ledger(StepSigner(keys.derived_key(STEP_KEY)), _APPLIERS),
        journal=settings.folder.forgettings,
    )


async def serve(parts: Parts, bus: Bus) -> None:
    """Serves every subject, and applies turns."""
    for contract, handler in HANDLERS:
        served = partial(handler, parts=parts)
        await bus.serve(contract, parts.room.refusing(served) if contract.subject in _KEEPING else served)
    await bus.serve_stream(backup_contracts.TAKE_CUT, partial(take_cut, parts=parts))
    await bus.serve_stream(adapter_contracts.READ_ADAPTER_FILE, partial(adapters.read_adapter_file, parts=parts))
    await bus.serve_stream(material_contracts.TRAINING_MATERIAL, partial(hand_over, parts=parts))
    await bus.consume(
        turn_contracts.TURN_COMPLETED,
        turn_contracts.TURN_COMPLETED.consumers[0],
        parts.applier.handle,
        in_order=True,
        on_caught_up=parts.applier.caught_up,
        on_poison=parts.applier.poison,
    )


async def check_database(database: Database) -> DependencyHealth:
    """Whether the database answers, and at which schema."""
    try:
        revision = await database.schema_revision()
    except ServiceError as error:
        return DependencyHealth(ok=False, detail=error.detail)
    return DependencyHealth(ok=revision == SCHEMA_REVISION, detail=f"schema {revision}")


async def check_opened(opened: asyncio.Event) -> DependencyHealth:
    """Whether every subject is served."""
    return DependencyHealth(ok=opened.is_set(), detail="" if opened.is_set() else "waiting for the database")


async def check_slots(slots: SlotFile) -> DependencyHealth:
    """Whether keys could be written the last time."""
    return DependencyHealth(ok=slots.failure is None, detail=slots.failure or "")


async def check_outbox(outbox: Outbox) -> DependencyHealth:
    """Whether the streams took what was published last."""
    return DependencyHealth(ok=outbox.trouble is None, detail=outbox.trouble or "")


async def open_slots(settings: PersistenceSettings, database: Database) -> SlotFile:
    """Waits a while for an earlier process to let go of the file."""
    async with database.transaction() as session:
        referenced = await work.referenced_slots(session)
    until = monotonic() + _SLOT_FILE_WAIT_S
    while True:
        try:
            return await asyncio.to_thread(SlotFile.open, settings.folder.slots, referenced)
        except SlotFileBusy:
            if monotonic() > until:
                raise
        await asyncio.sleep(_RETRY_S[0])


async def _check_ledger(parts: Parts, context: ServiceContext) -> None:
    async with parts.database.transaction() as session:
        if adopted := await parts.ledger.adopt(session):
            log.info("ledger_steps_begun", changes=adopted)
    async with parts.database.transaction() as session:
        found = await ledger_checks.verified(session, parts.ledger.signer.key)
    broken = found.entry_broken_at is not None or found.broken_at is not None
    if broken:
        log.error("ledger_broken", sequence=found.entry_broken_at, step=found.broken_at)
    context.degraded("ledger", broken)
