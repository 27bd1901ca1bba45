"""The registry as operators and clients see it: nodes with reasons, models with defaults. Pure."""

from __future__ import annotations

from libs.shared import breakers
from libs.shared.contracts.scheduling import Models, Node, ReplicaBreaker
from libs.shared.contracts.telemetry import NodeTelemetry, ServedModel, with_adapter
from libs.shared.roles import Role, Roles
from services.scheduler.candidates import NodeView
from services.scheduler.placement import Meant, default_model, ruled_out
from services.scheduler.registry import Snapshot

_TALKING: tuple[Role, ...] = ("chat", "code")
_WORST: dict[breakers.State, int] = {"closed": 0, "half_open": 1, "open": 2}


def node(telemetry: NodeTelemetry, snapshot: Snapshot, now: float) -> Node:
    """A node with the reason why it is, or isn't, chosen, and the worst of its breakers."""
    view = snapshot.nodes[telemetry.node_id]
    states = _breaker_states(view, snapshot, now)
    reason = ruled_out(view, snapshot, now)
    if reason is None and states and all(s == "open" for s in states):
        reason = "breaker_open"
    return Node(
        telemetry=telemetry,
        age_s=round(max(0.0, now - view.heard_at), 3),
        available=reason is None,
        reason=reason or "ok",
        breaker=max(states, key=_WORST.__getitem__, default="closed"),
        breakers=_not_closed(view, snapshot, now),
    )


def _not_closed(view: NodeView, snapshot: Snapshot, now: float) -> tuple[ReplicaBreaker, ...]:
    found = []
    for replica in view.replicas:
        for model in sorted(replica.models):
            breaker = snapshot.breakers.get((replica.replica, model), breakers.CLOSED)
            state = breakers.state(breaker, now, snapshot.rules.breaker)
            if state != "closed":
                opens_for_s = round(max(0.0, breaker.open_until - now), 3)
                about = {"state": state, "failures": breaker.failures, "opens_for_s": opens_for_s}
                found.append(ReplicaBreaker.model_validate({"replica": replica.replica, "model": model} | about))
    return tuple(found)


def _breaker_states(view: NodeView, snapshot: Snapshot, now: float) -> list[breakers.State]:
    return [
        breakers.state(snapshot.breakers.get((replica.replica, model), breakers.CLOSED), now, snapshot.rules.breaker)
        for replica in view.replicas
        for model in sorted(replica.models)
    ]


def models(snapshot: Snapshot, now: float, roles: Roles) -> Models:
    """Every model of the living nodes, once by name, and what answers requests that name none."""
    found: dict[str, ServedModel] = {}
    adapters: dict[str, set[str]] = {}
    restricted: dict[str, set[str]] = {}
    for node_id in sorted(snapshot.nodes):
        view = snapshot.nodes[node_id]
        if ruled_out(view, snapshot, now) != "silent":
            found = dict(view.models) | found
            for model in view.models.values():
                adapters.setdefault(model.name, set()).update(model.adapters)
                restricted.setdefault(model.name, set()).update(model.restricted)
    chat, code = (default_model("chat", roles.model(role), snapshot, now) for role in _TALKING)
    embed = default_model("embed", roles.embed, snapshot, now)

    def told(default: Meant) -> str | None:
        return with_adapter(default.model, default.adapter) if default.model in found else None

    return Models(
        models=tuple(
            found[name].model_copy(
                update={"adapters": tuple(sorted(adapters[name])), "restricted": tuple(sorted(restricted[name]))}
            )
            for name in sorted(found)
        ),
        default_chat=told(chat),
        default_embed=told(embed),
        default_code=told(code),
    )
