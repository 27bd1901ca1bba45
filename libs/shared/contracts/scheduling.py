"""Asking where a request should run: spoken by cognition and the scheduler."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from libs.shared.contracts.base import MIB, Broadcast, Empty, Message, Principal, Rpc
from libs.shared.contracts.common import AdapterName, Id
from libs.shared.contracts.telemetry import NodeTelemetry, ServedModel, with_adapter


class Ticket(Message):
    """What a placed request carries to its replica, so that the scheduler learns from the replica's telemetry which of
    its placements have come in: numbers rise within one life of the scheduler."""

    scheduler: Id
    number: int = Field(ge=1)


USUAL_PATIENCE_S = 110.0
"""Within how many seconds the first token of a chat has to come."""


class PlaceRequest(Message):
    """``model`` None takes the installation's default of that kind; a role (``chat``, ``mongars/code``) takes the model
    that has it, unless one is called so."""

    kind: Literal["chat", "embed"] = "chat"
    model: str | None = None
    adapter: AdapterName | None = None
    """With which the model is to answer; ``model`` may say it as well, as ``MODEL:ADAPTER``, if ``adapts``."""
    adapts: bool = False
    """Whether the caller gives the placement's adapter to the replica; one that knows of none would get the model's own
    answer instead, unnoticed."""
    may_use: tuple[AdapterName, ...] = ()
    """The adapters that not everybody may use, and whoever asks may: no other of them is taken."""
    prompt_tokens: int = Field(default=0, ge=0)
    max_tokens: int = Field(default=256, ge=0)
    session: Id | None = None
    lasting_tokens: int | None = Field(default=None, ge=0)
    """Of the prompt's beginning, what the session's next prompt begins with, too; None: all of it, and its answer."""
    needs: tuple[Literal["tools", "images", "json_schema"], ...] = ()
    exclude: tuple[Id, ...] = ()
    """Replicas that were tried already."""
    exclude_nodes: tuple[Id, ...] = ()
    """Nodes that have the request already, with all their replicas."""
    patience_s: float | None = Field(default=None, gt=0)
    """Within how many seconds the first token has to come; what can't be is refused at once."""
    first_within_s: float | None = Field(default=None, gt=0)
    """Nodes whose first token is expected later are left out; without any other it is refused as ``overloaded``."""


class Placed(Message):
    """What one scheduler tells the others of a placement, so that they don't send to the same node unknowing."""

    node_id: Id
    replica: Id
    model: str
    adapter: AdapterName | None = None
    """Which the replica loads for it, unless it has it in memory."""
    ticket: Ticket
    prompt_tokens: int = Field(ge=0)
    answer_tokens: float = Field(ge=0)
    end_is_told: bool = False
    """Whether its end will be told, with its ticket, as an ``Outcome``."""


class Placement(Message):
    """Where to send the request.

    Raises at the caller: ``model_not_found`` (no node has ever offered it), ``adapter_not_found`` (none has it for this
    model), ``adapter_not_allowed`` (whoever asks may not use it), ``no_model`` (no language model at all),
    ``unsupported`` (the model lacks what ``needs`` names), ``remote_not_allowed`` (it answers beyond this network),
    ``no_node`` (none that has it can take it now), ``overloaded`` (none would begin in time); both carry
    ``retry_after_s``.
    """

    node_id: Id
    replica: Id
    model: ServedModel
    adapter: AdapterName | None = None
    """With which it is to answer."""
    policy: str
    rejected: dict[str, int] = Field(default_factory=dict)
    """Reason → how many nodes it ruled out."""
    ticket: Ticket | None = None
    """To be sent on to the replica."""
    expected_s: float | None = None
    """Seconds until the answer's end, as reckoned when it was placed."""
    expected_first_s: float | None = None
    """Likewise until its first token."""

    @property
    def answers_as(self) -> str:
        """The model's name, with its adapter's."""
        return with_adapter(self.model.name, self.adapter)


class Considered(Message):
    """A replica that might be taken, or a node that has none; ``reason`` is ``taken`` or why it is not."""

    node_id: Id
    replica: Id | None = None
    reason: str
    expected_first_s: float | None = None
    """Seconds until the answer's first token, where it could be taken."""
    expected_s: float | None = None
    """Likewise until its end."""
    loading_s: float | None = None
    """Seconds of both for which its adapter is loaded first."""


class Refused(Message):
    """The error that the request would get."""

    code: str
    detail: str
    retry_after_s: float | None = None


NO_ROOM = "no_room"
"""Work that nobody waits for would wait, and ask again."""


class Explanation(Message):
    """Where a request, or work that nobody waits for, would run if it came now, and why nowhere else."""

    model: str | None
    """The one that is meant; None: there is none."""
    policy: str
    """``background`` for work that nobody waits for."""
    node_id: Id | None
    """None: it would be refused."""
    refused: Refused | None = None
    """Or ``NO_ROOM``."""
    considered: tuple[Considered, ...] = ()
    """By replica; then the nodes without one."""


class Preempt(Message):
    """Somebody waits for an answer from now on: whoever does work for which nobody waits stops it."""

    kind: Literal["chat", "embed", "search"] = "chat"


class PlaceJob(Message):
    """Asks where work may run for which nobody waits."""

    kind: Literal["chat", "embed", "train"] = "embed"
    """``train``: it needs no model of a node's, only the machine that ``node_id`` names."""
    node_id: Id | None = None
    """Of work that runs on one machine alone; None: it may run anywhere, or nobody knows which machine it is."""
    model: str | None = None
    """As in PlaceRequest."""
    prompt_tokens: int = Field(default=0, ge=0)
    max_tokens: int = Field(default=256, ge=0)
    needs: tuple[Literal["tools", "images", "json_schema"], ...] = ()
    exclude: tuple[Id, ...] = ()
    waited_s: float = Field(default=0.0, ge=0)
    """How long it has waited already: so that it is done some time, it goes behind requests for a minute, and spares a
    hot or unplugged machine for ten."""


class JobPlacement(Message):
    """Where it may run, or when to ask again. Raises what PLACE raises where a request couldn't be placed either."""

    placement: Placement | None = None
    """None: no node has room for it now, or it needs none of a node's models."""
    room: bool = False
    """Whether it may run now."""
    retry_after_s: float = 0.0
    reasons: dict[str, int] = Field(default_factory=dict)
    """Why nodes weren't taken → how many: ``busy``, ``recent_request``, ``hot``, ``throttled``, ``on_battery``,
    ``over_power_budget``, ``passed_over`` (it has room, and another was taken), or as in Placement."""


class Outcome(Message):
    """How a placed request went, by the caller's clock: lossy, advisory."""

    node_id: Id
    replica: Id
    model: str
    ok: bool | None
    """None: it ended, which says nothing of the replica."""
    reason: Literal["timeout", "silent", "refused", "broke_off", "error"] | None = None
    writing_s: float | None = None
    """From the first token to the last."""
    completion_tokens: int | None = None
    ticket: Ticket | None = None
    """The placement's: the request is at its end, and no longer ahead of others there."""


class ReplicaBreaker(Message):
    """A breaker that isn't closed."""

    replica: Id
    model: str
    state: Literal["open", "half_open"]
    failures: int
    """In a row."""
    opens_for_s: float
    """Seconds until a probe may pass; 0 when one may."""


class NodeHistory(Message):
    """What a node told over the last hour at most, in columns of equal length, the oldest moment first.

    A moment covers ``every_s`` seconds from ``at``; the last may still be going on. A moment in which the node was
    silent is left out. None: the node had no way to tell.
    """

    every_s: float
    at: tuple[datetime, ...] = ()
    load: tuple[float, ...] = ()
    """Requests in flight, on average."""
    queued: tuple[int, ...] = ()
    """Requests that waited, at most."""
    tokens: tuple[float, ...] = ()
    """Tokens in flight and queued, on average."""
    utilisation: tuple[float, ...] = ()
    """Of the processors, 0..1, on average."""
    generated_tokens_per_s: tuple[float | None, ...] = ()
    """What the node really generated, over all its models."""
    temperature_c: tuple[float | None, ...] = ()
    """The highest."""
    throttled: tuple[bool | None, ...] = ()
    """Whether it ever was."""
    power_w: tuple[float | None, ...] = ()
    """On average; measured or estimated, as the node's telemetry says."""


class Node(Message):
    """A node as the registry sees it."""

    telemetry: NodeTelemetry
    age_s: float
    """Seconds since its telemetry came."""
    available: bool
    reason: str
    """Why it is or isn't chosen: ``ok``, ``draining``, ``silent``, ``breaker_open`` …"""
    breaker: Literal["closed", "open", "half_open"]
    """The worst of its replicas'."""
    breakers: tuple[ReplicaBreaker, ...] = ()
    history: NodeHistory | None = None
    """Where it was asked for."""


class Nodes(Message):
    """By node id."""

    nodes: tuple[Node, ...]


class Models(Message):
    """Everything that any live node serves, once by name; ``default_chat`` answers requests that name none, and
    ``default_code`` those that name the role ``code``: either may be a model with an adapter, as ``MODEL:ADAPTER``."""

    models: tuple[ServedModel, ...]
    default_chat: str | None
    default_embed: str | None
    default_code: str | None = None


class NodeRef(Message):
    """A node. Raises ``node_not_found``, ``node_silent`` (it is known, and doesn't answer)."""

    node_id: Id


class Forgotten(Message):
    """Whether the node was known until now."""

    known: bool


class ReadHistory(Message):
    """Of one node, or of every one that is known."""

    node_id: Id | None = None


class Histories(Message):
    """By node id; a node that nobody knows is not among them."""

    nodes: dict[Id, NodeHistory]


class Drained(Message):
    """The node's state after the call."""

    node_id: Id
    draining: bool


PLACE = Rpc(
    "mongars.v1.scheduler.place",
    PlaceRequest,
    Placement,
    owner=Principal.SCHEDULER,
    callers=frozenset({Principal.COGNITION, Principal.API}),
    timeout_s=2.0,
)
EXPLAIN_PLACEMENT = Rpc(
    "mongars.v1.scheduler.explain_placement",
    PlaceRequest,
    Explanation,
    owner=Principal.SCHEDULER,
    callers=frozenset({Principal.API, Principal.CLI}),
    max_bytes=16 * MIB,
)
"""Places nothing, and counts nowhere."""
PLACE_JOB = Rpc(
    "mongars.v1.scheduler.place_job",
    PlaceJob,
    JobPlacement,
    owner=Principal.SCHEDULER,
    callers=frozenset({Principal.COGNITION, Principal.TRAINER, Principal.OPTIMIZER}),
    timeout_s=2.0,
)
EXPLAIN_JOB = Rpc(
    "mongars.v1.scheduler.explain_job",
    PlaceJob,
    Explanation,
    owner=Principal.SCHEDULER,
    callers=frozenset({Principal.API, Principal.CLI}),
    max_bytes=16 * MIB,
)
"""Likewise for work that nobody waits for."""
PREEMPT = Broadcast(
    "mongars.v1.scheduler.preempt",
    Preempt,
    owner=Principal.API,
    callers=frozenset({Principal.COGNITION, Principal.INFERENCE, Principal.TRAINER}),
)
"""The api, which knows first, tells it; the subject is the scheduler's, whose business it is."""
OUTCOME = Broadcast(
    "mongars.v1.cognition.outcome", Outcome, owner=Principal.COGNITION, callers=frozenset({Principal.SCHEDULER})
)
PLACED = Broadcast(
    "mongars.v1.scheduler.placed", Placed, owner=Principal.SCHEDULER, callers=frozenset({Principal.SCHEDULER})
)
LIST_NODES = Rpc(
    "mongars.v1.scheduler.list_nodes",
    Empty,
    Nodes,
    owner=Principal.SCHEDULER,
    callers=frozenset({Principal.API, Principal.CLI}),
    max_bytes=16 * MIB,
)
NODE_HISTORY = Rpc(
    "mongars.v1.scheduler.node_history",
    ReadHistory,
    Histories,
    owner=Principal.SCHEDULER,
    callers=frozenset({Principal.API, Principal.CLI}),
    max_bytes=16 * MIB,
)
LIST_MODELS = Rpc(
    "mongars.v1.scheduler.list_models",
    Empty,
    Models,
    owner=Principal.SCHEDULER,
    callers=frozenset({Principal.API, Principal.CLI, Principal.COGNITION}),
)
DRAIN = Rpc(
    "mongars.v1.scheduler.drain",
    NodeRef,
    Drained,
    owner=Principal.SCHEDULER,
    callers=frozenset({Principal.API, Principal.CLI, Principal.OPS}),
)
UNDRAIN = Rpc(
    "mongars.v1.scheduler.undrain",
    NodeRef,
    Drained,
    owner=Principal.SCHEDULER,
    callers=frozenset({Principal.API, Principal.CLI, Principal.OPS}),
)
FORGET = Rpc(
    "mongars.v1.scheduler.forget",
    NodeRef,
    Forgotten,
    owner=Principal.SCHEDULER,
    callers=frozenset({Principal.CLI}),
)
"""Of a node that was taken out for good; one that still speaks is known again at once."""
