"""Living again from a backup: checked whole first, then made in an empty folder, of which nothing is left on failure.

What was forgotten after the backup is forgotten there too, before anything can be served.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from cli import creation, ports
from cli.backups import adapters, journal_copies, siblings
from cli.backups.checking import checked
from cli.backups.contents import ADAPTERS, DATABASE, FOLDER, KEYS, About, Taking, unpack
from cli.backups.postgres_tools import Tool, fitting, needs_tls
from cli.backups.postgres_tools import restoring as pg_restore
from cli.backups.recovery_key import RecoveryKey
from cli.backups.sealed_file import damaged
from cli.database import briefly
from cli.database.external import Address
from cli.database.inspection import inspect, row_counts, server_major
from cli.errors import CommandError, Exit
from cli.installation import Installation, Marker, Ports, write_marker
from cli.processes import service_environment
from cli.progress import Progress
from cli.start import migrate
from cli.supervision.place import code_root
from cli.version import product_version
from libs.shared.contracts.backups import Backups, BackupState
from libs.shared.durable import write_private
from libs.shared.layout import FORMAT_VERSION, StateFolder

_STEP_TIMEOUT_S = 3600.0


@dataclass(frozen=True)
class Restored:
    """An installation that was made from a backup, not started."""

    installation: Installation
    about: About
    found: dict[str, Any]
    """What persistence found: forgettings that were replayed, messages, what can be searched."""

    def as_json(self) -> dict[str, object]:
        cut = self.about.backup
        return {
            "state": str(self.installation.folder.root),
            "http": self.installation.http_url,
            "backup_id": cut.backup_id,
            "made_by": self.about.product_version,
            "cut": {"at": cut.cut_at, "epoch": cut.cut.epoch, "sequence": cut.cut.sequence},
            "adapters": self.about.adapters,
            **self.found,
        }


@dataclass(frozen=True)
class Wanted:
    """What to restore, and where."""

    file: Path
    folder: StateFolder
    key: RecoveryKey
    environment: dict[str, str]
    journals: tuple[Path, ...] = ()
    """Newer ones that somebody named, beside those that lie next to the backup."""
    external: Address | None = None


def restore(wanted: Wanted, progress: Progress) -> Restored:
    """Raises CommandError; then nothing was written, or nothing of what was written remains."""
    with progress.step("Checking the backup"):
        about = checked(wanted.file, wanted.key)
    _refuse_newer(about)
    tool = _tool(about, wanted.external)
    if wanted.external is not None:
        inspect(wanted.external, new=True, patience_s=0)
    creation.prepare_folder(wanted.folder)
    with creation.all_or_nothing(wanted.folder):
        needed_mib = creation.CREATION_SPACE_MIB + wanted.file.stat().st_size // 2**20 * 2
        creation.require_space(wanted.folder.root, needed_mib)
        return _Restoring(wanted, about, tool, progress).all()


def _refuse_newer(about: About) -> None:
    from migrations.run import knows

    if about.folder_format > FORMAT_VERSION or not knows(about.schema_revision):
        raise CommandError(
            f"this backup was made by monGARS {about.product_version} (schema {about.schema_revision}), "
            f"which is newer than this version, {product_version()}",
            f"install monGARS {about.product_version} or newer, and restore with that",
            code=Exit.REFUSED,
        )


def _tool(about: About, external: Address | None) -> Tool:
    if external is None:
        return fitting("pg_restore", about.postgres_dump, tls=False, because="the database in the backup")
    least = max(about.postgres_dump, server_major(external.url, external.password))
    return fitting("pg_restore", least, tls=needs_tls(external.url), because="the database")


@dataclass
class _Restoring:
    """The steps of one restore."""

    wanted: Wanted
    about: About
    tool: Tool
    progress: Progress
    installation: Installation = field(init=False)
    _ends: dict[str, Callable[[], None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.installation = Installation(self.wanted.folder, self._marker())

    def all(self) -> Restored:
        password = self._password()
        creation.make_folders(self.wanted.folder)
        if password is not None:
            write_private(self.wanted.folder.database_password, password.encode())
        with ExitStack() as stack:
            if self.wanted.external is None:
                creation.make_database(self.wanted.folder, self.progress, password or "")
                stack.enter_context(briefly.running(self.installation))
            with self.progress.step("Restoring keys and database"):
                self._unpack(password)
                self._compare_counts(password)
            with self.progress.step("Bringing the database to this version"):
                migrate(self.installation, self.wanted.environment)
            self._join_lists()
            with self.progress.step("Forgetting what was forgotten since, and looking at what is there"):
                found = self._replay()
        write_marker(self.wanted.folder, self.installation.marker)
        return Restored(self.installation, self.about, found)

    def _password(self) -> str | None:
        external = self.wanted.external
        return secrets.token_urlsafe(32) if external is None else external.password

    def _marker(self) -> Marker:
        kept = self.about.http_port
        http = kept if ports.is_free(kept) else ports.choose(ports.HTTP_PREFERRED)
        return Marker(
            format=FORMAT_VERSION,
            installation_id=uuid.uuid4().hex,  # two may live on one machine, and are told apart by it
            product_version=product_version(),
            created_at=datetime.now(UTC),
            ports=Ports(http=http, nats=ports.choose(ports.NATS_PREFERRED, taken=frozenset({http}))),
            database=self.wanted.external.url if self.wanted.external else None,
            admin_announced=True,
        )

    # ---------------------------------------------------------------- the members

    def _unpack(self, password: str | None) -> None:
        with ExitStack() as stack, self.wanted.file.open("rb") as file:

            def begin(name: str) -> Taking:
                if name == KEYS:
                    return self._into_persistence(stack)
                if name == DATABASE:
                    return self._into_database(stack, password)
                if name.startswith(ADAPTERS):
                    return self._beside(name)
                return self._into_folder(name)

            def end(name: str) -> None:
                if (done := self._ends.pop(name, None)) is not None:
                    done()

            unpack(file, self.wanted.key, lambda _: None, begin, end)

    def _into_folder(self, name: str) -> Taking:
        root = self.wanted.folder.root
        path = root / name.removeprefix(FOLDER)
        if not name.startswith(FOLDER) or root not in Path(os.path.normpath(path)).parents:
            raise damaged("a file in it has a strange name")
        content = bytearray()

        def write() -> None:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if path != self.wanted.folder.marker:
                write_private(path, bytes(content))

        self._ends[name] = write
        return content.extend

    def _beside(self, name: str) -> Taking:
        """The store is the broker's, which doesn't run: persistence puts them into it at its start."""
        file = adapters.taken_into(self.wanted.folder.restored_adapters, name)
        if file is None:
            raise damaged("an adapter in it has a strange name")
        self._ends[name] = lambda: adapters.closed(file)
        return file.write

    def _into_persistence(self, stack: ExitStack) -> Taking:
        child = stack.enter_context(self._persistence("keys", stdin=subprocess.PIPE))
        assert child.stdin is not None
        self._ends[KEYS] = lambda: self._compare_keys(child)
        return _tolerant(child.stdin)

    def _compare_keys(self, child: subprocess.Popen[bytes]) -> None:
        if (made := self._said(child)["keys"]) != self.about.keys:
            raise damaged(f"it has {made} keys instead of {self.about.keys}")

    def _into_database(self, stack: ExitStack, password: str | None) -> Taking:
        own = stack.enter_context(ExitStack())
        stdin = own.enter_context(pg_restore(self.installation.database_url, self.tool, password))
        self._ends[DATABASE] = own.close
        return _tolerant(stdin)

    def _compare_counts(self, password: str | None) -> None:
        there = row_counts(Address(self.installation.database_url, password), self.about.counts)
        different = [name for name, count in self.about.counts.items() if there[name] != count]
        if different:
            raise damaged(f"the table {different[0]} has not as many rows as there were")

    # ---------------------------------------------------------------- what came later

    def _join_lists(self) -> None:
        """The journal with what its copies know, the list with this backup and those beside it."""
        folder, file = self.wanted.folder, self.wanted.file
        beside = journal_copies.beside(file, self.wanted.key.seal.name)
        known = set(journal_copies.lines_of([folder.forgettings]))
        others = journal_copies.lines_of([*([beside] if beside else []), *self.wanted.journals])
        journal_copies.append(folder.forgettings, [line for line in others if line not in known])
        told = Backups.model_validate_json(folder.backup_list.read_bytes())
        listed = {one.backup_id: one for one in reversed(told.backups)}
        for backup in siblings.found(file.parent, self.wanted.key, but=file):
            listed.setdefault(backup.backup_id, backup)
        itself = {"state": BackupState.KEPT, "place": str(file), "size_bytes": file.stat().st_size}
        listed[self.about.backup.backup_id] = self.about.backup.model_copy(update=itself)
        joined = Backups(backups=tuple(sorted(listed.values(), key=lambda one: one.cut_at, reverse=True)))
        write_private(folder.backup_list, joined.model_dump_json(indent=1).encode() + b"\n")

    def _replay(self) -> dict[str, Any]:
        with self._persistence("replay") as child:
            return self._said(child)

    def _persistence(self, *words: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-m", "services.persistence.restoring", *words],
            cwd=code_root(),
            env={**self.wanted.environment, **service_environment(self.installation), "MONGARS_LOG_LEVEL": "ERROR"},
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def _said(self, child: subprocess.Popen[bytes]) -> dict[str, Any]:
        try:
            said, complained = child.communicate(timeout=_STEP_TIMEOUT_S)
        finally:
            if child.poll() is None:
                child.kill()
        if child.returncode != 0:
            words = complained.decode(errors="replace").strip().splitlines()
            raise CommandError(
                f"the backup could not be restored: {words[-1] if words else 'no reason given'}",
                "see the line above; another backup may do",
                code=Exit.REFUSED,
            )
        return dict(json.loads(said.decode().strip().splitlines()[-1]))


def _tolerant(pipe: IO[bytes]) -> Taking:
    """Who reads it may end early: what it says then tells more than a broken pipe."""

    def take(content: bytes) -> None:
        try:
            pipe.write(content)
        except BrokenPipeError:
            return

    return take


def journals_of(places: Iterable[Path]) -> tuple[Path, ...]:
    """Every journal in what somebody named. Raises CommandError where there is none."""
    return tuple(journal for place in places for journal in journal_copies.journals_at(place))
