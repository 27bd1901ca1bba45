"""The only wiring of cognition: what it serves and consumes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import UTC, datetime
from functools import partial
from uuid import uuid4

from libs.shared.bus.base import Bus
from libs.shared.contracts.base import Principal
from libs.shared.contracts.chat import CHAT, ChatChunk, ChatRequest
from libs.shared.contracts.documents import ADD_DOCUMENT
from libs.shared.contracts.dreaming import PREPARE_AHEAD
from libs.shared.contracts.indexing import INDEX_REQUESTED
from libs.shared.contracts.memory import (
    ADD_MEMORY,
    EDIT_MEMORY,
    IMPORT_TURNS,
    MEMORY_CHANGED,
    SEARCH_MEMORY,
    MemoryChanged,
    MemoryItems,
    SearchMemory,
)
from libs.shared.contracts.replay import REPLAY_ASKED
from libs.shared.contracts.runtime_settings import RuntimeSettings
from libs.shared.contracts.scheduling import PREEMPT
from libs.shared.contracts.telemetry import DependencyHealth
from libs.shared.runtime_settings import InUse, SettingsInForce
from libs.shared.service import ServiceContext
from services.cognition.adapters import OwnedAdapters
from services.cognition.documents.adding import Documents, no_facts
from services.cognition.documents.reading import Allowance, Reader
from services.cognition.dreaming.drafting import Drafter
from services.cognition.dreaming.drafts import Drafts
from services.cognition.dreaming.preparing import Preparer
from services.cognition.embedding import Embedder
from services.cognition.extraction.keeping import FactKeeper
from services.cognition.extraction.reading import ModelReading
from services.cognition.gathering import Gatherer
from services.cognition.importing import Admission, Importer
from services.cognition.indexing import Indexer
from services.cognition.keeping import Keeper
from services.cognition.memory import Memory
from services.cognition.outcomes import Outcomes
from services.cognition.presence import LanguageModel
from services.cognition.replaying.replaying import Replayer
from services.cognition.room import Room
from services.cognition.searchable import Searchable
from services.cognition.sessions import Sessions
from services.cognition.settings import CognitionSettings
from services.cognition.traffic import Traffic
from services.cognition.turn import Turns
from services.cognition.worker_metrics import share_metrics


async def wire(context: ServiceContext) -> None:
    """Serves every subject of cognition."""
    settings = context.settings
    assert isinstance(settings, CognitionSettings)
    in_force = SettingsInForce(context.bus)
    language_model = LanguageModel(context.bus)
    adapters = OwnedAdapters(context.bus)
    reading = await serve(
        context.bus, settings, lambda: in_force.current, language_model, adapters, in_use=lambda: in_force.in_use
    )
    await share_metrics(context)
    context.tasks.create_task(adapters.follow())
    context.tasks.create_task(in_force.follow())
    context.tasks.create_task(language_model.settle())
    context.tasks.create_task(reading.run())

    async def models() -> DependencyHealth:
        found = await language_model.look()
        context.degraded("no-model", not found.ok)
        return found

    context.check("language_model", models, required=False)


async def serve(
    bus: Bus,
    settings: CognitionSettings,
    in_force: Callable[[], RuntimeSettings],
    language_model: LanguageModel,
    adapters: OwnedAdapters,
    *,
    in_use: Callable[[], InUse] | None = None,
) -> ModelReading:
    """Answers turns and searches on ``bus``, and indexes what was kept; returns what has to run beside it.

    ``in_use``: with what is tried out; None: nothing is.
    """
    outcomes = Outcomes(bus)
    embedder = Embedder(bus, outcomes, lambda: in_force().embedder)
    sessions = Sessions(bus)
    memory = Memory(bus, embedder, sessions, settings, in_force)
    gatherer = Gatherer(bus, memory, sessions, settings)
    keeper = Keeper(bus, sessions, lambda: uuid4().hex)
    drafts = Drafts()
    of_conversations = in_use or (lambda: InUse(in_force()))
    turns = Turns(bus, gatherer, keeper, outcomes, settings, of_conversations, language_model, adapters, drafts)
    traffic = Traffic()
    facts = FactKeeper(bus)
    searchable = Searchable(bus, embedder, facts.draw)
    replayer = Replayer(bus, embedder, traffic)
    drafter = Drafter(bus, gatherer, outcomes, in_force, traffic, drafts, settings.history_messages)

    async def forget(event: MemoryChanged) -> None:
        await memory.changed(event)
        await drafts.changed(event)

    preparer = Preparer(bus, memory.prepare, drafter, drafts, forget, traffic, _now)
    room = Room(bus, embedder.model_for)
    reading = ModelReading(bus, outcomes, facts, traffic, in_force, room)
    indexer = Indexer(bus, searchable, settings.embed_batch, traffic, reading=reading, room=room)
    admission = Admission()
    importer = Importer(
        bus, searchable, _now, patience_s=settings.restart_patience_s, admission=admission, reading=reading
    )
    reader = Reader(Allowance(settings.document_read_s, settings.document_memory_mib))
    documents = Documents(bus, Searchable(bus, embedder, no_facts), reader, admission, _now)
    await bus.serve_stream(CHAT, partial(_chat, turns, traffic))
    await bus.serve(SEARCH_MEMORY, partial(_search, memory, traffic))
    await bus.subscribe(MEMORY_CHANGED, forget)
    await bus.subscribe(PREEMPT, traffic.preempted)
    await bus.serve(REPLAY_ASKED, replayer.replay)
    await bus.subscribe(MEMORY_CHANGED, replayer.changed)
    await bus.serve(PREPARE_AHEAD, preparer.prepare)
    await bus.subscribe(MEMORY_CHANGED, preparer.changed)
    await bus.serve(IMPORT_TURNS, importer.import_turns)
    await bus.serve(ADD_MEMORY, importer.add)
    await bus.serve(EDIT_MEMORY, importer.edit)
    await bus.serve(ADD_DOCUMENT, documents.add)
    (consumer,) = (c for c in INDEX_REQUESTED.consumers if c.service is Principal.COGNITION)
    await bus.consume(INDEX_REQUESTED, consumer, indexer.index)
    return reading


def _now() -> datetime:
    return datetime.now(UTC)


async def _chat(turns: Turns, traffic: Traffic, request: ChatRequest) -> AsyncGenerator[ChatChunk, None]:
    with traffic.passing():
        async with aclosing(turns.chat(request)) as chunks:
            async for chunk in chunks:
                yield chunk


async def _search(memory: Memory, traffic: Traffic, request: SearchMemory) -> MemoryItems:
    with traffic.passing():
        return await memory.search(request)
