"""Encoders that were trained here, among what the nodes embed with: in rows, put to use, rolled back, removed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from cli.errors import CommandError, Exit
from cli.training.artefacts import actor, all_of
from libs.shared.artefacts.encoders import accepted
from libs.shared.artefacts.standing import Standing
from libs.shared.bus.base import Bus
from libs.shared.contracts.adapters import (
    REMOVE_ADAPTER,
    ROLL_BACK_ADAPTER,
    SERVE_ADAPTER,
    RemoveAdapter,
    RollBackAdapter,
    RolledBack,
    ServeAdapter,
)
from libs.shared.contracts.runtime_settings import RuntimeSettings
from libs.shared.contracts.telemetry import ServedModel


async def trained(bus: Bus) -> dict[str, Standing]:
    """By name. Raises ServiceError."""
    return {one.name: one for one in await all_of(bus) if one.kind == "encoder"}


async def use(bus: Bus, name: str, instead_of: str | None, *, taint: bool, verdict: bool) -> None:
    """In place of what embeds until now, despite a ``taint`` and without an accepting ``verdict`` where that is meant.
    Raises ServiceError."""
    asked = ServeAdapter(
        adapter=name, actor=actor(), apply=True, despite_taint=taint, despite_verdict=verdict, instead_of=instead_of
    )
    await bus.request(SERVE_ADAPTER, asked)


async def roll_back(bus: Bus, name: str) -> RolledBack:
    """Raises ServiceError, CommandError for one that wasn't trained here."""
    if name not in await trained(bus):
        raise CommandError(
            f"{name} was not trained here", "to change over: mongars embedders use OTHER", code=Exit.REFUSED
        )
    return await bus.request(ROLL_BACK_ADAPTER, RollBackAdapter(adapter=name, actor=actor()))


async def remove(bus: Bus, name: str) -> bool:
    """Whether it was one; from the store, and so from the nodes. Raises ServiceError."""
    if name not in await trained(bus):
        return False
    await bus.request(REMOVE_ADAPTER, RemoveAdapter(adapter=name, actor=actor()))
    return True


def rows(served: Iterable[ServedModel], settings: RuntimeSettings, kept: dict[str, Standing]) -> list[dict[str, Any]]:
    """What the nodes embed with, then what they don't yet, or refuse to. Pure."""
    found = [_served(model, settings, kept.get(model.name)) for model in served]
    names = {row["name"] for row in found}
    return found + [_awaited(one) for name, one in sorted(kept.items()) if name not in names]


def cells(row: dict[str, Any]) -> Sequence[str]:
    """Of the table. Pure."""
    told = row["trained"] or {}
    notes = [f"{where}: {code}" for where, code in sorted(told.get("refused", {}).items())]
    if told and not notes and not row["served"]:
        notes.append("no node has it yet")
    if told:
        notes.insert(0, _verdict(told))
    return (
        row["name"],
        row["version"],
        str(row["dimensions"]),
        str(row["tokens"]),
        "yes" if row["used"] else "-",
        f"run {told['run']}, of {told['base']}" if told else "-",
        "; ".join(notes) or "-",
    )


def _verdict(told: dict[str, Any]) -> str:
    said = told["metrics"].get("decision")
    if said:
        return str(said)
    return "accepted" if accepted(told["metrics"]) else "not measured"


def _served(model: ServedModel, settings: RuntimeSettings, one: Standing | None) -> dict[str, Any]:
    identity = model.embedder or model.name
    return {
        "name": model.name,
        "version": identity.partition("@")[2],
        "dimensions": model.dimensions,
        "tokens": model.context_tokens,
        "used": identity == settings.embedder,
        "served": True,
        "trained": _told(one) if one is not None and one.model == identity else None,
    }


def _awaited(one: Standing) -> dict[str, Any]:
    return {
        "name": one.name,
        "version": (one.model or "").partition("@")[2],
        "dimensions": one.configuration.get("dimensions"),
        "tokens": one.configuration.get("max_tokens"),
        "used": bool(one.in_service),
        "served": False,
        "trained": _told(one),
    }


def _told(one: Standing) -> dict[str, Any]:
    """Where it comes from; what isn't signed by this installation never gets so far."""
    return {
        "run": one.configuration.get("run"),
        "base": one.base,
        "created": one.created.isoformat() if one.created is not None else None,
        "signed_by": "this installation",
        "tainted": one.tainted,
        "metrics": one.metrics,
        "nodes": list(one.nodes),
        "refused": one.refused,
    }
