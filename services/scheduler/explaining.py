"""What a placement would be now, and why no other node is taken: nothing is placed by asking. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from libs.shared.contracts.scheduling import NO_ROOM, Considered, Explanation, PlaceRequest, Refused
from libs.shared.contracts.telemetry import with_adapter
from libs.shared.errors import ServiceError
from services.scheduler.background import Room
from services.scheduler.placement import Decision
from services.scheduler.policies import completions_s, first_token_s
from services.scheduler.registry import Snapshot

TAKEN = "taken"
NOT_SERVING = "not_serving"
BACKGROUND = "background"


def explain(request: PlaceRequest, decision: Decision, snapshot: Snapshot) -> Explanation:
    """The decision in words: every replica that has the model, then every node without it."""
    choice = decision.choice
    return Explanation(
        model=_model(request, decision),
        policy=decision.policy,
        node_id=choice.node.node_id if choice is not None else None,
        refused=_refused(decision.refusal) if decision.refusal is not None else None,
        considered=(*_replicas(decision), *_without(decision, snapshot)),
    )


def explain_room(request: PlaceRequest, decision: Decision, room: Room | None, snapshot: Snapshot) -> Explanation:
    """The same of work that nobody waits for. ``room``: where ``decision`` leaves any; None where it refuses."""
    if room is None:
        return explain(request, decision, snapshot).model_copy(update={"policy": BACKGROUND})
    choice = room.choice
    waits = Refused(
        code=NO_ROOM, detail="no node has room for it at the moment", retry_after_s=round(room.retry_after_s, 3)
    )
    considered = (
        Considered(node_id=c.node.node_id, replica=c.replica.replica, reason=room.reason(c) or TAKEN)
        for c in sorted(decision.all, key=lambda c: c.replica.replica)
    )
    return Explanation(
        model=_model(request, decision),
        policy=BACKGROUND,
        node_id=choice.node.node_id if choice is not None else None,
        refused=waits if choice is None else None,
        considered=(*considered, *_without(decision, snapshot)),
    )


def _model(request: PlaceRequest, decision: Decision) -> str | None:
    if not decision.all:
        return request.model
    return with_adapter(decision.all[0].model.name, decision.ask.adapter if decision.ask is not None else None)


def _refused(refusal: ServiceError) -> Refused:
    after_s = refusal.data.get("retry_after_s")
    return Refused(
        code=refusal.code, detail=refusal.detail, retry_after_s=float(after_s) if after_s is not None else None
    )


def _replicas(decision: Decision) -> Iterator[Considered]:
    """Every replica with its reason and, where it could be chosen, its expected times."""
    usable, ask = {id(c) for c in decision.usable}, decision.ask
    for c in sorted(decision.all, key=lambda c: c.replica.replica):
        timed = ask is not None and id(c) in usable
        passed_over = decision.passed_over if decision.refusal is None else decision.refusal.code
        yield Considered(
            node_id=c.node.node_id,
            replica=c.replica.replica,
            reason=TAKEN if c is decision.choice else decision.ruled_out.get(c.replica.replica, passed_over),
            expected_first_s=round(first_token_s(c, ask), 3) if timed and ask is not None else None,
            expected_s=round(completions_s([c], ask)[0], 3) if timed and ask is not None else None,
            loading_s=round(c.loading_s(ask.adapter), 3) if timed and ask is not None else None,
        )


def _without(decision: Decision, snapshot: Snapshot) -> Iterator[Considered]:
    """Nodes that have no replica with the model."""
    with_it = {c.node.node_id for c in decision.all}
    for node in sorted(snapshot.nodes.keys() - with_it):
        yield Considered(node_id=node, reason=NOT_SERVING)
