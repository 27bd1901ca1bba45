"""What the trainer is configured with."""

from __future__ import annotations

from functools import cache

from libs.shared.settings import ServiceSettings


class TrainerSettings(ServiceSettings):
    """Environment variables ``MONGARS_…``; times in seconds."""


@cache
def get_settings() -> TrainerSettings:
    """Resolved once a process."""
    return TrainerSettings()
