"""What a node says, in words and units for people. Pure."""

from __future__ import annotations

from libs.shared.contracts.scheduling import Node
from libs.shared.contracts.telemetry import NodeTelemetry

_MIB_PER_GIB = 1024
_HOT_C = 80.0
"""From here on Raspberry Pi boards begin to slow down; others do a little later."""
_REASONS = {
    "draining": "takes nothing new: it is being drained (mongars nodes undrain NODE ends that)",
    "silent": "has not spoken for some seconds: it is off, cut off, or its inference service is down",
    "breaker_open": "failed several requests in a row, and is tried again in a moment",
}


def explained(reason: str) -> str:
    """Why a node isn't chosen; the word itself where nothing more is known of it."""
    return _REASONS.get(reason, reason.replace("_", " "))


def state(node: Node) -> str:
    """One or two words."""
    told = node.telemetry
    if node.reason == "draining":
        left = told.in_flight + told.queued
        return f"draining ({left} left)" if left else "drained"
    if node.reason == "silent":
        return f"silent ({span(node.age_s)})"
    return "ready" if node.available else node.reason.replace("_", " ")


def colour(node: Node) -> str:
    """Of its state."""
    if node.available:
        return "yellow" if node.telemetry.throttled or node.breaker != "closed" else "green"
    return "yellow" if node.reason == "draining" else "red"


def slots(told: NodeTelemetry) -> int:
    """Requests that the node works on at the same time."""
    return sum(replica.slots for replica in told.replicas)


def processors(told: NodeTelemetry) -> str:
    """How busy they are, and the busiest GPU."""
    known = [gpu.utilisation for gpu in told.gpus if gpu.utilisation is not None]
    return percent(told.cpu.utilisation) + (f", GPU {percent(max(known))}" if known else "")


def memory(told: NodeTelemetry) -> str:
    """Used of all."""
    used = told.memory.total_mib - told.memory.available_mib
    return f"{used / _MIB_PER_GIB:.1f}/{told.memory.total_mib / _MIB_PER_GIB:.1f} GiB"


def heat(told: NodeTelemetry) -> str:
    """The processor's temperature, and whether the board holds itself back."""
    degrees = f"{told.temperature_c:.0f} °C" if told.temperature_c is not None else "-"
    return f"{degrees} throttled" if told.throttled else degrees


def heat_colour(told: NodeTelemetry) -> str:
    """Of the temperature."""
    if told.throttled:
        return "red"
    return "yellow" if told.temperature_c is not None and told.temperature_c >= _HOT_C else ""


def power(told: NodeTelemetry) -> str:
    """Watts; an estimate is marked as one."""
    if told.power_w is None:
        return "-"
    return f"{'' if told.power_measured else '≈ '}{told.power_w:.1f} W"


def speed(told: NodeTelemetry) -> str:
    """Tokens a second, as measured, of the quickest model that talks."""
    rates = [model.rates.generated_tokens_per_s for model in told.models if model.kind == "chat"]
    known = [rate for rate in rates if rate is not None]
    return f"{max(known):.1f}" if known else "-"


def percent(share: float) -> str:
    return f"{share:.0%}".replace("%", " %")


def count(number: float) -> str:
    """With a thin space between thousands."""
    return f"{number:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def span(seconds: float) -> str:
    """A length of time, in its greatest sensible unit."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
