"""What the scheduler is configured with."""

from __future__ import annotations

from functools import cache

from pydantic import Field

from libs.shared.settings import ServiceSettings


class SchedulerSettings(ServiceSettings):
    """Environment variables ``MONGARS_…``; times in seconds."""

    node_silent_s: float = Field(default=3.0, gt=0)
    """A node unheard for so long is not chosen."""
    node_expires_s: float = Field(default=600.0, gt=0)
    """A node unheard for so long is forgotten."""
    placement_grace_s: float = Field(default=1.5, ge=0, lt=2.0)
    """After a start or a reconnection, how long a request may wait for the nodes' first telemetry."""


@cache
def get_settings() -> SchedulerSettings:
    """Resolved once a process."""
    return SchedulerSettings()
