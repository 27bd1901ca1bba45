"""``pg_dump`` and ``pg_restore``: which of them fits a server, and running them with their data in a pipe."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from cli.database.binaries import from_wheel
from cli.errors import CommandError
from cli.installation import Installation

_PIECE_BYTES = 256 * 1024
_VERSION_TIMEOUT_S = 20.0
_END_TIMEOUT_S = 30.0
_RESTORE_END_TIMEOUT_S = 3600.0
_DEBIAN = Path("/usr/lib/postgresql")
_EXCLUDES_EXTENSIONS = 17


@dataclass(frozen=True)
class Tool:
    """A program and the major version of PostgreSQL that it came with."""

    program: Path
    major: int
    ours: bool
    """From the wheel, which has no TLS."""


def tools(name: str) -> Iterator[Tool]:
    """Every one of that name on this machine: the one that comes with monGARS, then the system's."""
    seen: set[Path] = set()
    found = [Path(path) for path in (shutil.which(name),) if path]
    for program in (from_wheel().program(name), *found, *sorted(_DEBIAN.glob(f"*/bin/{name}"), reverse=True)):
        if program.exists() and program.resolve() not in seen:
            seen.add(program.resolve())
            if (major := _major(program)) is not None:
                yield Tool(program, major, program == from_wheel().program(name))


def _major(program: Path) -> int | None:
    try:
        ran = subprocess.run(  # noqa: S603 - the programs of a PostgreSQL
            [program, "--version"], capture_output=True, text=True, timeout=_VERSION_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    told = re.search(r"\) (\d+)", ran.stdout)
    return int(told.group(1)) if told else None


def fitting(name: str, least: int, *, tls: bool, because: str) -> Tool:
    """One of at least that version. ``because``: what needs it. Raises CommandError, saying which are there."""
    there = list(tools(name))
    for tool in there:
        if tool.major >= least and not (tls and tool.ours):
            return tool
    versions = ", ".join(f"{tool.program} of version {tool.major}" for tool in there) or "none is there"
    words = ", with TLS (the one that comes with monGARS has none)" if tls else ""
    raise CommandError(
        f"{because} is PostgreSQL {least}, and needs a {name} of version {least} or newer{words}; found: {versions}",
        f"install it (Debian: apt-get install postgresql-client-{least}), then try again",
    )


def needs_tls(url: str) -> bool:
    """Whether an address asks for an encrypted connection."""
    return bool(re.search(r"sslmode=(require|verify)", url))


@contextmanager
def dump(installation: Installation, tool: Tool, snapshot: str, password: str | None) -> Iterator[Iterator[bytes]]:
    """The database as of ``snapshot`` in pieces. Raises CommandError at the end when pg_dump failed."""
    command = [
        *(str(tool.program), "--format=custom", "--compress=none", "--no-owner", "--no-privileges", "--no-comments"),
        *(("--exclude-extension=vector",) if tool.major >= _EXCLUDES_EXTENSIONS else ()),  # it is there already
        *(f"--snapshot={snapshot}", "--no-password", f"--dbname={installation.database_url}"),
    ]
    running = subprocess.Popen(  # noqa: S603 - our own program
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=_environment(password)
    )
    try:
        assert running.stdout is not None
        said = _Saying(running)
        yield iter(lambda: running.stdout.read(_PIECE_BYTES), b"")  # type: ignore[union-attr]
        said.check("pg_dump", _END_TIMEOUT_S)
    finally:
        _ended(running)


@contextmanager
def restoring(url: str, tool: Tool, password: str | None) -> Iterator[IO[bytes]]:
    """Takes a dump into the empty database at ``url``, in one transaction. Raises CommandError when it fails."""
    command = [
        *(str(tool.program), "--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges"),
        *("--no-password", f"--dbname={url}"),
    ]
    running = subprocess.Popen(  # noqa: S603 - our own program
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=_environment(password)
    )
    try:
        assert running.stdin is not None
        said = _Saying(running)
        try:
            yield running.stdin
            running.stdin.close()
        except BrokenPipeError:
            pass  # it ended early, and says why
        said.check("pg_restore", _RESTORE_END_TIMEOUT_S)
    finally:
        _ended(running)


class _Saying:
    """What a program writes to standard error, read while its data flows."""

    def __init__(self, running: subprocess.Popen[bytes]) -> None:
        self._running = running
        self._said = b""
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self) -> None:
        assert self._running.stderr is not None
        while piece := self._running.stderr.read(4096):
            self._said = (self._said + piece)[-4096:]

    def check(self, name: str, timeout_s: float) -> None:
        code = self._running.wait(timeout_s)
        self._reading.join(timeout_s)
        if code != 0:
            lines = [line for line in self._said.decode(errors="replace").splitlines() if line.strip()]
            reason = next(
                (line for line in lines if "error" in line.lower()), lines[-1] if lines else "no reason given"
            )
            raise CommandError(f"{name} failed: {reason.strip()}", "see the line above")


def _ended(running: subprocess.Popen[bytes]) -> None:
    if running.poll() is None:
        running.kill()
        running.wait(_END_TIMEOUT_S)
    for pipe in (running.stdin, running.stdout, running.stderr):
        if pipe is not None and not pipe.closed:
            try:
                pipe.close()
            except BrokenPipeError:
                continue


def _environment(password: str | None) -> dict[str, str]:
    clean = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC"}
    return clean | ({"PGPASSWORD": password} if password is not None else {})
