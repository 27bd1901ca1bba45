"""What the trainer is configured with."""

from __future__ import annotations

from functools import cache

from pydantic import Field

from libs.shared.contracts.common import Id
from libs.shared.settings import ServiceSettings


class TrainerSettings(ServiceSettings):
    """Environment variables ``MONGARS_…``; times in seconds."""

    node_id: Id | None = None
    """The node on this machine, whose load, heat and power say whether a run may go on; None: nobody looks."""
    training_threads: int | None = Field(default=None, ge=1)
    """Processor threads of a run; None: as many as the machine carries."""


@cache
def get_settings() -> TrainerSettings:
    """Resolved once a process."""
    return TrainerSettings()
