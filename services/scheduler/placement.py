"""Deciding where a request runs: which model is meant, which replicas may take it, which does, and why no other.

Pure: the registry's snapshot, the clock and the draw are arguments.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from libs.shared import breakers
from libs.shared.contracts.scheduling import PlaceRequest
from libs.shared.contracts.telemetry import ServedModel
from libs.shared.errors import (
    AdapterNotAllowed,
    AdapterNotFound,
    ModelNotFound,
    NoModel,
    NoNode,
    Overloaded,
    RemoteNotAllowed,
    ServiceError,
    Unsupported,
)
from libs.shared.roles import NOBODY, Roles, role_named
from services.scheduler.affinity import reading
from services.scheduler.candidates import Candidate, NodeView, most_answer
from services.scheduler.policies import POLICIES, Ask, first_token_s, wait_s
from services.scheduler.registry import Snapshot

NO_ADAPTER = "adapter_not_here"
NOT_ALLOWED = AdapterNotAllowed.code
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""Of an adapter, as in ``AdapterName``."""


@dataclass(frozen=True, slots=True)
class Decision:
    """A placement, or the refusal to raise; and why each node that serves the model was not taken."""

    choice: Candidate | None
    refusal: ServiceError | None
    policy: str
    usable: Sequence[Candidate] = ()
    """Everything that the policy could choose from."""
    ruled_out: Mapping[str, str] = field(default_factory=dict)
    """Replica → why it was not among them."""
    all: Sequence[Candidate] = ()
    unserved: Sequence[str] = ()
    """Nodes that list the model, and have no replica with it."""
    ask: Ask | None = None

    @property
    def passed_over(self) -> str:
        """Why a usable node was not taken."""
        return "later_completion" if self.policy == "expected_completion" else "longer_queue"

    @property
    def rejected(self) -> dict[str, str]:
        """Every node that was not taken, with the reason."""
        taken = self.choice.node.node_id if self.choice is not None else None
        found = dict.fromkeys(self.unserved, "not_serving")
        for c in self.all:
            if (reason := self.ruled_out.get(c.replica.replica)) is not None:
                found[c.node.node_id] = reason
        found |= {c.node.node_id: self.passed_over for c in self.usable}
        found.pop(taken or "", None)
        return found

    @property
    def reasons(self) -> dict[str, int]:
        """Reason → how many nodes it ruled out."""
        if self.ruled_out or self.unserved or self.choice is None:
            return dict(Counter(self.rejected.values()))
        others = len({c.node.node_id for c in self.usable}) - 1
        return {self.passed_over: others} if others else {}


class Meant(NamedTuple):
    """Which model a request is for, and with which adapter."""

    model: str | None
    adapter: str | None = None
    named: bool = True
    """Whether the request says it; else it names a role, or nothing."""


def default_model(
    kind: str, preferred: str | None, snapshot: Snapshot, now: float, may_use: Collection[str] | None = None
) -> Meant:
    """The model for requests that name none: the preferred where a living node has it, else the first that one has,
    one of this network before a remote one. ``preferred`` may name an adapter, too: without it where no living node has
    that, or whoever asks may not use it (``may_use``: of the restricted ones; None: all).

    With no living node it is the first known, so that the refusal says ``no_node`` and not ``no_model``.
    """
    wanted, adapter = apart(preferred, snapshot) if preferred is not None else (None, None)
    models = snapshot.chat_models if kind == "chat" else snapshot.embed_models
    models = tuple(sorted(models, key=snapshot.only_remote.__contains__))
    if wanted is not None and wanted in models:
        models = (wanted, *models)
    living = (m for m in models if any(_heard(node, snapshot, now) for node in _having(m, snapshot)))
    model = next(living, next(iter(models), None))
    if (
        model is None
        or model != wanted
        or adapter is None
        or not _has_adapter(model, adapter, snapshot, now, may_use=may_use)
    ):
        adapter = None
    return Meant(model, adapter, named=False)


def _has_adapter(
    model: str,
    adapter: str,
    snapshot: Snapshot,
    now: float | None = None,
    *,
    may_use: Collection[str] | None = None,
) -> bool:
    """Whether any node has it for this model, even one that can't take a request; with ``now``, a living one; with
    ``may_use``, where whoever asks may use it."""
    return any(
        adapter in node.models[model].adapters
        and (now is None or _heard(node, snapshot, now))
        and _allowed(adapter, node.models[model], may_use)
        for node in _having(model, snapshot)
    )


def _allowed(adapter: str, served: ServedModel, may_use: Collection[str] | None) -> bool:
    """A restricted one is for those alone of whom it is known that they may use it."""
    return may_use is None or adapter not in served.restricted or adapter in may_use


def _having(model: str, snapshot: Snapshot) -> Iterator[NodeView]:
    return (snapshot.nodes[node] for node in snapshot.serving.get(model, ()))


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


def sift(
    candidates: Sequence[Candidate], request: PlaceRequest, snapshot: Snapshot, now: float, *, remote: bool = False
) -> tuple[Sequence[Candidate], dict[str, str]]:
    """Those that may take the request, and why each other replica may not. ``remote``: remote ones may."""
    oldest, breaking = now - snapshot.rules.silent_s, snapshot.breakers
    usable = [c for c in candidates if c.heard_at >= oldest and not c.draining]
    if breaking:
        usable = [c for c in usable if _closed(c.replica.replica, c.model.name, snapshot, now)]
    if request.exclude:
        usable = [c for c in usable if c.replica.replica not in request.exclude]
    if request.exclude_nodes:
        usable = [c for c in usable if c.node.node_id not in request.exclude_nodes]
    if request.needs or snapshot.some_remote or candidates[0].model.kind != request.kind:
        usable = [c for c in usable if (remote or not c.model.remote) and not _lacking(c.model, request)]
    if request.adapter is not None:
        usable = [c for c in usable if _adapts(c, request)]
    if len(usable) == len(candidates):
        return usable, {}
    kept = {id(c) for c in usable}
    others = (c for c in candidates if id(c) not in kept)
    return usable, {c.replica.replica: _why_not(c, request, snapshot, now, remote=remote) for c in others}


def _why_not(candidate: Candidate, request: PlaceRequest, snapshot: Snapshot, now: float, *, remote: bool) -> str:
    """The first reason that is true of a candidate which ``sift`` left out."""
    if candidate.model.remote and not remote:
        return "remote"
    if (reason := ruled_out(candidate.node, snapshot, now)) is not None:
        return reason
    if _lacking(candidate.model, request):
        return "unsupported"
    if request.adapter is not None and not _adapts(candidate, request):
        return NOT_ALLOWED if request.adapter in candidate.adapters else NO_ADAPTER
    if candidate.draining:
        return "draining"
    if candidate.replica.replica in request.exclude or candidate.node.node_id in request.exclude_nodes:
        return "excluded"
    return "breaker_open"


def _adapts(candidate: Candidate, request: PlaceRequest) -> bool:
    adapter = request.adapter
    return adapter in candidate.adapters and _allowed(str(adapter), candidate.model, request.may_use)


def _closed(replica: str, model: str, snapshot: Snapshot, now: float) -> bool:
    breaker = snapshot.breakers.get((replica, model))
    return breaker is None or breakers.allows(breaker, now, snapshot.rules.breaker)


def choose(
    request: PlaceRequest,
    snapshot: Snapshot,
    now: float,
    *,
    draw: float,
    policy: str = "expected_completion",
    others: float = 1.0,
    roles: Roles = NOBODY,
    remote_models: bool = False,
) -> Decision:
    """Decides on values alone. ``roles`` are those in the settings, ``remote_models`` whether models of remote servers
    may be chosen; ``draw`` lies in [0, 1)."""
    model, adapter, named = meant(request, snapshot, now, roles)
    if model is None or (model in snapshot.only_remote and not (named or remote_models)):
        return Decision(None, NoModel(f"no {request.kind} model is served by any node"), policy)
    if model not in snapshot.serving:
        return Decision(None, _unknown(model, snapshot), policy)
    if adapter != request.adapter:
        request = request.model_copy(update={"adapter": adapter})
    candidates, unserved = snapshot.candidates[model], snapshot.unserved[model]
    remote = remote_models and model in snapshot.only_remote
    usable, closed = sift(candidates, request, snapshot, now, remote=remote) if candidates else ((), {})
    ask = Ask(now, request.prompt_tokens, most_answer(request), snapshot.warm.get(reading(request)), adapter, others)
    if not usable:
        refusal = _refusal(model, request, snapshot, closed, now)
        return Decision(None, refusal, policy, usable, closed, candidates, unserved, ask)
    if request.first_within_s is not None:
        usable, closed = _in_time(usable, closed, ask, request.first_within_s)
        if not usable:
            refusal = Overloaded("no node would give a first token in time", retry_after_s=1.0)
            return Decision(None, refusal, policy, usable, closed, candidates, unserved, ask)
    late_s = _too_late_s(usable, request, ask)
    if late_s > 0:
        refusal = Overloaded("every node that has this model is busy for longer", retry_after_s=round(late_s, 1))
        return Decision(None, refusal, policy, usable, closed, candidates, unserved, ask)
    return Decision(POLICIES[policy](usable, ask, draw), None, policy, usable, closed, candidates, unserved, ask)


def _in_time(
    usable: Sequence[Candidate], closed: Mapping[str, str], ask: Ask, within_s: float
) -> tuple[Sequence[Candidate], dict[str, str]]:
    """Those whose first token is expected within so many seconds, and why each other replica is left out."""
    late = {c.replica.replica: "too_late" for c in usable if first_token_s(c, ask) > within_s}
    return [c for c in usable if c.replica.replica not in late], {**closed, **late}


def _too_late_s(usable: Sequence[Candidate], request: PlaceRequest, ask: Ask) -> float:
    """By how many seconds the waiting alone is longer than the request's patience, wherever it would go."""
    if request.patience_s is None:
        return 0.0
    return min(wait_s(c, ask) for c in usable) - request.patience_s


def apart(name: str, snapshot: Snapshot) -> tuple[str, str | None]:
    """A model's name, or a role's, and the adapter's that stands behind it, as in ``MODEL:ADAPTER``.

    A model that is called so goes before. One that was called so, and is gone, does as long as no node has an adapter
    of the other reading: its name is then refused for what it is.
    """
    base, colon, adapter = name.rpartition(":")
    if name in snapshot.serving or not colon or not NAME.fullmatch(adapter):
        return name, None
    if name in snapshot.ever_offered:
        return (base, adapter) if _has_adapter(base, adapter, snapshot) else (name, None)
    known = base in snapshot.serving or base in snapshot.ever_offered or role_named(base) is not None
    return (base, adapter) if known else (name, None)


def meant(request: PlaceRequest, snapshot: Snapshot, now: float, roles: Roles) -> Meant:
    """What a request names, by a model's name or by a role of its kind (a model that is called so goes before), each
    with an adapter or without. Who doesn't pass an adapter on is given none."""
    name, adapter = request.model, request.adapter
    if name is not None and adapter is None and request.adapts:
        name, adapter = apart(name, snapshot)
    role = role_named(name) if name else request.kind
    if role is None or name in snapshot.serving or (role == "embed") != (request.kind == "embed"):
        return Meant(name, adapter)
    given = default_model(request.kind, roles.model(role), snapshot, now, request.may_use)
    if adapter is not None or not request.adapts:
        return given._replace(adapter=adapter)
    return given


def _unknown(model: str, snapshot: Snapshot) -> ServiceError:
    if model in snapshot.ever_offered:
        return NoNode("no node that has this model is known any more", retry_after_s=5.0)
    return ModelNotFound("no node has ever offered this model; those served now are listed under /v1/models")


def _refusal(
    model: str, request: PlaceRequest, snapshot: Snapshot, closed: Mapping[str, str], now: float
) -> ServiceError:
    if model in snapshot.only_remote and set(closed.values()) == {"remote"}:
        return RemoteNotAllowed("this model answers on a remote server, which no admin has allowed")
    lacks = [_lacking(snapshot.nodes[node].models[model], request) for node in snapshot.serving[model]]
    if all(lacks):
        return Unsupported(f"the model can't do {lacks[0]}", lacks=lacks[0])
    if request.adapter is not None and not _has_adapter(model, request.adapter, snapshot):
        return AdapterNotFound("no node has this adapter for this model; those there are stand under /v1/models")
    if NOT_ALLOWED in closed.values() and not _has_adapter(
        model, str(request.adapter), snapshot, may_use=request.may_use
    ):
        return AdapterNotAllowed("it was trained with other people's words, who have not let everybody use it")
    waits = [b.open_until - now for (_, name), b in snapshot.breakers.items() if name == model and b.open_until > now]
    reasons = ", ".join(sorted(set(closed.values()))) or "not_serving"
    return NoNode(f"no node can take the request now: {reasons}", retry_after_s=round(min([1.0, *waits]), 2))
