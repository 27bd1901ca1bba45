"""Which processes an installation consists of, and supervisord's configuration for them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

BROKER = "broker"
DATABASE = "database"
CARETAKER = "caretaker"
ENTRANCE = "entrance"
LOG_BYTES = 5 * 2**20
"""Of one file of a part's log, and of the supervisor's own."""
LOG_BACKUPS = 3
"""Older files that are kept beside it: 20 MiB a part, whatever it prints."""
_NEVER_GIVE_UP = 1_000_000
"""Start attempts: what failed because of a full disk comes back once there is room. The plug-in bounds the back-off."""


@dataclass(frozen=True)
class Program:
    """One supervised process. Programs start in their order and stop in reverse."""

    name: str
    command: tuple[str, ...]
    stop_signal: str = "TERM"
    stop_wait_s: int = 20
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Paths:
    """Where supervisord keeps what it needs."""

    socket: Path
    pid_file: Path
    logs: Path
    working_folder: Path
    """Of every process: where the product's packages lie."""


def render(programs: Sequence[Program], paths: Paths, *, log_bytes: int = LOG_BYTES) -> str:
    """The text of ``supervisord.conf``."""
    parts = (program_section(p, rank, paths, log_bytes) for rank, p in enumerate(programs, start=1))
    sections = [_daemon(paths, log_bytes), *parts]
    return "\n".join(sections)


def log_file(logs: Path, name: str) -> Path:
    """Where what ``name`` prints is kept."""
    return logs / f"{name}.log"


def _daemon(paths: Paths, log_bytes: int) -> str:
    return f"""\
; Written by mongars at each start; changes are lost.
[supervisord]
logfile={_text(paths.logs / "supervisor.log")}
logfile_maxbytes={log_bytes}
logfile_backups={LOG_BACKUPS}
pidfile={_text(paths.pid_file)}
childlogdir={_text(paths.logs)}
directory={_text(paths.working_folder)}
umask=077
silent=true
nocleanup=true

[unix_http_server]
file={_text(paths.socket)}
chmod=0600

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface

[rpcinterface:mongars]
supervisor.rpcinterface_factory=cli.supervision.plugin:make
"""


def program_section(program: Program, rank: int, paths: Paths, log_bytes: int) -> str:
    """One program's part of it; ``rank``: the lower starts first."""
    environment = ",".join(f'{name}="{_quoted(value)}"' for name, value in sorted(program.environment.items()))
    return f"""\
[program:{program.name}]
command={_text(shlex.join(program.command))}
directory={_text(paths.working_folder)}
environment={environment}
priority={rank}
autostart=false
autorestart=true
startsecs=1
startretries={_NEVER_GIVE_UP}
stopsignal={program.stop_signal}
stopwaitsecs={program.stop_wait_s}
killasgroup=true
redirect_stderr=true
stdout_logfile={_text(log_file(paths.logs, program.name))}
stdout_logfile_maxbytes={log_bytes}
stdout_logfile_backups={LOG_BACKUPS}
"""


def _text(value: str | Path) -> str:
    """supervisord expands ``%(name)s`` everywhere, and begins a comment at `` ;``."""
    text = str(value)
    if "\n" in text or " ;" in text:
        raise ValueError(f"supervisord can't be configured with {text!r}")
    return text.replace("%", "%%")


def _quoted(value: str) -> str:
    return _text(value.replace("\\", "\\\\").replace('"', '\\"'))
