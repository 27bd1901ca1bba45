"""The machines that have joined, by name, with the public halves of their keys."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from pydantic import BaseModel, ConfigDict, ValidationError

from cli.errors import CommandError
from cli.installation import write_private
from libs.shared.layout import StateFolder


class Member(BaseModel):
    """One joined machine."""

    model_config = ConfigDict(frozen=True)

    node_id: str
    public_key: str
    """Of its nkey; the seed never leaves the machine."""
    joined_at: datetime


class _Members(BaseModel):
    model_config = ConfigDict(frozen=True)

    nodes: tuple[Member, ...] = ()


def read(folder: StateFolder) -> tuple[Member, ...]:
    """In the order in which they joined. Raises CommandError for a file that can't be read."""
    try:
        return _Members.model_validate_json(folder.joined_nodes.read_bytes()).nodes
    except FileNotFoundError:
        return ()
    except ValidationError:
        raise CommandError(
            f"{folder.joined_nodes} can't be read",
            "restore that file from a backup, or remove it: every node joins anew",
        ) from None


def add(folder: StateFolder, member: Member) -> None:
    """Under ``changing``."""
    _write(folder, (*read(folder), member))


def remove(folder: StateFolder, node_id: str) -> bool:
    """Under ``changing``; False when there was none of that name."""
    before = read(folder)
    after = tuple(member for member in before if member.node_id != node_id)
    if len(after) != len(before):
        _write(folder, after)
    return len(after) != len(before)


@contextmanager
def changing(folder: StateFolder) -> Iterator[None]:
    """One change of the members, and of the broker's file after it, at a time."""
    with (folder.keys / ".joining.lock").open("w") as lock:
        fcntl.flock(lock.fileno(), fcntl.LOCK_EX)
        yield


def _write(folder: StateFolder, nodes: tuple[Member, ...]) -> None:
    write_private(folder.joined_nodes, _Members(nodes=nodes).model_dump_json(indent=2).encode() + b"\n")
