"""The wiring of one node's inference: embedder, replicas, Ray where it is used, and telemetry."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from uuid import uuid4

from libs.shared.contracts.inference import SET_DRAINING
from libs.shared.contracts.telemetry import REPLICA, DependencyHealth
from libs.shared.errors import ServiceError
from libs.shared.hardware import Sensors, read_board
from libs.shared.runtime_settings import SettingsInForce
from libs.shared.service import ServiceContext
from libs.shared.telemetry import get_logger
from services.inference.backends.added import LOOK_S
from services.inference.consent import Consent
from services.inference.embedder_specs import built_in
from services.inference.embedders import Embedders
from services.inference.embedding import EmbeddingReplica
from services.inference.fetching import ArtefactFetcher
from services.inference.idle_gpus import IdleGpus
from services.inference.lease import EMBEDDING_NUMBER
from services.inference.machine import node_of, threads
from services.inference.models import EMBEDDER_FOLDER, EMBEDDERS_FOLDER, ModelSpec, read_catalogue
from services.inference.node import Served
from services.inference.plan import Plan, make_plan
from services.inference.ray_runtime import RayRuntime
from services.inference.replica import Identity
from services.inference.settings import InferenceSettings
from services.inference.telemetry.agent import NodeAgent
from services.inference.telemetry.node import Facts
from services.inference.unclaimed_adapters import UnclaimedAdapters

REMOTE_MODELS = "remote-models"
"""In telemetry's ``degraded``: what is asked may leave this network."""

log = get_logger(__name__)


async def wire(context: ServiceContext) -> None:
    """Answers embeddings first, then brings up the models in the background: the node is of use within a second."""
    settings = context.settings
    assert isinstance(settings, InferenceSettings)
    boot_id = uuid4().hex
    sensors = Sensors(settings.folder.root, root=settings.machine_root, ask_driver=True)
    board = read_board(settings.machine_root).name
    facts = Facts(settings.node_id, boot_id, version("mongars"), board, settings.power_budget_w)
    consent = Consent()
    served = Served(settings, node_of(settings, consent), boot_id, lambda urgent: agent.changed(urgent))
    served.more_troubles(lambda: (REMOTE_MODELS,) if consent.allowed else ())
    in_force = SettingsInForce(context.bus, lambda current: consent.set(current.remote_models), asks=settings.joined)
    agent = NodeAgent(facts, sensors, context.bus, _Words(context, served))
    context.stack.push_async_callback(served.close)
    context.more_metrics(agent.metrics)
    context.check("runtime", served.runtime_health)
    await context.bus.serve(SET_DRAINING, agent.set_draining, node=settings.node_id)
    await context.bus.subscribe(REPLICA, agent.hear)
    await _serve_embedders(context, settings, agent, served, boot_id)
    context.tasks.create_task(agent.run())
    context.tasks.create_task(in_force.follow())
    context.tasks.create_task(_bring_up(context, settings, agent, served))
    context.tasks.create_task(_bring_up_added(context, settings, agent, served))


async def _serve_embedders(
    context: ServiceContext, settings: InferenceSettings, agent: NodeAgent, served: Served, boot_id: str
) -> None:
    models = settings.folder.models
    embedders = Embedders(
        partial(built_in, models / EMBEDDER_FOLDER),
        models / EMBEDDERS_FOLDER,
        threads=settings.embed_threads or threads(),
        available_mib=served.available_mib,
        changed=agent.changed,
    )
    served.more_troubles(embedders.troubles)
    context.stack.push_async_callback(embedders.close)
    identity = Identity(settings.node_id, f"{settings.node_id}-{EMBEDDING_NUMBER}", boot_id)
    replica = EmbeddingReplica(identity, embedders, agent.changed)

    async def health() -> DependencyHealth:
        return DependencyHealth(ok=embedders.ready, detail="" if embedders.ready else "not loaded")

    context.check("embedder", health)
    agent.add(replica)
    try:
        await replica.serve(context.bus)
    except ServiceError as error:
        # The node still generates; recall goes on with terms alone, and readiness says why.
        log.error("embedder_not_loaded", code=error.code, detail=error.detail)
    context.tasks.create_task(embedders.follow())


async def _bring_up(context: ServiceContext, settings: InferenceSettings, agent: NodeAgent, served: Served) -> None:
    configured = (*settings.models, *settings.openai_upstreams, *settings.endpoint_pool)
    catalogue = await asyncio.to_thread(read_catalogue, settings.folder.models, configured, settings.ollama)
    for label, reason in catalogue.refused.items():
        served.refuse(label, reason)
    unclaimed = UnclaimedAdapters(settings.folder.models, catalogue.specs, agent.changed)
    served.more_troubles(unclaimed.troubles)
    context.tasks.create_task(unclaimed.follow())
    fetcher = ArtefactFetcher(context.bus, settings.folder.models, catalogue.specs, agent.changed)
    served.more_troubles(fetcher.troubles)
    context.tasks.create_task(fetcher.follow())
    plan = _plan(settings, await served.sound(catalogue.specs), agent)
    if plan.warning:
        log.warning("ray_not_used", reason=plan.warning, runtime="inline")
        served.note(plan.warning)
    agent.runtime = served.runtime = plan.runtime
    if plan.runtime == "ray":
        served.ray = RayRuntime(plan.deployed, partial(agent.changed, True))
        context.tasks.create_task(served.ray.run())
    log.info("models_planned", runtime=plan.runtime, inline=len(plan.inline), deployed=len(plan.deployed))
    await served.load_all(plan.inline, context.bus, agent.add)
    gpus = IdleGpus(served.backends)
    await gpus.look()
    served.more_troubles(gpus.troubles)
    await served.measure()


async def _bring_up_added(
    context: ServiceContext, settings: InferenceSettings, agent: NodeAgent, served: Served
) -> None:
    """The upstreams that were added by command: no replica before there is one."""
    while not settings.folder.upstreams.exists():  # noqa: ASYNC110 - another process makes the file
        await asyncio.sleep(LOOK_S)
    await served.load_all((ModelSpec(backend="upstreams", path=settings.folder.root),), context.bus, agent.add)


def _plan(settings: InferenceSettings, specs: Sequence[ModelSpec], agent: NodeAgent) -> Plan:
    return make_plan(
        settings.inference_runtime,
        specs,
        ray_installed=find_spec("ray") is not None,
        memory_mib=agent.sample.memory.total_mib,
        memory_floor_mib=settings.ray_memory_floor_mib,
    )


class _Words:
    """What is degraded, for the node's telemetry; the service's own health is kept in step with it."""

    def __init__(self, context: ServiceContext, served: Served) -> None:
        self._context = context
        self._served = served
        self._shown: frozenset[str] = frozenset()

    def __call__(self) -> tuple[str, ...]:
        words = self._served.degraded()
        now = frozenset(words)
        for word in now ^ self._shown:
            self._context.degraded(word, word in now)
        self._shown = now
        return words
