"""``mongars nodes show``: everything that is known of one node."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cli.degraded import explained as degraded_word
from cli.nodes import words
from cli.nodes.sparkline import sparkline, spread
from libs.shared.contracts.scheduling import Node, NodeHistory
from libs.shared.contracts.telemetry import Gpu, Rates

REPLICA_TITLES = ("replica", "in flight", "queue", "tokens", "breaker", "models")
MODEL_TITLES = ("model", "kind", "by", "context", "reads/s", "writes/s")
_SOURCES = {
    "battery": "measured: what the battery gives",
    "board": "measured: the whole board",
    "processor": "measured: processor and GPUs, without disks, memory and losses",
    "estimate": "estimated from the board and its load",
}


def facts(node: Node) -> Iterator[tuple[str, str]]:
    """Titles and texts."""
    told = node.telemetry
    yield "board", told.board
    yield "state", words.state(node)
    if not node.available:
        yield "because", f"it {words.explained(node.reason)}"
    yield "heard", f"{words.span(node.age_s)} ago (message {told.sequence} of life {told.boot_id[:8]})"
    yield "runs", f"monGARS {told.version}, {told.runtime}"
    yield "load", f"{told.in_flight} of {words.slots(told)} at work, {told.queued} waiting"
    yield "tokens", f"{words.count(told.in_flight_tokens)} at work, {words.count(told.queued_tokens)} waiting"
    yield "processor", f"{words.percent(told.cpu.utilisation)} of {told.cpu.cores:g} cores, load {told.cpu.load_1m:.2f}"
    yield "memory", words.memory(told)
    yield "heat", _heat(node)
    yield "power", _power(node)
    for gpu in told.gpus:
        yield "GPU", _gpu(gpu)
    yield "disk", f"{told.free_disk_mib / 1024:.1f} GiB free"
    if told.adapters:
        yield "adapters", ", ".join(told.adapters)
    for word in told.degraded:
        yield "degraded", degraded_word(word)


def _heat(node: Node) -> str:
    told = node.telemetry
    held = {True: "held back", False: "not held back", None: "no way to tell of throttling"}
    degrees = f"{told.temperature_c:.1f} °C" if told.temperature_c is not None else "no thermometer"
    now = ", ".join(told.throttle_reasons)
    before = ", ".join(sorted({*told.throttled_since_boot} - {*told.throttle_reasons}))
    return (
        f"{degrees}, {held[told.throttled]}"
        + (f": {now}" if now else "")
        + (f"; at some time since its start: {before}" if before else "")
    )


def _power(node: Node) -> str:
    told = node.telemetry
    if told.power_w is None:
        return "unknown"
    return f"{told.power_w:.1f} W, {_SOURCES.get(told.power_source, told.power_source)}"


def _gpu(gpu: Gpu) -> str:
    parts = [gpu.name]
    if gpu.utilisation is not None:
        parts.append(words.percent(gpu.utilisation))
    if gpu.vram_total_mib is not None and gpu.vram_free_mib is not None:
        parts.append(f"{(gpu.vram_total_mib - gpu.vram_free_mib) / 1024:.1f}/{gpu.vram_total_mib / 1024:.1f} GiB")
    if gpu.temperature_c is not None:
        parts.append(f"{gpu.temperature_c:.0f} °C")
    if gpu.power_w is not None:
        parts.append(f"{gpu.power_w:.1f} W")
    return ", ".join(parts)


def replica_rows(node: Node) -> list[tuple[str, ...]]:
    """By ``REPLICA_TITLES``."""
    broken: dict[str, list[str]] = {}
    for breaker in node.breakers:
        when = f" for {words.span(breaker.opens_for_s)}" if breaker.state == "open" else ""
        broken.setdefault(breaker.replica, []).append(f"{breaker.model} {breaker.state.replace('_', ' ')}{when}")
    return [
        (
            replica.replica,
            f"{replica.in_flight}/{replica.slots}",
            str(replica.queued),
            words.count(replica.in_flight_tokens + replica.queued_tokens),
            ", ".join(broken.get(replica.replica, ["closed"])),
            ", ".join(replica.models) or "-",
        )
        for replica in node.telemetry.replicas
    ]


def model_rows(node: Node) -> list[tuple[str, ...]]:
    """By ``MODEL_TITLES``."""
    return [
        (
            model.name,
            model.kind,
            model.backend + (f" ({model.upstream})" if model.upstream else ""),
            words.count(model.context_tokens),
            *_rates(model.rates),
        )
        for model in node.telemetry.models
    ]


def _rates(rates: Rates) -> tuple[str, str]:
    reads, writes = (
        "-" if rate is None else f"{rate:.1f}" for rate in (rates.prompt_tokens_per_s, rates.generated_tokens_per_s)
    )
    return reads, writes


def history_rows(past: NodeHistory, width: int) -> list[tuple[str, ...]]:
    """By ``history_titles``: what was told, each as a line of at most ``width`` bars; all of one length of time."""
    columns: tuple[tuple[str, Sequence[float | None], str], ...] = (
        ("load", past.load, "{:.1f}"),
        ("queue", past.queued, "{:.0f}"),
        ("tokens/s", past.generated_tokens_per_s, "{:.1f}"),
        ("processor %", [100 * share for share in past.utilisation], "{:.0f}"),
        ("heat °C", past.temperature_c, "{:.0f}"),
        ("throttled", [None if held is None else float(held) for held in past.throttled], "{:.0f}"),
        ("power W", past.power_w, "{:.1f}"),
    )
    rows = []
    for title, values, how in columns:
        known = [value for value in values if value is not None]
        if known:
            figures = (how.format(value) for value in (min(known), max(known), known[-1]))
            rows.append((title, *figures, sparkline(spread(past.at, values, past.every_s, width))))
    return rows


def history_titles(past: NodeHistory) -> tuple[str, ...]:
    """The last says over how long."""
    seconds = (past.at[-1] - past.at[0]).total_seconds() + past.every_s if past.at else 0.0
    return ("", "least", "most", "last", f"the last {words.span(seconds)}")
