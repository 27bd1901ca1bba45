"""An installation that exists: its marker file, and the addresses of its parts."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, ValidationError

from cli.errors import CommandError, Exit
from cli.short_path import reachable_root
from libs.shared.durable import write_private
from libs.shared.layout import FORMAT_VERSION, StateFolder

_UNFIT = "\"';%\n\r\t"
"""What the configuration files of supervisor and broker can't quote."""


class Ports(BaseModel):
    """Where the gateway and the broker listen, on loopback."""

    model_config = ConfigDict(frozen=True)

    http: int
    nats: int


class Lan(BaseModel):
    """Where the gateway listens for other machines, over TLS alone."""

    model_config = ConfigDict(frozen=True)

    host: str
    port: int
    given: bool
    """Whether its certificate was given, and isn't renewed here."""


class Entrance(BaseModel):
    """Where joined machines come in, over TLS alone."""

    model_config = ConfigDict(frozen=True)

    host: str
    port: int


class Joined(BaseModel):
    """What a machine knows of the installation that it is a node of."""

    model_config = ConfigDict(frozen=True)

    node_id: str
    addresses: tuple[str, ...]
    """``host:port`` of its entrance, the one that answered last first."""


class Marker(BaseModel):
    """``installation.json``: written last when an installation is made, so where it is, all else is."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: int
    installation_id: str
    product_version: str
    """What made the installation, or started it last."""
    created_at: datetime
    ports: Ports
    database: str | None = None
    """Another's PostgreSQL, without the password; None: the installation's own."""
    lan: Lan | None = None
    """None: loopback alone."""
    entrance: Entrance | None = None
    """None: no other machine was ever invited."""
    joined: Joined | None = None
    """Set where this folder holds no installation of its own, but a node of another; its ports are 0 then."""
    database_revision: str | None = None
    """Where the database's migrations stood when it was ready last; None: never ready, or version 0.1."""
    commit: str | None = None
    """Of the code that started it last, where that was a git checkout: the way back."""
    admin_announced: bool = False
    """Whether the administrator's one-time password was shown: until then each start makes another."""
    model_declined: bool = False
    """Whether the offer of a language model was refused: it isn't made again."""


@dataclass(frozen=True)
class Installation:
    """A state folder with its marker read."""

    folder: StateFolder
    marker: Marker

    @property
    def http_url(self) -> str:
        return f"http://127.0.0.1:{self.marker.ports.http}"

    @property
    def nats_url(self) -> str:
        return f"nats://127.0.0.1:{self.marker.ports.nats}"

    @property
    def reachable(self) -> StateFolder:
        """The same folder by a path short enough for its Unix sockets."""
        return StateFolder(reachable_root(self.folder.root))

    @property
    def database_url(self) -> str:
        """Without its password, which lies in the keys folder."""
        if self.marker.database is not None:
            return self.marker.database
        return f"postgresql://mongars@/mongars?host={quote(str(self.reachable.database_socket), safe='/')}"


def state_folder(state: Path) -> StateFolder:
    """The folder by its real, absolute path: the same installation has one name. Raises CommandError."""
    root = os.path.realpath(state.expanduser())
    if any(c in _UNFIT for c in root):
        raise CommandError(
            f"{root!r} can't name a state folder", "leave out quotes, semicolons, percent signs and line breaks"
        )
    return StateFolder(Path(root))


def load(state: Path, *, by_root: bool = False) -> Installation:
    """Raises CommandError when there is none, or one that this version can't read."""
    folder = state_folder(state)
    found = find(folder, by_root=by_root)
    if found is None:
        raise CommandError(
            f"there is no installation in {folder.root}",
            "make one with: mongars up (or name another folder with --state DIR)",
            code=Exit.NOT_RUNNING,
        )
    return found


def find(folder: StateFolder, *, by_root: bool = False) -> Installation | None:
    """None when there is none. Raises CommandError for an unreadable or newer one, or another user's.

    ``by_root``: root may stop and remove everybody's.
    """
    try:
        text = folder.marker.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError:
        raise CommandError(
            f"the installation in {folder.root} belongs to another user", "run this as its owner, or with sudo"
        ) from None
    if (owner := folder.root.stat().st_uid) != os.geteuid() and not (by_root and os.geteuid() == 0):
        raise CommandError(
            f"the installation in {folder.root} belongs to user {_name(owner)}", f"run it as {_name(owner)}"
        )
    return Installation(folder, _parse(text, folder))


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _parse(text: bytes, folder: StateFolder) -> Marker:
    try:
        marker = Marker.model_validate_json(text)
    except ValidationError:
        raise CommandError(
            f"{folder.marker} can't be read as an installation's marker", "restore that file from a backup"
        ) from None
    if marker.format > FORMAT_VERSION:
        raise CommandError(
            f"{folder.root} was written by a newer monGARS (version {marker.product_version}, "
            f"format {marker.format}; this one reads up to {FORMAT_VERSION})",
            f"install monGARS {marker.product_version} or newer, or choose another folder with --state DIR",
        )
    return marker


def write_marker(folder: StateFolder, marker: Marker) -> Installation:
    """Replaces the marker in one step."""
    write_private(folder.marker, marker.model_dump_json(indent=2).encode() + b"\n")
    return Installation(folder, marker)
