"""Logs, traces and metrics of every process: ``setup`` once, then ``get_logger``, ``tracer`` and ``metrics``."""

from __future__ import annotations

from collections.abc import Callable

from libs.shared.settings import ServiceSettings
from libs.shared.telemetry import logs, metrics, traces
from libs.shared.telemetry.logs import get_logger
from libs.shared.telemetry.metrics import merge_metrics, metrics_text
from libs.shared.telemetry.traces import tracer

__all__ = ["get_logger", "merge_metrics", "metrics", "metrics_text", "setup", "tracer"]


def setup(service: str, settings: ServiceSettings) -> Callable[[], None]:
    """Readies this process's telemetry. The returned callable flushes, in at most a few seconds; call it last."""
    logs.setup(service, settings.log_level)
    metrics.name_service(service)
    stop_traces = traces.setup(service, settings.otlp_endpoint, settings.trace_sample_ratio)
    if settings.otlp_endpoint is None:
        return stop_traces
    # Imported here: the exporter brings an HTTP client that a process without a collector can do without.
    from libs.shared.telemetry import export

    stop_metrics = export.setup(service, settings.otlp_endpoint)

    def shutdown() -> None:
        stop_metrics()
        stop_traces()

    return shutdown
