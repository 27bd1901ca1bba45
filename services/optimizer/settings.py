"""What the optimizer is configured with."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from libs.shared.contracts.common import Id
from libs.shared.settings import Listed, ServiceSettings
from services.optimizer.idleness.deciding import Limits
from services.optimizer.idleness.hours import Hours
from services.optimizer.scaling.base import read_bounds


class OptimizerSettings(ServiceSettings):
    """Environment variables ``MONGARS_…``; times in seconds, shares from 0 to 1."""

    node_id: Id | None = None
    """The node on this machine, whose load, heat and power say whether it may sleep; None: nobody looks."""
    sleep: bool = True
    """Whether it sleeps by itself when it is quiet; ``mongars sleep now`` works in any case."""
    sleep_every_s: float = Field(default=6 * 3600.0, ge=0)
    """From one cycle's end until the next may begin by itself."""
    sleep_enter_s: float = Field(default=300.0, gt=0)
    """So long no request may have come, to any node, before a cycle begins."""
    sleep_leave_s: float = Field(default=60.0, ge=0)
    """A cycle that has to stand still for so long without a pause ends, and what is left over comes with the next."""
    sleep_leave_requests: int = Field(default=5, ge=1)
    """With so many requests in five minutes it is no quiet time any more, and a cycle ends."""
    sleep_resume_s: float = Field(default=2.0, gt=0)
    """So long after the last request what stood still goes on; half a second at the least."""
    sleep_cpu_enter: float = Field(default=0.3, gt=0, le=1)
    """Share of the processors that others may use when a cycle begins."""
    sleep_cpu_leave: float = Field(default=0.6, gt=0, le=1)
    """And while it goes on."""
    sleep_hot_c: float = Field(default=75.0, gt=0)
    """A machine as hot as that rests until it is 10 °C cooler."""
    sleep_on_battery: bool = False
    """Whether it may sleep while a battery is being emptied."""
    sleep_battery_share: float = Field(default=0.5, ge=0, le=1)
    """And down to which charge."""
    sleep_power_w: float | None = Field(default=None, gt=0)
    """A machine that draws more rests; None: no limit but ``MONGARS_POWER_BUDGET_W``."""
    sleep_least_quiet_s: float = Field(default=600.0, ge=0)
    """A cycle begins where past weeks say that it will stay quiet for so long."""
    sleep_only: str | None = None
    """Hours of the day in which it may sleep, as ``22:00-07:00``, in local time; None: any."""
    sleep_never: str | None = None
    """Hours in which it never does, so that a fan stays silent; likewise."""
    sleep_phase_limit_s: float = Field(default=3600.0, gt=0)
    """A phase that has run for longer is ended; time in which it makes way doesn't count."""
    sleep_threads: int | None = Field(default=None, ge=1)
    """Processor threads of what runs in the night; None: as many as the machine carries."""

    scaling: Literal["off", "process", "docker", "kubernetes"] | None = None
    """What runs the workers whose number is seen to (docs/scaling.md); None: the installation's own supervisor where it
    runs under one, else nothing."""
    scaling_workers: Listed = ()
    """Which of them, and how many there may be, as ``cognition=1-4,inference=1-3``: the first number is how many there
    are where nothing says otherwise. Nothing that isn't named is touched. Empty: ``cognition``, from 1 to what the
    machine carries, where they are processes."""
    scaling_prefix: str = Field(default="", pattern=r"^[a-z0-9-]{0,53}$")
    """Before each name, what a deployment is called, such as ``mongars-``."""
    scaling_namespace: str | None = Field(default=None, pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
    """Of the deployments; None: this pod's own."""
    scaling_project: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")
    """The compose project whose containers are this installation's own; without it nothing is scaled in Docker."""

    scaling_docker: str = "unix:///var/run/docker.sock"
    """The Docker engine."""
    scaling_api: str = "https://kubernetes.default.svc"
    """The API server of the cluster."""
    scaling_account: Path = Path("/var/run/secrets/kubernetes.io/serviceaccount")
    """Where the pod's service account lies: token, certificate authority, namespace."""

    @field_validator("scaling_workers")
    @classmethod
    def _bounds(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        read_bounds(value)
        return value

    @field_validator("sleep_only", "sleep_never")
    @classmethod
    def _hours(cls, value: str | None) -> str | None:
        if value is not None:
            Hours.read(value)
        return value

    @property
    def limits(self) -> Limits:
        """As idleness is decided by."""
        return Limits(
            enter_s=self.sleep_enter_s,
            leave_s=self.sleep_leave_s,
            leave_requests=self.sleep_leave_requests,
            resume_s=self.sleep_resume_s,
            cpu_enter=self.sleep_cpu_enter,
            cpu_leave=max(self.sleep_cpu_enter, self.sleep_cpu_leave),
            hot_c=self.sleep_hot_c,
            cool_c=self.sleep_hot_c - 10.0,
            on_battery=self.sleep_on_battery,
            battery_share=self.sleep_battery_share,
            power_w=self.sleep_power_w,
            least_quiet_s=self.sleep_least_quiet_s,
            only=Hours.read(self.sleep_only) if self.sleep_only else None,
            never=Hours.read(self.sleep_never) if self.sleep_never else None,
        )


@cache
def get_settings() -> OptimizerSettings:
    """Resolved once a process."""
    return OptimizerSettings()
