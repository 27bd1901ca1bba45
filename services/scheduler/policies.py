"""Choosing a replica for a request: pure, with a reason for every node that was not taken.

``least_in_flight`` is weighted least connections on live counts. ``power_of_two`` takes the less loaded of two drawn
at random (Mitzenmacher 2001), which keeps several schedulers with the same old telemetry from herding.
``expected_completion`` takes the smallest time to the end of the answer, from measured rates and the tokens ahead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from libs.shared.contracts.scheduling import PlaceRequest
from libs.shared.contracts.telemetry import ServedModel
from libs.shared.errors import ModelNotFound, NoModel, NoNode, RemoteNotAllowed, ServiceError, Unsupported
from libs.shared.roles import NOBODY, Roles, role_named
from services.scheduler import breakers
from services.scheduler.registry import NodeView, ReplicaView, Snapshot

UNMEASURED_PROMPT_TOKENS_PER_S = 100.0
UNMEASURED_GENERATED_TOKENS_PER_S = 10.0
"""What a model of no measured speed is taken for: a small board's, so that it is tried without being preferred."""
THROTTLED_SLOWDOWN = 2.0
"""A throttling board runs at about half its clock (Raspberry Pi 4: 1.5 GHz down to 0.6–1.0)."""


class Choice(NamedTuple):
    """A replica that could take the request; ``load`` counts what was sent since its snapshot."""

    node: NodeView
    replica: ReplicaView
    model: ServedModel
    load: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Decision:
    """A placement, or the refusal to raise; and why each node that serves the model was not taken."""

    choice: Choice | None
    refusal: ServiceError | None
    policy: str
    rejected: Mapping[str, str] = field(default_factory=dict)

    @property
    def reasons(self) -> dict[str, int]:
        """Reason → how many nodes it ruled out."""
        counts: dict[str, int] = {}
        for reason in self.rejected.values():
            counts[reason] = counts.get(reason, 0) + 1
        return counts


Policy = Callable[[list[Choice], PlaceRequest, float], Choice]
"""Picks one of at least one choice; the last argument is drawn uniformly from [0, 1)."""


def _least(choices: list[Choice], keys: list[float], draw: float) -> Choice:
    """The choice with the least key; ``draw`` settles a tie, so that equals share the load."""
    least = min(keys)
    tied = [c for c, key in zip(choices, keys, strict=True) if key == least]
    return tied[int(draw * len(tied))]


def least_in_flight(choices: list[Choice], request: PlaceRequest, draw: float) -> Choice:
    """The fewest requests a slot."""
    return _least(choices, [c.load / c.replica.slots for c in choices], draw)


def power_of_two(choices: list[Choice], request: PlaceRequest, draw: float) -> Choice:
    """The less loaded of two different ones."""
    count = len(choices)
    if count == 1:
        return choices[0]
    pair = int(draw * count * (count - 1))
    first, second = divmod(pair, count - 1)
    other = second + (second >= first)
    return min(choices[first], choices[other], key=lambda c: c.load / c.replica.slots)


def completion_s(choice: Choice, request: PlaceRequest) -> float:
    """Seconds until the answer's end: the tokens ahead shared by the slots, then this prompt and its answer."""
    rates = choice.model.rates
    prompt_rate = rates.prompt_tokens_per_s or UNMEASURED_PROMPT_TOKENS_PER_S
    answer_rate = rates.generated_tokens_per_s or UNMEASURED_GENERATED_TOKENS_PER_S
    ahead_s = choice.tokens / (answer_rate * choice.replica.slots)
    own_s = request.prompt_tokens / prompt_rate + request.max_tokens / answer_rate
    return (ahead_s + own_s) * (THROTTLED_SLOWDOWN if choice.node.throttled else 1.0)


def expected_completion(choices: list[Choice], request: PlaceRequest, draw: float) -> Choice:
    """The earliest expected end."""
    return _least(choices, [completion_s(c, request) for c in choices], draw)


POLICIES: dict[str, Policy] = {
    "least_in_flight": least_in_flight,
    "power_of_two": power_of_two,
    "expected_completion": expected_completion,
}


def default_model(kind: str, preferred: str | None, snapshot: Snapshot, now: float) -> str | None:
    """The model for requests that name none: the preferred where a living node has it, else the first that one has,
    one of this network before a remote one.

    With no living node it is the first known, so that the refusal says ``no_node`` and not ``no_model``.
    """
    models = snapshot.chat_models if kind == "chat" else snapshot.embed_models
    models = tuple(sorted(models, key=lambda model: _only_remote(model, snapshot)))
    if preferred is not None and preferred in models:
        models = (preferred, *models)
    living = (m for m in models if any(_heard(snapshot.nodes[n], snapshot, now) for n in snapshot.serving[m]))
    return next(living, next(iter(models), None))


def _only_remote(model: str, snapshot: Snapshot) -> bool:
    """Whether every node that has it would ask a remote server; where one doesn't, the others are not chosen."""
    return all(snapshot.nodes[node].models[model].remote for node in snapshot.serving[model])


def _heard(node: NodeView, snapshot: Snapshot, now: float) -> bool:
    return now - node.heard_at <= snapshot.rules.silent_s


def ruled_out(node: NodeView, snapshot: Snapshot, now: float) -> str | None:
    """Why nothing may be placed on this node, whatever the request; None when something may."""
    if now - node.heard_at > snapshot.rules.silent_s:
        return "silent"
    return "draining" if node.draining else None


def _lacking(model: ServedModel, request: PlaceRequest) -> str | None:
    """The first thing asked for that the model can't do: its kind of work, or one of the request's needs."""
    if model.kind != request.kind:
        return request.kind
    for need in request.needs:
        if not getattr(model, need):
            return need
    return None


def _sift(
    model: str, request: PlaceRequest, snapshot: Snapshot, now: float, *, remote_models: bool = False
) -> tuple[list[Choice], dict[str, str]]:
    choices: list[Choice] = []
    rejected: dict[str, str] = {}
    only_remote = _only_remote(model, snapshot)
    for node_id in snapshot.serving[model]:
        node = snapshot.nodes[node_id]
        served = node.models[model]
        reason = ruled_out(node, snapshot, now) or ("unsupported" if _lacking(served, request) else None)
        if served.remote and not (remote_models and only_remote):
            reason = "remote"
        if reason is None:
            before = len(choices)
            reason = _add_choices(choices, node, served, request, snapshot, now)
            if len(choices) > before:
                continue
        rejected[node_id] = reason
    return choices, rejected


def _add_choices(
    choices: list[Choice], node: NodeView, served: ServedModel, request: PlaceRequest, snapshot: Snapshot, now: float
) -> str:
    """Adds the node's usable replicas; returns why the others, if any, are not."""
    reason = "not_serving"
    model, exclude, dispatched = served.name, request.exclude, snapshot.dispatched
    for replica in node.replicas:
        name = replica.replica
        if model not in replica.models:
            continue
        if replica.draining:
            reason = "draining"
        elif name in exclude:
            reason = "excluded"
        elif snapshot.breakers and not _closed(name, model, snapshot, now):
            reason = "breaker_open"
        elif sent := dispatched.get(name):
            choices.append(Choice(node, replica, served, replica.load + len(sent.sent), replica.tokens + sent.tokens))
        else:
            choices.append(Choice(node, replica, served, replica.load, replica.tokens))
    return reason


def _closed(replica: str, model: str, snapshot: Snapshot, now: float) -> bool:
    breaker = snapshot.breakers.get((replica, model))
    return breaker is None or breakers.allows(breaker, now, snapshot.rules.breaker)


def choose(
    request: PlaceRequest,
    snapshot: Snapshot,
    now: float,
    *,
    draw: float,
    policy: str = "least_in_flight",
    roles: Roles = NOBODY,
    remote_models: bool = False,
) -> Decision:
    """Decides on values alone. ``roles`` are those in the settings, ``remote_models`` whether models of remote servers
    may be chosen; ``draw`` lies in [0, 1)."""
    model = _meant(request, snapshot, now, roles)
    unnamed = model is not None and model != request.model
    if model is None or (unnamed and not remote_models and _only_remote(model, snapshot)):
        return Decision(None, NoModel(f"no {request.kind} model is served by any node"), policy)
    if model not in snapshot.serving:
        return Decision(None, _unknown(model, snapshot), policy)
    choices, rejected = _sift(model, request, snapshot, now, remote_models=remote_models)
    if not choices:
        return Decision(None, _refusal(model, request, snapshot, rejected, now), policy, rejected)
    taken = POLICIES[policy](choices, request, draw)
    for other in choices:
        if other.node is not taken.node:
            rejected[other.node.node_id] = "longer_queue"
    return Decision(taken, None, policy, rejected)


def _meant(request: PlaceRequest, snapshot: Snapshot, now: float, roles: Roles) -> str | None:
    """The model that a request names, by its name or by a role of its kind; a model that is called so goes before."""
    role = role_named(request.model) if request.model else request.kind
    if role is None or request.model in snapshot.serving or (role == "embed") != (request.kind == "embed"):
        return request.model
    return default_model(request.kind, roles.model(role), snapshot, now)


def _unknown(model: str, snapshot: Snapshot) -> ServiceError:
    if model in snapshot.ever_offered:
        return NoNode("no node that has this model is known any more", retry_after_s=5.0)
    return ModelNotFound("no node has ever offered this model; those served now are listed under /v1/models")


def _refusal(
    model: str, request: PlaceRequest, snapshot: Snapshot, rejected: Mapping[str, str], now: float
) -> ServiceError:
    if _only_remote(model, snapshot) and set(rejected.values()) == {"remote"}:
        return RemoteNotAllowed("this model answers on a remote server, which no admin has allowed")
    lacks = [_lacking(snapshot.nodes[node].models[model], request) for node in rejected]
    if all(lacks):
        return Unsupported(f"the model can't do {lacks[0]}", lacks=lacks[0])
    waits = [b.open_until - now for (_, name), b in snapshot.breakers.items() if name == model and b.open_until > now]
    reasons = ", ".join(sorted(set(rejected.values())))
    return NoNode(f"no node can take the request now: {reasons}", retry_after_s=round(min([1.0, *waits]), 2))
