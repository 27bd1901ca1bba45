"""What each service is configured with; its own ``settings.py`` extends it, and nothing else reads the environment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from libs.shared.layout import StateFolder


def _split(value: Any) -> Any:
    parts = value.split(",") if isinstance(value, str) else value
    return tuple(dict.fromkeys(part.strip() for part in parts if part.strip()))


Listed = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
"""Words separated by commas: each once, in the order in which they stand."""


class ServiceSettings(BaseSettings):
    """Environment variables ``MONGARS_…``; frozen, resolved once a process."""

    model_config = SettingsConfigDict(
        env_prefix="MONGARS_",
        frozen=True,
        extra="ignore",
        env_ignore_empty=True,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,  # an address may hold a password
    )

    state: Path = Path("~/.local/state/mongars")
    """The folder in which everything of one installation lies."""
    nats_url: str = "nats://127.0.0.1:4222"
    """The broker; several addresses of it are separated by commas."""
    nats_seed_file: Path | None = None
    """The service's nkey seed; None: ``keys/nats/<service>.nk`` in the state folder."""
    nats_ca_file: Path | None = None
    """Pins the certificate authority of a broker that is reached over TLS."""
    nats_tls_name: str | None = None
    """The name that the broker's certificate has to bear, where that isn't its address; TLS then begins before either
    side says a word. The entrance for joined machines wants it."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """The least level that is written."""
    otlp_endpoint: str | None = None
    """Base URL of an OTLP/HTTP collector; None exports nothing."""
    trace_sample_ratio: float = Field(default=1.0, ge=0, le=1)
    """Share of the traces begun here that are exported."""
    metrics_port: int | None = Field(default=None, ge=1, le=65535)
    """Serves this process's own metrics there too, for Kubernetes."""
    worker: int = Field(default=1, ge=1, le=16)
    """Which of several processes of this service on one machine this is: set by whatever starts the others, where the
    first answers for all."""
    disk_reserve_mib: int = Field(default=64, ge=0)
    """With less than this free on the state folder's disk nothing new is kept: what is left is for going on reading."""
    drain_timeout_s: float = Field(default=10.0, gt=0)
    """Longest time that what is in flight may take when the service stops."""
    retire_timeout_s: float = Field(default=660.0, gt=0)
    """Likewise when only this process goes, because fewer of the service are needed: as long as an answer may take."""

    @property
    def folder(self) -> StateFolder:
        return StateFolder(self.state.expanduser())

    @property
    def joined(self) -> bool:
        """Whether this is a node of an installation on another machine, and comes in by its entrance."""
        return self.nats_tls_name is not None
