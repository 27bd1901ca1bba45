"""A machine of its own that systemd starts: the smallest Debian, in systemd-nspawn, with the product in it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.installation import ROOT

TOOLS = ("systemd-nspawn", "debootstrap", "nsenter")
PYTHON = "/opt/mongars/.venv/bin/python"
_PACKAGES = "systemd,systemd-sysv,dbus,libpam-systemd,python3,procps"
_TREE = Path("/var/tmp/mongars-tests/debian")
"""Made once a machine: it takes minutes."""
_BOOT_S = 90.0
_HALT_S = 260.0
_END_S = 20.0
_CHECK_EVERY_S = 0.2


def lacks() -> str:
    """Why there can be no such machine here; empty when there can."""
    if os.geteuid() != 0:
        return "takes root"
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    return f"not installed here: {', '.join(missing)}" if missing else ""


@dataclass
class Container:
    """Its files stay over a restart of it. It shares this machine's network."""

    root: Path
    packages: Path
    _process: subprocess.Popen[bytes] | None = None

    @property
    def leader(self) -> int:
        """Its process 1, as this machine counts."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        return int(children[0]) if children else 0

    def boot(self) -> None:
        """Returns when its systemd has started everything."""
        options = ("--boot", "--register=no", "--keep-unit", "--console=pipe", f"--machine=mongars-{os.getpid()}")
        site = "/opt/mongars/.venv/lib/python3.11/site-packages"
        self._process = subprocess.Popen(
            ["systemd-nspawn", f"--directory={self.root}", f"--bind-ro={self.packages}:{site}", *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        begun = time.monotonic()
        while self.run("systemctl", "is-system-running").stdout.strip() not in ("running", "degraded"):
            assert self._process.poll() is None, "systemd-nspawn ended"
            assert time.monotonic() - begun < _BOOT_S, self.run("systemctl", "list-jobs").stdout
            time.sleep(_CHECK_EVERY_S)

    def halt(self) -> float:
        """Seconds until it was off; what runs in it is stopped in good order."""
        assert self._process is not None
        begun = time.monotonic()
        self._process.terminate()
        self._process.wait(_HALT_S)
        return time.monotonic() - begun

    def end(self) -> None:
        """With everything in it, whatever it is doing; a second call does nothing."""
        if self._process is None or self._process.poll() is not None:
            return
        if leader := self.leader:
            os.kill(leader, signal.SIGKILL)  # its processes are a world of their own, which ends with their first
        try:
            self._process.wait(_END_S)
        finally:
            self._process.kill()

    def run(self, *command: str, cwd: str = "/opt/mongars", timeout_s: float = 300) -> subprocess.CompletedProcess[str]:
        """A command of its root's."""
        leader = self.leader
        entering = ("nsenter", "--target", str(leader), "--mount", "--uts", "--ipc", "--pid", "--cgroup")
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": "/root"}
        if not leader:
            return subprocess.CompletedProcess(command, 1, "", "it is off")
        return subprocess.run(
            [*entering, "env", f"--chdir={cwd}", *command],
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def mongars(self, *arguments: str, user: str = "root") -> str:
        """What ``mongars ARGUMENTS`` printed; it has to succeed."""
        ran = self.run("runuser", "-u", user, "--", PYTHON, "-m", "cli", *arguments)
        assert ran.returncode == 0, f"mongars {' '.join(arguments)}: {ran.returncode}\n{ran.stdout}{ran.stderr}"
        return ran.stdout

    def shown(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.run("systemctl", "show", "--property", name, "--value", unit).stdout.strip()


@contextmanager
def container(folder: Path) -> Iterator[Container]:
    """One that isn't started yet; off and unmounted at the end."""
    layers = [folder / name for name in ("upper", "work", "root")]
    for layer in layers:
        layer.mkdir()
    upper, work, root = layers
    how = f"lowerdir={_debian()},upperdir={upper},workdir={work}"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", how, root], check=True)
    made = Container(root, Path(sysconfig.get_path("purelib")))
    try:
        _put_product(root)
        yield made
    finally:
        made.end()
        subprocess.run(["umount", "--lazy", root], check=True)


def _debian() -> Path:
    if not (_TREE / "made").exists():
        shutil.rmtree(_TREE, ignore_errors=True)
        _TREE.parent.mkdir(parents=True, exist_ok=True)
        how = ("--variant=minbase", f"--include={_PACKAGES}", "bookworm")
        subprocess.run(["debootstrap", *how, _TREE], check=True, stdout=subprocess.DEVNULL)
        (_TREE / "made").touch()
    return _TREE


def _put_product(root: Path) -> None:
    """The checkout in /opt/mongars, with a virtual environment of the machine's own Python."""
    code = root / "opt/mongars"
    code.mkdir(parents=True)
    for name in ("cli", "libs", "services", "migrations", "configs"):
        shutil.copytree(ROOT / name, code / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "alembic.ini"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, code)
    subprocess.run(["chroot", root, "python3", "-m", "venv", "--without-pip", "/opt/mongars/.venv"], check=True)
    broker = shutil.which("nats-server", path=sysconfig.get_path("scripts"))
    assert broker is not None
    shutil.copy(broker, code / ".venv/bin")
