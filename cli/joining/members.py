"""The machines that have joined, by name, with the public halves of their keys; and those that were taken out."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from pydantic import BaseModel, ConfigDict, ValidationError

from cli.errors import CommandError
from libs.shared.durable import write_private
from libs.shared.layout import StateFolder

_TOLD_WITHIN = timedelta(minutes=15)


class Member(BaseModel):
    """One joined machine."""

    model_config = ConfigDict(frozen=True)

    node_id: str
    public_key: str
    """Of its nkey; the seed never leaves the machine."""
    joined_at: datetime


class Removed(BaseModel):
    """A machine that was taken out: its key stays known, so that it is never let in again."""

    model_config = ConfigDict(frozen=True)

    node_id: str
    public_key: str
    removed_at: datetime


class Members(BaseModel):
    """Both in the order in which it happened."""

    model_config = ConfigDict(frozen=True)

    nodes: tuple[Member, ...] = ()
    removed: tuple[Removed, ...] = ()


def read(folder: StateFolder) -> tuple[Member, ...]:
    """Those that may come in. Raises CommandError for a file that can't be read."""
    return read_all(folder).nodes


def let_in(folder: StateFolder) -> tuple[Member, ...]:
    """As ``read``, and nobody where the file can't be read: an installation works without its nodes."""
    try:
        return read(folder)
    except CommandError:
        return ()


def read_all(folder: StateFolder) -> Members:
    """Raises CommandError for a file that can't be read."""
    try:
        return Members.model_validate_json(folder.joined_nodes.read_bytes())
    except FileNotFoundError:
        return Members()
    except ValidationError:
        raise CommandError(
            f"{folder.joined_nodes} can't be read",
            "remove it: every node joins anew (no backup holds it)",
        ) from None


def are_expected(folder: StateFolder, now: datetime) -> bool:
    """Whether somebody has joined, or was taken out so lately that it has yet to hear of it."""
    known = read_all(folder)
    return bool(known.nodes) or any(now - one.removed_at < _TOLD_WITHIN for one in known.removed)


def add(folder: StateFolder, member: Member) -> None:
    """Under ``changing``."""
    before = read_all(folder)
    _write(folder, before.model_copy(update={"nodes": (*before.nodes, member)}))


def remove(folder: StateFolder, node_id: str, now: datetime) -> tuple[str, ...]:
    """Under ``changing``; the public keys of all that were ever taken out under that name, empty when none was.

    Doing it again changes nothing, and answers the same.
    """
    before = read_all(folder)
    going = tuple(member for member in before.nodes if member.node_id == node_id)
    gone = tuple(Removed(node_id=node_id, public_key=member.public_key, removed_at=now) for member in going)
    after = Members(
        nodes=tuple(member for member in before.nodes if member not in going), removed=(*before.removed, *gone)
    )
    if going:
        _write(folder, after)
    return tuple(one.public_key for one in after.removed if one.node_id == node_id)


@contextmanager
def changing(folder: StateFolder) -> Iterator[None]:
    """One change of the members, and of the broker's file after it, at a time."""
    descriptor = os.open(folder.keys / ".joining.lock", os.O_RDWR | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "r+"):
        os.fchmod(descriptor, 0o600)  # an earlier version left it readable
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


def _write(folder: StateFolder, members: Members) -> None:
    write_private(folder.joined_nodes, members.model_dump_json(indent=2).encode() + b"\n")
