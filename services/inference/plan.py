"""Where each model of a node runs: in the service itself, or in replicas of Ray Serve. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from services.inference.models import ModelSpec

Runtime = Literal["ray", "inline"]
EXTRACTIVE = ModelSpec(name="extractive", backend="extractive")


@dataclass(frozen=True)
class Plan:
    """``warning`` is a stable word for why Ray is not used although ``auto`` would like to."""

    runtime: Runtime
    inline: tuple[ModelSpec, ...]
    deployed: tuple[ModelSpec, ...] = ()
    """One Ray Serve application each: a broken model takes no other with it."""
    warning: str | None = None


def make_plan(
    wanted: Literal["auto", "ray", "inline"],
    specs: Sequence[ModelSpec],
    *,
    ray_installed: bool,
    memory_mib: float,
    memory_floor_mib: float,
) -> Plan:
    """Models that answer elsewhere stay in the service: a proxy gains nothing from a process of 150 MB of its own.

    ``ray`` uses Ray even when nothing needs it, and then deploys the extractive model; ``auto`` only for local models.
    """
    local = tuple(spec for spec in specs if spec.local)
    elsewhere = tuple(spec for spec in specs if not spec.local)
    everything = Plan("inline", (EXTRACTIVE, *elsewhere, *local))
    if wanted == "ray":
        if not ray_installed:
            return Plan("inline", everything.inline, warning="ray-not-installed")
        if not local:
            return Plan("ray", elsewhere, (EXTRACTIVE,))
        return Plan("ray", (EXTRACTIVE, *elsewhere), local)
    if wanted == "inline" or not local:
        return everything
    if not ray_installed:
        return Plan("inline", everything.inline, warning="ray-not-installed")
    if memory_mib < memory_floor_mib:
        return Plan("inline", everything.inline, warning="ray-needs-memory")
    return Plan("ray", (EXTRACTIVE, *elsewhere), local)
