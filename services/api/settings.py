"""What the api is configured with; the only module of it that reads the environment."""

from __future__ import annotations

from functools import cache

from pydantic import Field

from libs.shared.contracts.base import MIB
from libs.shared.settings import ServiceSettings


class ApiSettings(ServiceSettings):
    """Environment variables ``MONGARS_…``; zero switches a rate limit off."""

    http_host: str = "127.0.0.1"
    """Where HTTP listens; loopback unless a TLS proxy stands before it."""
    http_port: int = Field(default=8080, ge=0, le=65535)
    """0 takes a free one."""
    lan_host: str | None = None
    """Where other machines are served too, over TLS with ``keys/tls`` of the state folder: ``mongars up --lan``."""
    lan_port: int = Field(default=8443, ge=0, le=65535)
    """The port of that."""
    http_connections: int = Field(default=1024, ge=8)
    """Most connections at the same time; further ones get 503."""
    event_streams: int = Field(default=64, ge=1)
    """Most streams of live events at the same time; further ones are told to come again."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses whose ``X-Forwarded-For`` is believed."""
    body_limit_bytes: int = Field(default=8 * MIB, ge=1024)
    """A larger request is refused while it is being read."""
    body_timeout_s: float = Field(default=30.0, gt=0)
    """Longest time a request's body may take to arrive."""
    import_limit_bytes: int = Field(default=32 * MIB, ge=1024)
    """Likewise of one import of turns."""
    archive_limit_bytes: int = Field(default=256 * MIB, ge=1024)
    """Likewise of an archive; it waits on disk, sealed, while it is read."""
    archive_inflated_bytes: int = Field(default=2048 * MIB, ge=1024)
    """Most that is read out of an archive: a compressed one may claim anything."""
    archive_timeout_s: float = Field(default=21_600.0, gt=0)
    """Longest time that importing one archive may take."""
    archives_at_once: int = Field(default=2, ge=1)
    """Archives that are imported at the same time; further ones are told to come again."""
    upload_timeout_s: float = Field(default=600.0, gt=0)
    """Longest time that an archive, a document or an import may take to arrive."""
    request_timeout_s: float = Field(default=1800.0, gt=0)
    """Longest time a request may take in all, streams included."""
    restart_patience_s: float = Field(default=6.0, ge=0)
    """How long a turn waits for a cognition that is restarting."""
    max_output_tokens: int = Field(default=32_768, ge=1)
    """Most tokens that one request may ask for."""
    rate_limit_per_minute: int = Field(default=3000, ge=0)
    """Requests a minute of each API key, or of each user's sessions."""
    rate_limit_tokens_per_minute: int = Field(default=1_000_000, ge=0)
    """Tokens (prompt and answer) a minute of the same."""
    rate_limit_flush_s: float = Field(default=5.0, gt=0)
    """How often used-up limits are written down, so that they outlive a restart."""
    access_token_s: float = Field(default=900.0, gt=0, le=43_200)
    """Shorter than a revocation is kept (a day)."""
    refresh_token_s: float = Field(default=30 * 86_400.0, gt=0)
    """A session that is not used for so long ends."""
    credential_cache_s: float = Field(default=60.0, gt=0)
    """How long a key or an account is believed without asking again."""
    credential_grace_s: float = Field(default=600.0, ge=0)
    """How much longer while persistence is away."""
    login_failures: int = Field(default=5, ge=1)
    """Wrong passwords of one account before it has to wait; an address gets four times as many."""
    login_delay_s: float = Field(default=2.0, gt=0)
    """The first wait; each further wrong password doubles it."""
    login_delay_max_s: float = Field(default=900.0, gt=0)
    """The longest wait."""
    password_workers: int = Field(default=2, ge=1)
    """Passwords hashed at the same time, each on 19 MiB; sixteen times as many may wait."""


@cache
def get_settings() -> ApiSettings:
    """The process's settings, read once."""
    return ApiSettings()
