"""What the checks judge: a snapshot of machine and installation, gathered without changing anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cli.doctor.looking.backups import Backups
from cli.probes import Readiness
from cli.supervision.client import Process


@dataclass(frozen=True)
class FileFact:
    """A file or folder below the state folder, as the disk has it."""

    name: str
    """Below the state folder."""
    folder: bool
    exists: bool
    mode: int = 0
    """Permission bits."""
    uid: int = 0
    size: int = 0
    modified_s: float = 0.0
    valid: bool | None = None
    """Whether its content is what it has to be; None: not judged."""


@dataclass(frozen=True)
class Files:
    """The state folder. ``marker``: ``absent``, ``damaged``, ``newer``, ``another's``, ``ok``."""

    root: str
    marker: str
    marker_version: str = ""
    unfinished: bool = False
    external_database: bool = False
    has_run: bool = False
    """Whether it was ever started: before that there are no keys to the broker."""
    closed_to_database: bool = False
    """Whether PostgreSQL has a user of its own, who passes through the folder."""
    files: tuple[FileFact, ...] = ()
    unknown_nkeys: tuple[str, ...] = ()
    """Keys that ``nats.conf`` doesn't have."""
    broker_configuration: str = ""
    """What the broker says against its configuration; empty: nothing."""
    slots: str = "unknown"
    """``whole``, ``missing``, ``damaged``, ``unknown``."""
    keys_open: bool | None = None
    """Whether the installation key opens a user's key."""
    logs_bytes: int = 0
    lock_held_s: float = 0.0


@dataclass(frozen=True)
class Disk:
    """One of the disks that the installation writes to."""

    path: str
    free_bytes: int
    total_bytes: int
    read_only: bool = False
    free_inodes: int | None = None


@dataclass(frozen=True)
class Machine:
    """What the installation runs on. Limits are None where there is none."""

    now_s: float
    python: tuple[int, int]
    version: str
    disks: tuple[Disk, ...] = ()
    memory_total_mib: float = 0.0
    memory_available_mib: float = 0.0
    address_space_mib: float | None = None
    open_files: int | None = None
    temperature_c: float | None = None
    throttled: bool | None = None
    board: str = ""
    packages_missing: tuple[str, ...] = ()
    programs_missing: tuple[str, ...] = ()
    training_missing: tuple[str, ...] = ()
    """Libraries without which nothing can be trained."""


@dataclass(frozen=True)
class SettingProblem:
    """A variable that a service would refuse; never its value."""

    service: str
    variable: str
    reason: str


@dataclass(frozen=True)
class Settings:
    """The environment: names alone."""

    unknown: tuple[str, ...] = ()
    problems: tuple[SettingProblem, ...] = ()


@dataclass(frozen=True)
class Parts:
    """What runs. ``supervisor``: ``away``, ``silent``, ``answers``."""

    supervisor: str
    processes: Mapping[str, Process] = field(default_factory=dict)
    up_s: Mapping[str, float] = field(default_factory=dict)
    """By process: for how long."""
    stale_pid: bool = False
    stale_socket: bool = False
    orphans: tuple[int, ...] = ()
    broker_answers: bool = False
    readiness: Readiness | None = None
    port: int = 0
    port_taken_by: str | None = None
    """A port of the gateway's that another program holds, and which; None: none."""
    failures: Mapping[str, str] = field(default_factory=dict)
    """By service: the type of what its last start ended with; none for one that started since."""
    start_failure: str = ""
    """What the last ``up`` ended with; empty when it went well."""
    duties: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    certificate_days: float | None = None
    backups: Backups = field(default_factory=Backups)


@dataclass(frozen=True)
class Database:
    """``folder``: ``external``, ``missing``, ``damaged``, ``foreign`` (another's), ``whole``."""

    folder: str
    written_by: int | None = None
    programs: int | None = None
    """PostgreSQL's major versions: of the folder, and of the programs."""
    owner: str = ""
    """The user to whom the folder has to belong."""
    reached: str = "unasked"
    """``yes``, ``away``, ``password``, ``refused``, ``unasked``."""
    reason: str = ""
    recorded: str | None = None
    """The schema at which the installation was ready last."""
    revision: str | None = None
    revisions: tuple[str, ...] = ()
    """The schema's, and those that this version knows, oldest first."""
    user_slots: tuple[int, ...] = ()


@dataclass(frozen=True)
class Models:
    """Label → what is wrong, and the embedder's weights: ``""``, ``changed``, ``not-installed``."""

    broken: Mapping[str, str] = field(default_factory=dict)
    embedder: str = ""


@dataclass(frozen=True)
class Facts:
    """All of it. None: it could not be looked at."""

    machine: Machine
    files: Files
    settings: Settings | None = None
    parts: Parts | None = None
    database: Database | None = None
    models: Models | None = None
