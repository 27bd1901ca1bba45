"""OpenTelemetry instruments kept in prometheus_client: bounded labels, about a microsecond a record."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import prometheus_client
from opentelemetry import metrics as otel
from opentelemetry.context import Context
from opentelemetry.util.types import AttributeValue
from prometheus_client import CollectorRegistry

OTHER = "other"
NONE = ""
_LEARNABLE = re.compile(r"[A-Za-z0-9/][\w.:/{}-]{0,63}")

prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]

Attributes = Mapping[str, AttributeValue] | None


class Label:
    """A label and what it may say; any other value is recorded as ``other``.

    Without ``values`` it learns the first ``learns`` that look like the name of a model or a route.
    """

    def __init__(self, name: str, values: frozenset[str] | None = None, *, learns: int = 32) -> None:
        self.name = name
        self.values = values
        self._learns = learns
        self._learned: set[str] = set()

    def bounded(self, value: object) -> str:
        """``value`` as the label may show it; an absent one is empty."""
        if value is None:
            return NONE
        text = str(value)
        if self.values is not None:
            return text if text in self.values else OTHER
        if text not in self._learned and len(self._learned) < self._learns and _LEARNABLE.fullmatch(text):
            self._learned.add(text)
        return text if text in self._learned else OTHER


def exposed(name: str) -> str:
    """The name in Prometheus, where dots are not allowed."""
    return name.replace(".", "_")


class _Family:
    """One metric of prometheus_client, with its children kept by the raw attribute values that led to them."""

    def __init__(self, family: Any, labels: tuple[Label, ...]) -> None:
        self.family = family
        self.labels = labels
        self._names = tuple(label.name for label in labels)
        self._children: dict[tuple[object, ...], Any] = {}

    def child(self, attributes: Attributes) -> Any:
        values = attributes or {}
        key = tuple([values.get(name) for name in self._names])
        try:
            found = self._children.get(key)
        except TypeError:  # a list, which OpenTelemetry's types allow and no label of ours can show
            return self._bind(tuple([value if value is None else str(value) for value in key]))
        return self._bind(key) if found is None else found

    def _bind(self, key: tuple[object, ...]) -> Any:
        bounded = tuple(label.bounded(value) for label, value in zip(self.labels, key, strict=True))
        child = self.family.labels(*bounded) if bounded else self.family
        # Only what passed unchanged is kept by its raw values: those are bounded, what became ``other`` is not.
        if all(shown != OTHER or raw == OTHER for shown, raw in zip(bounded, key, strict=True)):
            self._children[key] = child
        return child


class Counter(otel.Counter):
    """Counts up; in Prometheus ``<name>_total``."""

    def __init__(self, registry: CollectorRegistry, name: str, description: str, *labels: Label) -> None:
        self.name, self.unit, self.description = name, "1", description
        names = [exposed(label.name) for label in labels]
        family = prometheus_client.Counter(exposed(name), description, names, registry=registry)
        self.kept = _Family(family, labels)

    def add(self, amount: float, attributes: Attributes = None, context: Context | None = None) -> None:
        """``amount`` ≥ 0."""
        self.kept.child(attributes).inc(amount)


class UpDownCounter(otel.UpDownCounter):
    """How many there are now; a gauge in Prometheus."""

    def __init__(self, registry: CollectorRegistry, name: str, description: str, *labels: Label) -> None:
        self.name, self.unit, self.description = name, "1", description
        names = [exposed(label.name) for label in labels]
        self.kept = _Family(prometheus_client.Gauge(exposed(name), description, names, registry=registry), labels)

    def add(self, amount: float, attributes: Attributes = None, context: Context | None = None) -> None:
        self.kept.child(attributes).inc(amount)


class Histogram(otel.Histogram):
    """A distribution over fixed bounds; seconds are exposed as ``<name>_seconds``."""

    def __init__(
        self,
        registry: CollectorRegistry,
        name: str,
        description: str,
        *labels: Label,
        unit: str,
        bounds: tuple[float, ...],
    ) -> None:
        self.name, self.unit, self.description = name, unit, description
        suffix = "_seconds" if unit == "s" else ""
        names = [exposed(label.name) for label in labels]
        family = prometheus_client.Histogram(
            exposed(name) + suffix, description, names, registry=registry, buckets=bounds
        )
        self.kept = _Family(family, labels)

    def record(self, amount: float, attributes: Attributes = None, context: Context | None = None) -> None:
        self.kept.child(attributes).observe(amount)


Instrument = Counter | UpDownCounter | Histogram
