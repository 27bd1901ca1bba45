"""The only wiring of cognition: what it serves and consumes."""

from __future__ import annotations

from collections.abc import Callable

from libs.shared.service import ServiceContext

from libs.shared.bus.base import Bus
from libs.shared.contracts.base import Empty, Principal
from libs.shared.contracts.chat import CHAT
from libs.shared.contracts.ledger import RuntimeSettings
from libs.shared.contracts.memory import INDEX_REQUESTED, SEARCH_MEMORY
from libs.shared.contracts.scheduling import LIST_MODELS
from libs.shared.contracts.telemetry import DependencyHealth
from libs.shared.errors import ServiceError
from libs.shared.runtime_settings import SettingsInForce
from services.cognition.embedding import Embedder
from services.cognition.gathering import Gatherer
from services.cognition.indexing import Indexer
from services.cognition.memory import Memory
from services.cognition.outcomes import Outcomes
from services.cognition.settings import CognitionSettings
from services.cognition.turn import Turns


async def wire(context: ServiceContext) -> None:
    """Serves every subject of cognition."""
    settings = context.settings
    assert isinstance(settings, CognitionSettings)
    in_force = SettingsInForce(context.bus)
    await serve(context.bus, settings, lambda: in_force.current)
    context.tasks.create_task(in_force.follow())
    context.check("scheduler", lambda: _models_health(context.bus), required=False)


async def serve(bus: Bus, settings: CognitionSettings, in_force: Callable[[], RuntimeSettings]) -> None:
    """Answers turns and searches on ``bus``, and indexes what was kept."""
    outcomes = Outcomes(bus)
    embedder = Embedder(bus, outcomes)
    memory = Memory(bus, embedder, settings, in_force)
    turns = Turns(bus, Gatherer(bus, memory, settings.history_messages), outcomes, settings, in_force)
    indexer = Indexer(bus, embedder, settings.embed_batch)
    await bus.serve_stream(CHAT, turns.chat)
    await bus.serve(SEARCH_MEMORY, memory.search)
    (consumer,) = (c for c in INDEX_REQUESTED.consumers if c.service is Principal.COGNITION)
    await bus.consume(INDEX_REQUESTED, consumer, indexer.index)


async def _models_health(bus: Bus) -> DependencyHealth:
    """Not required: without a scheduler or a model answers are quoted from memory."""
    try:
        found = await bus.request(LIST_MODELS, Empty(), timeout_s=1.0)
    except ServiceError as error:
        return DependencyHealth(ok=False, detail=error.detail)
    return DependencyHealth(ok=True, detail=found.default_chat or "no language model; answers are quoted from memory")
