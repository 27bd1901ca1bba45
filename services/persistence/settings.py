"""What persistence is configured with."""

from __future__ import annotations

from functools import cache

from pydantic import Field, SecretStr
from sqlalchemy import make_url

from libs.shared.settings import ServiceSettings


class PersistenceSettings(ServiceSettings):
    """Environment variables ``MONGARS_…``."""

    database_url: SecretStr | None = None
    """``postgresql+asyncpg://…``; None: the socket in the state folder. The password may lie in the state folder."""
    database_pool_size: int = Field(default=8, ge=1, le=64)
    """Most connections to the database."""
    statement_timeout_s: float = Field(default=20.0, gt=0)
    """A statement that takes longer is ended."""
    unused_key_grace_s: float = Field(default=3600.0, gt=0)
    """How long a handed-out data key waits for its turn before its slot is taken back."""
    applied_turn_retention_s: float = Field(default=600.0, ge=0)
    """How long an applied turn stays in the stream."""
    housekeeping_interval_s: float = Field(default=60.0, gt=0)
    """How often applied turns, unused keys and finished jobs are cleared away."""
    index_memory_mib: int = Field(default=256, ge=16)
    """How much of users' indexes is kept in memory, unless the setting of this name says otherwise; the longest unused
    are given up for others."""
    index_job_rest_s: float = Field(default=900.0, gt=0)
    """When an index job that failed, or that nobody reported on, is offered again; after each failure twice as late."""
    finished_job_retention_s: float = Field(default=7 * 86_400.0, ge=0)
    """How long a finished job is listed."""

    def database_address(self) -> str:
        """The database's URL with the password of the state folder, if it has none of its own. Reads the disk."""
        given = self.database_url.get_secret_value() if self.database_url else None
        url = make_url(given or f"postgresql+asyncpg://mongars@/mongars?host={self.folder.database_socket}")
        if url.password is None and self.folder.database_password.is_file():
            url = url.set(password=self.folder.database_password.read_text().strip())
        return url.render_as_string(hide_password=False)


@cache
def get_settings() -> PersistenceSettings:
    """The settings of this process, resolved once."""
    return PersistenceSettings()
