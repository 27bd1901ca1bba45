"""What lies in a backup: its description, its members one after another, and the account at its end."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from cli.backups.recovery_key import RecoveryKey
from cli.backups.sealed_file import MESSAGE_BYTES, Reader, Writer, damaged
from libs.shared.contracts.backups import Backup

KEYS = "data-keys"
"""Member: records of the slot file."""
DATABASE = "database.dump"
"""Member: pg_dump's custom format."""
FOLDER = "folder/"
"""Members below: files of the state folder, by their path in it."""
ADAPTERS = "adapters/"
"""Members below: files of the artefact store under ``files/`` and their hash, signed manifests under ``manifests/``."""
_ABOUT, _BEGIN, _DATA, _END, _ACCOUNT = b"A", b"B", b"D", b"E", b"Z"


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


Told = TypeVar("Told", bound=_Told)


class About(_Told):
    """What a restore has to know before anything else."""

    product_version: str
    folder_format: int
    """Of the state folder."""
    schema_revision: str
    postgres_dump: int
    """Major version of the pg_dump that wrote the database."""
    http_port: int
    counts: dict[str, int]
    """Rows of each table in the dump."""
    keys: int
    adapters: int = 0
    adapter_bytes: int = 0
    """Of all their files."""
    backup: Backup
    """Itself, as the installation's list had it when it was begun."""


class Member(_Told):
    """One member, once it is whole."""

    name: str
    size_bytes: int
    sha256: str


class Account(_Told):
    """The end: what there has to be."""

    members: tuple[Member, ...]


class _Name(_Told):
    name: str


class Taking(Protocol):
    """Whoever takes a member's bytes."""

    def __call__(self, content: bytes, /) -> object: ...


class Filling:
    """One member on its way in."""

    def __init__(self, writer: Writer, members: list[Member], name: str) -> None:
        self._writer = writer
        self._members = members
        self._name = name
        self._digest, self._size = hashlib.sha256(), 0
        writer.message(_BEGIN + _Name(name=name).model_dump_json().encode())

    def take(self, piece: bytes) -> None:
        """Of any size."""
        self._digest.update(piece)
        self._size += len(piece)
        for at in range(0, len(piece), MESSAGE_BYTES - 1):
            self._writer.message(_DATA + piece[at : at + MESSAGE_BYTES - 1])

    def end(self) -> Member:
        member = Member(name=self._name, size_bytes=self._size, sha256=self._digest.hexdigest())
        self._writer.message(_END + member.model_dump_json().encode())
        self._members.append(member)
        return member


class Packing:
    """Writes description, members, account, in this order."""

    def __init__(self, writer: Writer, about: About) -> None:
        self._writer = writer
        self._members: list[Member] = []
        writer.message(_ABOUT + about.model_dump_json().encode())

    def add(self, name: str, content: Iterator[bytes]) -> Member:
        """One member of pieces of any size."""
        filling = self.begin(name)
        for piece in content:
            filling.take(piece)
        return filling.end()

    def begin(self, name: str) -> Filling:
        """A member that is given piece by piece; ``end`` has to follow before another begins."""
        return Filling(self._writer, self._members, name)

    def finish(self) -> Account:
        account = Account(members=tuple(self._members))
        self._writer.message(_ACCOUNT + account.model_dump_json().encode(), last=True)
        return account


def unpack(
    file: BinaryIO,
    key: RecoveryKey,
    about: Callable[[About], None],
    begin: Callable[[str], Taking],
    end: Callable[[str], None],
) -> Account:
    """Reads a whole backup; each member's bytes go to what ``begin`` answers for its name.

    Raises CommandError for one that isn't as it was made: what was taken until then counts for nothing.
    """
    messages = Reader(file).messages(key)
    about(_described(next(messages)))
    members: list[Member] = []
    for message in messages:
        if message[:1] == _ACCOUNT:
            account = _read(Account, message, _ACCOUNT)
            if account.members != tuple(members):
                raise damaged("a member of it is missing")
            next(messages, None)
            return account
        name = _read(_Name, message, _BEGIN).name
        members.append(_take(messages, name, begin(name)))
        end(name)
    raise damaged("its end is missing")


def _take(messages: Iterator[bytes], name: str, take: Taking) -> Member:
    digest, size = hashlib.sha256(), 0
    for message in messages:
        if message[:1] != _DATA:
            told = _read(Member, message, _END)
            if told != Member(name=name, size_bytes=size, sha256=digest.hexdigest()):
                raise damaged(f"{name} is not what it was")
            return told
        content = message[1:]
        digest.update(content)
        size += len(content)
        take(content)
    raise damaged(f"{name} is cut short")


def described(file: BinaryIO, key: RecoveryKey) -> About:
    """The description alone, of a backup that may be damaged behind it. Raises CommandError."""
    for message in Reader(file).messages(key):
        return _described(message)
    raise damaged("it is empty")


def _described(message: bytes) -> About:
    return _read(About, message, _ABOUT)


def _read(kind: type[Told], message: bytes, mark: bytes) -> Told:
    if message[:1] != mark:
        raise damaged("its parts are not in order")
    try:
        return kind.model_validate_json(message[1:])
    except ValidationError:
        raise damaged("a description in it can't be read") from None
