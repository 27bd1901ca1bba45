"""Clusters in values: telemetry of nodes, and a registry that heard it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from libs.shared.contracts.telemetry import Cpu, Memory, NodeTelemetry, Replica, ServedModel
from services.scheduler.registry import Registry, RegistryRules

MOMENT = datetime(2026, 11, 1, tzinfo=UTC)


class Clock:
    """A monotonic clock that a test moves."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def model(name: str = "llama", **fields: Any) -> ServedModel:
    about: dict[str, Any] = {"backend": "llama_cpp", "context_tokens": 2048} | fields
    return ServedModel(name=name, **about)


def node(
    node_id: str,
    *,
    sequence: int = 1,
    boot_id: str = "boot",
    models: Iterable[ServedModel] | None = None,
    replicas: tuple[Replica, ...] | None = None,
    **fields: Any,
) -> NodeTelemetry:
    served = tuple(models) if models is not None else (model(),)
    names = tuple(m.name for m in served)
    in_flight = fields.pop("in_flight", 0)
    if replicas is None:
        replicas = (Replica(replica=f"{node_id}-0", models=names, in_flight=in_flight),)
    about: dict[str, Any] = {
        "at": MOMENT,
        "version": "0.1.0",
        "board": "test",
        "runtime": "inline",
        "cpu": Cpu(cores=4.0, utilisation=0.1, load_1m=0.1),
        "memory": Memory(total_mib=4096.0, available_mib=2048.0),
        "temperature_c": None,
        "throttled": None,
        "power_w": None,
        "in_flight": in_flight,
        "queued": 0,
        "in_flight_tokens": 0,
        "queued_tokens": 0,
        "draining": False,
        "free_disk_mib": 1000.0,
    }
    return NodeTelemetry(
        node_id=node_id, sequence=sequence, boot_id=boot_id, replicas=replicas, models=served, **(about | fields)
    )


def registry(*nodes: NodeTelemetry, clock: Clock | None = None, rules: RegistryRules | None = None) -> Registry:
    known = Registry(rules or RegistryRules(), clock or Clock())
    for telemetry in nodes:
        known.hear(telemetry)
    return known
