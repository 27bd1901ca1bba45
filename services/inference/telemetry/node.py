"""The node's state, put together from its replicas' words and its sensors. Pure: the clock is an argument."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from libs.shared.contracts.telemetry import NodeTelemetry, Rates, Replica, ReplicaTelemetry, ServedModel
from libs.shared.hardware import Sample

SILENT_S = 3.0
BEFORE_REQUESTS = ("trial", "remembered")
"""Sources of a pace that no request of this life of a replica has shown."""


@dataclass(frozen=True)
class Heard:
    """A replica's last word, and when it came."""

    told: ReplicaTelemetry
    at_s: float


@dataclass(frozen=True)
class Facts:
    """What doesn't change while the service runs."""

    node_id: str
    boot_id: str
    version: str
    board: str
    power_budget_w: float | None = None


class Replicas:
    """The last word of each replica in another process. One that stops is dropped at once, a silent one after 3 s."""

    def __init__(self, node_id: str) -> None:
        self._node_id = node_id
        self._heard: dict[str, Heard] = {}

    def hear(self, told: ReplicaTelemetry, now_s: float) -> bool:
        """Takes a replica's word; True when a queue changed, a replica came or one went."""
        if told.node_id != self._node_id:
            return False
        known = self._heard.get(told.state.replica)
        if known and known.told.boot_id == told.boot_id and known.told.sequence >= told.sequence:
            return False
        if told.stopped:
            return self._forget(told)
        self._heard[told.state.replica] = Heard(told, now_s)
        return known is None or known.told.state != told.state

    def living(self, now_s: float) -> list[ReplicaTelemetry]:
        """Those heard of lately, by id; the others are forgotten."""
        self._heard = {name: heard for name, heard in self._heard.items() if now_s - heard.at_s <= SILENT_S}
        return [self._heard[name].told for name in sorted(self._heard)]

    def _forget(self, told: ReplicaTelemetry) -> bool:
        """A replica's last word counts only for the life that spoke it."""
        known = self._heard.get(told.state.replica)
        if known is None or known.told.boot_id != told.boot_id:
            return False
        del self._heard[told.state.replica]
        return True


def describe(
    facts: Facts,
    *,
    sequence: int,
    at: datetime,
    runtime: str,
    sample: Sample,
    replicas: Iterable[ReplicaTelemetry],
    draining: bool,
    degraded: tuple[str, ...],
) -> NodeTelemetry:
    """One message of telemetry; sums are over the replicas."""
    told = list(replicas)
    states = [_drained(t.state) if draining else t.state for t in told]
    return NodeTelemetry(
        node_id=facts.node_id,
        sequence=sequence,
        boot_id=facts.boot_id,
        at=at,
        version=facts.version,
        board=facts.board,
        runtime=runtime,
        cpu=sample.cpu,
        memory=sample.memory,
        temperature_c=sample.temperature_c,
        throttled=sample.throttled,
        throttle_reasons=sample.throttle_reasons,
        throttled_since_boot=sample.throttled_since_boot,
        power_w=sample.power_w,
        power_measured=sample.power_measured,
        power_source=sample.power_source,
        battery_share=sample.battery_share,
        power_budget_w=facts.power_budget_w,
        gpus=sample.gpus,
        in_flight=sum(state.in_flight for state in states),
        queued=sum(state.queued for state in states),
        in_flight_tokens=sum(state.in_flight_tokens for state in states),
        queued_tokens=sum(state.queued_tokens for state in states),
        replicas=tuple(states),
        models=_models(told),
        adapters=tuple(sorted({adapter for state in states for adapter in state.adapters})),
        draining=draining,
        free_disk_mib=sample.free_disk_mib,
        degraded=tuple(sorted({*degraded, *(word for t in told for word in t.degraded)})),
    )


def _drained(state: Replica) -> Replica:
    return state.model_copy(update={"draining": True})


def _models(told: list[ReplicaTelemetry]) -> tuple[ServedModel, ...]:
    """Each once; where several replicas serve one, the first whose requests have measured it speaks for it, or else the
    first that knows its pace at all."""
    models: dict[str, ServedModel] = {}
    for replica in told:
        for model in replica.models:
            known = models.get(model.name)
            if known is None or _worth(model.rates) > _worth(known.rates):
                models[model.name] = model
    return tuple(models.values())


def _worth(rates: Rates) -> int:
    """A pace that requests have shown is worth more than one from before them, and that more than none."""
    if rates.generated_tokens_per_s is None:
        return 0
    return 1 if rates.source in BEFORE_REQUESTS else 2
