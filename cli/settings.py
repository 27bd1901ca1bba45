"""What the command reads from its environment; plain, for a settings library would double the time of a status."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

DEFAULT_HUB = "https://huggingface.co"
_ROOT_STATE = Path("/var/lib/mongars")


@dataclass(frozen=True)
class CliSettings:
    """``MONGARS_STATE`` and what a start inherits from the shell."""

    state: Path
    environment: dict[str, str]
    """Everything else that the shell exported: the services read their own ``MONGARS_…`` from it."""
    database_url: str | None = None
    """``MONGARS_DATABASE_URL``: another's PostgreSQL. Its password is kept out of the processes' environment."""
    hub_url: str = DEFAULT_HUB
    """``MONGARS_HUB_URL``: where models are had, by the Hugging Face hub's protocol."""
    hub_token_file: Path | None = None
    """``MONGARS_HUB_TOKEN_FILE``: for models whose owner wants to know who asks."""
    traceback: bool = False
    """``MONGARS_TRACEBACK=1``: show where a fault of the command itself arose."""


def get_settings() -> CliSettings:
    """Read once a command."""
    environment = dict(os.environ)
    chosen = environment.get("MONGARS_STATE")
    token = environment.get("MONGARS_HUB_TOKEN_FILE")
    database_url = environment.pop("MONGARS_DATABASE_URL", None)
    return CliSettings(
        state=Path(chosen) if chosen else default_state(environment),
        environment=environment,
        database_url=database_url or None,
        hub_url=environment.get("MONGARS_HUB_URL") or DEFAULT_HUB,
        hub_token_file=Path(token) if token else None,
        traceback=environment.get("MONGARS_TRACEBACK") == "1",
    )


def machine_root(environment: Mapping[str, str]) -> Path:
    """``MONGARS_MACHINE_ROOT``, as the inference service takes it: where the machine's ``/proc`` and ``/sys`` lie."""
    return Path(environment.get("MONGARS_MACHINE_ROOT") or "/")


def default_state(environment: dict[str, str]) -> Path:
    """Root's home is closed to other users, and PostgreSQL never runs as root: so root keeps it in /var/lib."""
    if os.geteuid() == 0:
        return _ROOT_STATE
    base = environment.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "mongars"
