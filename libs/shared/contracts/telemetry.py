"""What nodes and services say of themselves: load on one shared subject, health and metrics on request."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from libs.shared.contracts.base import MIB, SERVICES, Broadcast, Empty, Message, Principal, Rpc
from libs.shared.contracts.common import Id


class Cpu(Message):
    """Load of the node's processors, within its cgroup."""

    cores: float
    utilisation: float = Field(ge=0)
    """0..1 of those cores, over the last interval."""
    load_1m: float


class Memory(Message):
    """The node's memory, within its cgroup."""

    total_mib: float
    available_mib: float


class Gpu(Message):
    """One accelerator."""

    name: str
    utilisation: float | None = None
    vram_total_mib: float | None = None
    vram_free_mib: float | None = None
    temperature_c: float | None = None
    power_w: float | None = None
    throttled: bool | None = None
    """Whether heat or power holds it back now."""


USUAL_ANSWER_TOKENS = 200.0
"""How long answers are taken to be before any was counted; real chats have a mean of 211 (Patel et al., *Splitwise*,
ISCA 2024, the conversation trace)."""


class Rates(Message):
    """Measured speed of one model on one node; None until measured."""

    prompt_tokens_per_s: float | None = None
    generated_tokens_per_s: float | None = None
    answer_tokens: float | None = None
    """How long its answers are, on average."""
    source: str | None = None
    """How the speed was measured: ``requests``; before the first of them ``trial``, a short one of the node's own, or
    ``remembered``, from before the node was started; None: not measured, or by a node that doesn't say."""
    measured_at: datetime | None = None
    """When, for a trial and for what is remembered."""


def with_adapter(model: str, adapter: str | None) -> str:
    """Under which name a model with an adapter is asked for, and told of."""
    return model if adapter is None else f"{model}:{adapter}"


class ServedModel(Message):
    """A model that a node can answer with."""

    name: str
    backend: str
    kind: str = "chat"
    """``chat`` or ``embed``."""
    context_tokens: int
    bytes_per_token: float = 3.0
    """Measured; a prompt's tokens are estimated with it before the model counts them."""
    dimensions: int | None = None
    embedder: str | None = None
    """``name@version`` of what embeds: its vectors are compared with no others."""
    tools: bool = False
    images: bool = False
    json_schema: bool = False
    remote: bool = False
    """Whether a request leaves this network for it."""
    caches_prefix: bool = False
    """Whether a prompt that begins as the one before it is read from there on alone."""
    adapters: tuple[str, ...] = ()
    """LoRA adapters that it can answer with, loaded or not."""
    restricted: tuple[str, ...] = ()
    """Of those, the ones that not everybody may use (docs/decisions/artefacts.md)."""
    adapter_load_s: float | None = None
    """How long loading one of them takes, on average; None until one was."""
    upstream: str | None = None
    """The server that answers, under the name by which it was added; None: this node itself."""
    rates: Rates = Rates()


class Replica(Message):
    """One place on a node that answers requests, and its queue."""

    replica: Id
    models: tuple[str, ...]
    adapters: tuple[str, ...] = ()
    """In memory now, as ``model:adapter``: the others are loaded when they are asked for."""
    in_flight: int = 0
    queued: int = 0
    background: int = 0
    """Of both: requests for which nobody waits, and which stop as soon as another comes."""
    in_flight_tokens: int = 0
    queued_tokens: int = 0
    to_read_tokens: int | None = None
    """Of the prompts in flight and queued, what is still to be read before another request may begin, so that little or
    nothing is of what is in the background; None where nobody reckons it."""
    to_write_tokens: int | None = None
    """Of their answers, what is expected still to be written, by the lengths of earlier ones; likewise."""
    seen: dict[str, int] | None = None
    """Scheduler → the highest ticket of its that has come in: its later ones are not in these counts yet. None: the
    replica takes no note of tickets."""
    slots: int = 1
    """Requests it works on at the same time; further ones queue."""
    generated_tokens: int = 0
    """Since the replica began."""
    draining: bool = False


class NodeTelemetry(Message):
    """One node's state. ``sequence`` rises within one ``boot_id``; a reader drops what is older."""

    node_id: Id
    sequence: int
    boot_id: str
    at: datetime
    version: str
    board: str
    runtime: str
    """``ray`` or ``inline``."""
    cpu: Cpu
    memory: Memory
    temperature_c: float | None
    throttled: bool | None
    """Whether the board holds its processor back now; None: it has no way to say."""
    throttle_reasons: tuple[str, ...] = ()
    """Why it does: ``heat``, ``over-current``, ``under-voltage``, ``frequency-capped``, ``throttled``,
    ``soft-temperature-limit``; ``gpu`` where a GPU is held back."""
    throttled_since_boot: tuple[str, ...] = ()
    """Why it did at any time since it was started, which says nothing about now."""
    power_w: float | None
    power_measured: bool = False
    power_source: str = "estimate"
    """``battery`` or ``board``: all that the machine draws; ``processor``: without disks, memory and losses;
    ``estimate``: nothing measures. GPUs that measure themselves are in it. ``battery``: it is being emptied."""
    battery_share: float | None = None
    """How full the battery is, 0 to 1; None: there is none."""
    power_budget_w: float | None = None
    """While the machine draws more, it is given no work for which nobody waits; None: there is no such limit."""
    gpus: tuple[Gpu, ...] = ()
    in_flight: int
    queued: int
    in_flight_tokens: int
    queued_tokens: int
    replicas: tuple[Replica, ...]
    models: tuple[ServedModel, ...]
    adapters: tuple[str, ...] = ()
    """In any replica's memory now, as ``model:adapter``."""
    draining: bool
    free_disk_mib: float
    degraded: tuple[str, ...] = ()


class ReplicaTelemetry(Message):
    """A replica's queue, published by the replica itself, at once on a change."""

    node_id: Id
    sequence: int
    boot_id: str
    state: Replica
    models: tuple[ServedModel, ...]
    degraded: tuple[str, ...] = ()
    """What it should serve and can't, as in the node's telemetry."""
    stopped: bool = False


NODE = Broadcast(
    "mongars.v1.telemetry.node",
    NodeTelemetry,
    owner=Principal.INFERENCE,
    callers=frozenset({Principal.SCHEDULER, Principal.OPTIMIZER, Principal.OPERATOR, Principal.OPS}),
)
REPLICA = Broadcast(
    "mongars.v1.telemetry.replica",
    ReplicaTelemetry,
    owner=Principal.INFERENCE,
    callers=frozenset({Principal.INFERENCE, Principal.OPERATOR, Principal.OPS}),
)


class DependencyHealth(Message):
    """Something that a service needs, as the service sees it now."""

    ok: bool
    detail: str = ""


class Health(Message):
    """A service's own word; ready when every dependency that it cannot do without is well."""

    service: str
    version: str
    ready: bool
    dependencies: dict[str, DependencyHealth] = Field(default_factory=dict)
    degraded: tuple[str, ...] = ()


class MetricsText(Message):
    """Prometheus exposition text of one process."""

    text: str


HEALTH: dict[Principal, Rpc[Empty, Health]] = {
    service: Rpc(
        f"mongars.v1.{service}.health",
        Empty,
        Health,
        owner=service,
        callers=frozenset({Principal.API, Principal.CLI}),
        timeout_s=1.5,
    )
    for service in SERVICES
}
METRICS: dict[Principal, Rpc[Empty, MetricsText]] = {
    service: Rpc(
        f"mongars.v1.{service}.metrics",
        Empty,
        MetricsText,
        owner=service,
        callers=frozenset({Principal.API, Principal.CLI}),
        timeout_s=2.0,
        max_bytes=8 * MIB,
    )
    for service in SERVICES
}
