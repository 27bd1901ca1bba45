"""Faults put into a real installation by hand, each with the way back: what ``mongars doctor`` is tried on."""

from __future__ import annotations

import fcntl
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import time
import xmlrpc.client
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import gguf
import numpy as np
import psutil

from cli.doctor.checks.parts import YOUNG_S
from tests.support.installation import Installation, unusual_port

Put = Callable[[Installation], Iterator[None]]
_TWO_HOURS_S = 7200


@dataclass(frozen=True)
class Fault:
    """``put`` is a generator: what it does before its ``yield`` breaks the installation, what comes after mends it."""

    name: str
    codes: frozenset[str]
    put: Put
    inspected: tuple[str, ...] = ()
    """What of the services' own inspection has to look."""
    environment: Mapping[str, str] = field(default_factory=dict)
    soak: bool = False
    """Much like another one: tried where time is no matter."""


def rarely(one: Fault) -> Fault:
    return replace(one, soak=True)


def fault(name: str, code: str, put: Put, *inspected: str, **environment: str) -> Fault:
    """One that the doctor names by one code, or by several with blanks between."""
    return Fault(name, frozenset(code.split()), put, inspected, environment)


def written(path: str, content: bytes | Callable[[bytes], bytes]) -> Put:
    """The file holds something else."""

    def put(installed: Installation) -> Iterator[None]:
        file = installed.state / path
        before = file.read_bytes()
        seen = file.stat()
        file.write_bytes(content(before) if callable(content) else content)
        yield
        file.write_bytes(before)
        os.utime(file, ns=(seen.st_atime_ns, seen.st_mtime_ns))

    return put


def added(path: str, content: Callable[[Path], object]) -> Put:
    """A file that is not there otherwise."""

    def put(installed: Installation) -> Iterator[None]:
        content(installed.state / path)
        yield
        (installed.state / path).unlink()

    return put


def gone(path: str) -> Put:
    def put(installed: Installation) -> Iterator[None]:
        aside = installed.state / (path + ".aside")
        (installed.state / path).rename(aside)
        yield
        aside.rename(installed.state / path)

    return put


def mode(path: str, bits: int) -> Put:
    def put(installed: Installation) -> Iterator[None]:
        file = installed.state / path
        before = file.stat().st_mode & 0o777
        file.chmod(bits)
        yield
        file.chmod(before)

    return put


def owned_by_another(path: str) -> Put:
    def put(installed: Installation) -> Iterator[None]:
        file = installed.state / path
        before = file.stat()
        os.chown(file, 65_534, 65_534)
        yield
        os.chown(file, before.st_uid, before.st_gid)

    return put


def from_the_future(path: str) -> Put:
    """As a clock leaves it that was two hours ahead then, or is two hours behind now."""

    def put(installed: Installation) -> Iterator[None]:
        file = installed.state / path
        before = file.stat()
        later = time.time() + _TWO_HOURS_S
        os.utime(file, (later, later))
        yield
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))

    return put


def mounted(path: str, options: str, fill_kib: int = 0) -> Put:
    """A small disk of its own at a folder of the installation."""

    def put(installed: Installation) -> Iterator[None]:
        folder = str(installed.state / path)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"mode=0700,{options}", "tmpfs", folder], check=True)
        try:
            if fill_kib:
                (Path(folder) / "filling").write_bytes(bytes(fill_kib * 1024))
            yield
        finally:
            subprocess.run(["umount", folder], check=True)

    return put


def expired_certificate(installed: Installation) -> Iterator[None]:
    """What the gateway would show on the network, a day too old."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(now - timedelta(days=9)).not_valid_after(now - timedelta(days=1))
    folder = installed.state / "keys" / "tls"
    folder.mkdir(mode=0o700)
    pem = made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    (folder / "gateway.pem").write_bytes(pem)
    (folder / "gateway.pem").chmod(0o600)
    yield from marked(lan={"host": "127.0.0.1", "port": unusual_port(), "given": True})(installed)
    shutil.rmtree(folder)


def open_certificate_key(installed: Installation) -> Iterator[None]:
    folder = installed.state / "keys" / "tls"
    folder.mkdir(mode=0o700)
    (folder / "gateway.key").touch(mode=0o644)
    (folder / "gateway.key").chmod(0o644)
    yield
    shutil.rmtree(folder)


def noted_backups(**files: object) -> Put:
    """What the schedule leaves behind."""

    def put(installed: Installation) -> Iterator[None]:
        folder = installed.state / "backups"
        folder.mkdir(mode=0o700, exist_ok=True)
        for name, content in files.items():
            (folder / f"{name}.json").write_text(json.dumps(content))
        yield
        for name in files:
            (folder / f"{name}.json").unlink()

    return put


def crash_loop(name: str) -> Put:
    """Killed as often as it comes back, until its supervisor has counted three."""

    def put(installed: Installation) -> Iterator[None]:
        for _ in range(3):
            killed = installed.kill(name)
            assert installed.wait_until(lambda: installed.pid(name) not in (killed, None), 60)  # noqa: B023
        yield
        installed.wait_ready(90)

    return put


def port_taken(installed: Installation) -> Iterator[None]:
    port = int(installed.url.rpartition(":")[2])
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", port))
        taken.listen()
        yield


def stale_pid(installed: Installation) -> Iterator[None]:
    ended = subprocess.Popen(["true"])
    ended.wait()
    path = installed.state / "run" / "supervisor.pid"
    path.write_text(f"{ended.pid}\n")
    yield
    path.unlink(missing_ok=True)


def stale_socket(installed: Installation) -> Iterator[None]:
    path = installed.state / "run" / "supervisor.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    yield
    path.unlink(missing_ok=True)


def orphan(installed: Installation) -> Iterator[None]:
    marker = (installed.state / "installation.json").read_text()
    mark = marker.partition('"installation_id": "')[2].partition('"')[0]
    left = subprocess.Popen(["sleep", "600"], env={**os.environ, "MONGARS_SUPERVISED": mark})
    yield
    left.kill()
    left.wait()


def lock_held(installed: Installation) -> Iterator[None]:
    path = installed.state / ".lock"
    with path.open("w") as lock:
        fcntl.flock(lock.fileno(), fcntl.LOCK_EX)
        os.utime(path, (time.time() - 3600,) * 2)
        yield


def limited(kind: int, soft: int) -> Put:
    """As a shell with ``ulimit`` leaves its commands."""

    def put(_installed: Installation) -> Iterator[None]:
        before = resource.getrlimit(kind)
        resource.setrlimit(kind, (soft, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(kind, before)

    return put


def nothing(_installed: Installation) -> Iterator[None]:
    """The fault is in the environment."""
    yield


def sparse(size: int) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with path.open("wb") as file:
            file.truncate(size)

    return make


def model(cut: int) -> Callable[[Path], None]:
    """A GGUF of one tensor, without its last bytes."""

    def make(path: Path) -> None:
        writer = gguf.GGUFWriter(str(path), "llama")
        writer.add_block_count(1)
        writer.add_tensor("token_embd.weight", np.zeros((64, 32), dtype=np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        os.truncate(path, path.stat().st_size - cut)

    return make


def stopped_at_supervisor(name: str) -> Put:
    """So that nothing starts it again."""

    def put(installed: Installation) -> Iterator[None]:
        ask(installed, "stopProcess", name)
        yield
        ask(installed, "startProcess", name)
        installed.wait_ready(90)

    return put


def ask(installed: Installation, method: str, name: str) -> None:
    """A call of supervisord's own interface; what is asked for may be so already."""
    from cli.installation import load
    from cli.supervision.place import supervisor_of

    with suppress(xmlrpc.client.Fault):
        supervisor_of(load(installed.state))._call(f"supervisor.{method}", name)


def socket_of(installed: Installation) -> Path:
    """Where the supervisor listens while there is one."""
    return installed.state / "run" / "supervisor.sock"


def frozen(name: str) -> Put:
    """A process that is there and does nothing: as when it hangs."""

    def put(installed: Installation) -> Iterator[None]:
        pid = installed.pid(name)
        assert pid is not None
        old_at = psutil.Process(pid).create_time() + YOUNG_S + 1
        assert installed.wait_until(lambda: time.time() > old_at, YOUNG_S + 5), "who has just begun may be silent"
        os.kill(pid, signal.SIGSTOP)
        assert installed.wait_until(lambda: not installed.ready(), 20), "the gateway keeps an answer for a moment"
        yield
        os.kill(pid, signal.SIGCONT)
        installed.wait_ready(90)

    return put


def supervisor_frozen(installed: Installation) -> Iterator[None]:
    pid = int((installed.state / "run" / "supervisor.pid").read_text())
    os.kill(pid, signal.SIGSTOP)
    yield
    os.kill(pid, signal.SIGCONT)


@contextmanager
def site_packages(folder: Path, *, without: str = "", instead: Mapping[str, Path] | None = None) -> Iterator[Path]:
    """What is installed, without a package, or with another in its place."""
    source = Path(np.__file__).parents[1]
    folder.mkdir()
    for entry in source.iterdir():
        if not without or not entry.name.lower().startswith(without):
            (folder / entry.name).symlink_to(entry)
    for name, path in (instead or {}).items():
        (folder / name).unlink()
        (folder / name).symlink_to(path)
    yield folder
    shutil.rmtree(folder)


def new_seed() -> bytes:
    from libs.shared.bus.nkey_files import new_seed as made

    return made().encode()


def marked(**changed: object) -> Put:
    """The installation's marker says something else."""

    def with_changes(text: bytes) -> bytes:
        return json.dumps(json.loads(text) | changed).encode()

    return written("installation.json", with_changes)
