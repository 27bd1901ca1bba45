"""A whole installation for tests: the real command, its own folder and ports, and nothing left behind."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from cli.installation import load
from cli.supervision.place import supervisor_of
from tests.support.turns import once

ROOT = Path(__file__).resolve().parents[2]
_CHECK_EVERY_S = 0.05
_COMMAND_TIMEOUT_S = 180.0
_STARTING = Path(tempfile.gettempdir()) / f"mongars-starting-{os.getuid()}.lock"
INLINE = {"MONGARS_INFERENCE_RUNTIME": "inline", "MONGARS_OLLAMA_URL": "none", "MONGARS_SCALING": "off"}
"""What makes an installation quick and the same everywhere: no Ray, no Ollama that happens to run, and no further
processes where a machine is busy."""


@dataclass
class Installation:
    """One state folder and the ``mongars`` command on it. Methods raise AssertionError with what the command said."""

    state: Path
    environment: Mapping[str, str] = field(default_factory=lambda: INLINE)
    admin: dict[str, str] | None = None
    """Name and one-time password, from the first start."""
    code: Path = ROOT
    """The checkout whose command it is."""

    def run(
        self, *arguments: str, timeout_s: float = _COMMAND_TIMEOUT_S, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """``mongars ARGUMENTS`` with its outcome, whatever that is."""
        # Of two that are started in the same second, both would find the broker's usual port free.
        with once(_STARTING) if arguments[:1] == ("up",) else nullcontext():
            return subprocess.run(
                self.command(*arguments),
                env=self.shell,
                capture_output=True,
                text=True,
                timeout=timeout_s,
                check=False,
                cwd=cwd or self.code,
            )

    def mongars(self, *arguments: str, cwd: Path | None = None) -> str:
        """What ``mongars ARGUMENTS`` printed; it has to succeed."""
        ran = self.run(*arguments, cwd=cwd)
        assert ran.returncode == 0, f"mongars {' '.join(arguments)}: {ran.returncode}\n{ran.stdout}{ran.stderr}"
        return ran.stdout

    def command(self, *arguments: str) -> list[str]:
        """The command line, for tests that start it themselves."""
        return [sys.executable, "-m", "cli", *arguments]

    @property
    def shell(self) -> dict[str, str]:
        """The environment of the command."""
        packages = os.pathsep.join([str(self.code), *filter(None, [self.environment.get("PYTHONPATH")])])
        here = {"MONGARS_STATE": str(self.state), "PYTHONPATH": packages}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("MONGARS_")}
        return {**inherited, **self.environment, **here}

    def up(self, *arguments: str) -> dict[str, Any]:
        """Starts it and waits until it is ready; the answer of ``up --json``."""
        if not (self.state / "installation.json").exists() and "--port" not in arguments:
            arguments = (*arguments, "--port", str(unusual_port()))
        said: dict[str, Any] = json.loads(self.mongars("up", "--detach", "--json", *arguments))
        self.__dict__.pop("url", None)
        if "admin" in said:
            self.admin = said["admin"]
        return said

    def down(self) -> None:
        self.mongars("down")

    def status(self) -> dict[str, Any]:
        """The answer of ``status --json``, also of one that isn't ready."""
        said: dict[str, Any] = json.loads(self.run("status", "--json").stdout)
        return said

    @cached_property
    def url(self) -> str:
        """The gateway."""
        return str(self.status()["http"])

    def key(self, user: str, memory: str = "read-write") -> str:
        """A new API key of ``user``, who is made when there is none."""
        return self.mongars("keys", "create", "--user", user, "--name", "test", "--memory", memory).strip()

    def pid(self, name: str) -> int | None:
        """Of a service, ``broker`` or ``database``."""
        running = supervisor_of(load(self.state, by_root=True)).processes()
        return (running[name].pid or None) if running else None

    def kill(self, name: str) -> int:
        """``kill -9``; the process id that it had."""
        pid = self.pid(name)
        assert pid is not None, f"{name} does not run"
        os.kill(pid, signal.SIGKILL)
        return pid

    def ready(self) -> bool:
        """What ``/readyz`` says."""
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5) as reply:
                return bool(reply.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def wait_until(self, seen: Callable[[], bool], timeout_s: float, every_s: float = _CHECK_EVERY_S) -> bool:
        """Whether ``seen()`` came true in time; for what only shows from outside."""
        begun = time.monotonic()
        while not seen():
            if time.monotonic() - begun > timeout_s:
                return False
            time.sleep(every_s)
        return True

    def wait_ready(self, timeout_s: float = 30.0) -> float:
        """Seconds until ``/readyz`` is ready."""
        begun = time.monotonic()
        while not self.ready():
            assert time.monotonic() - begun < timeout_s, f"not ready: {self.status()}"
            time.sleep(_CHECK_EVERY_S)
        return time.monotonic() - begun

    def kill_and_wait(self, name: str, timeout_s: float = 30.0) -> float:
        """Kills ``name``; seconds until its successor is supervised and everything is ready again."""
        killed = self.kill(name)
        begun = time.monotonic()
        while self.pid(name) in (killed, None):
            assert time.monotonic() - begun < timeout_s, f"{name} was not started again: {self.status()}"
            time.sleep(_CHECK_EVERY_S)
        self.wait_ready(timeout_s)
        return time.monotonic() - begun

    def wait_whole(self, timeout_s: float = 60.0) -> None:
        """Until what starts after everything is ready runs and answers, too."""

        def answers() -> bool:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5) as reply:
                return all(row["ok"] for row in json.load(reply)["dependencies"].values())

        def runs() -> bool:
            return {row["state"] for row in self.status()["services"].values()} == {"running"}

        assert self.wait_until(answers, timeout_s), f"not whole: {self.status()}"
        assert self.wait_until(runs, timeout_s), f"not whole: {self.status()}"

    def log(self, name: str) -> str:
        """Everything that a part printed."""
        path = self.state / "logs" / f"{name}.log"
        return path.read_text() if path.exists() else ""

    def processes(self) -> list[int]:
        """Every process that carries this installation's mark or works in its database."""
        marker = self.state / "installation.json"
        if not marker.exists():
            return []
        mark = f"MONGARS_SUPERVISED={json.loads(marker.read_text())['installation_id']}".encode()
        data = self.state / "database" / "data"
        return [pid for pid in _pids() if _carries(pid, mark) or _works_in(pid, data)]


def unusual_port() -> int:
    """A free port that nobody prefers and the kernel hands to nobody: it stays free while an installation is down."""
    while True:
        port = random.randrange(20_000, 30_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


@contextmanager
def installation(state: Path, environment: Mapping[str, str] | None = None) -> Iterator[Installation]:
    """One that isn't started yet; stopped at the end, and nothing of it may be left running."""
    made = Installation(state, {**INLINE, **(environment or {})})
    try:
        yield made
    finally:
        if (state / "installation.json").exists():
            stopped = made.run("down")
            left = made.processes()
            for pid in left:
                os.kill(pid, signal.SIGKILL)
            assert stopped.returncode == 0, stopped.stderr
            assert not left, f"processes were left behind: {left}"


def _pids() -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            yield int(entry.name)


def _carries(pid: int, mark: bytes) -> bool:
    try:
        return mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


def _works_in(pid: int, folder: Path) -> bool:
    try:
        return Path(f"/proc/{pid}/cwd").samefile(folder)
    except OSError:
        return False
