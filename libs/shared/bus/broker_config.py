"""The broker's configuration file, from what each key may do."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from libs.shared.bus.permissions import (
    SETUP,
    WITNESS,
    Permissions,
    inference_node,
    joined_node,
    permissions_of,
    setup_permissions,
    witness_permissions,
)
from libs.shared.contracts import BUCKETS, CONTRACTS, OBJECT_STORES, STREAMS
from libs.shared.contracts.base import KIB, MIB, Bucket, Event, JetStream, ObjectStore, Principal

INFERENCE_NODE = f"{Principal.INFERENCE}-"
"""A key of this name and the node's id after it belongs to one inference node."""


JOINED_NODE = "joined-"
"""Likewise, of a node on another machine that joined by an invitation."""


@dataclass(frozen=True)
class User:
    """One public key and what it may do."""

    name: str
    public_key: str
    permissions: Permissions


def principals(nodes: Iterable[str] = ()) -> tuple[str, ...]:
    """The names of all keys that an installation with these inference nodes needs."""
    named = tuple(p.value for p in Principal if p is not Principal.INFERENCE)
    return (*named, *(f"{INFERENCE_NODE}{node}" for node in nodes), SETUP)


def permissions_named(name: str) -> Permissions:
    """Of a key by its name, as ``principals`` gives it. Raises ValueError for another name."""
    if name == SETUP:
        return setup_permissions()
    if name.startswith(INFERENCE_NODE):
        return inference_node(name.removeprefix(INFERENCE_NODE))
    if name.startswith(JOINED_NODE):
        return joined_node(name.removeprefix(JOINED_NODE))
    return permissions_of(Principal(name))


def users(public_keys: Mapping[str, str]) -> tuple[User, ...]:
    """The users of the broker from their names and public keys."""
    return tuple(User(name, key, permissions_named(name)) for name, key in public_keys.items())


def largest_message_bytes() -> int:
    """Events cross and are stored whole, so that none is ever there in half; everything else is chunked below."""
    return max(c.max_bytes for c in CONTRACTS if isinstance(c, Event)) + 64 * KIB


def stored_bytes() -> int:
    """What all streams and buckets may take on disk, with room for their indices."""
    declared: tuple[JetStream | Bucket | ObjectStore, ...] = (*STREAMS, *BUCKETS, *OBJECT_STORES)
    return sum(each.max_bytes for each in declared) + 256 * MIB


def render_config(
    *,
    users: Iterable[User],
    store: Path,
    port: int,
    host: str = "127.0.0.1",
    server_name: str = "mongars",
    max_file_bytes: int | None = None,
    max_memory_bytes: int = 64 * MIB,
    log_file: Path | None = None,
    pid_file: Path | None = None,
    witness: str | None = None,
) -> str:
    """``nats.conf``: loopback, JetStream synced to disk at every acknowledgement, one nkey a user, deny by default.

    ``witness``: the public key of who may ask for connections while this configuration is in force.
    """
    files = "".join(
        f"{key}: {_text(str(path))}\n" for key, path in (("log_file", log_file), ("pid_file", pid_file)) if path
    )
    return f"""\
server_name: {_text(server_name)}
listen: {_text(f"{host}:{port}")}
{files}max_payload: {largest_message_bytes()}
max_pending: {4 * largest_message_bytes()}
ping_interval: "10s"
write_deadline: "5s"
lame_duck_duration: "30s"
lame_duck_grace_period: "1s"
jetstream {{
  store_dir: {_text(str(store))}
  max_file_store: {stored_bytes() if max_file_bytes is None else max_file_bytes}
  max_memory_store: {max_memory_bytes}
  # without it an acknowledged message waits up to two minutes for the disk
  sync_interval: always
}}
authorization {{
  users: [
{"".join(_user(user) for user in users)}  ]
}}
{_system_account(witness)}"""


def _system_account(witness: str | None) -> str:
    if witness is None:
        return ""
    return f"""\
accounts {{
  $SYS {{ users: [
{_user(User(WITNESS, witness, witness_permissions()))}  ] }}
}}
"""


def _user(user: User) -> str:
    return f"""\
    # {user.name}
    {{
      nkey: {user.public_key}
      permissions: {{
        publish: {_rule(user.permissions.publish)}
        subscribe: {_rule(user.permissions.subscribe)}
      }}
    }}
"""


def _rule(allowed: tuple[str, ...]) -> str:
    # an empty allow list would allow everything
    if not allowed:
        return '{ deny: [">"] }'
    lines = "".join(f"          {_text(subject)}\n" for subject in allowed)
    return f"{{ allow: [\n{lines}        ] }}"


def _text(value: str) -> str:
    """A quoted string. Raises ValueError for what the format can't quote."""
    if any(c in value for c in '"\n\r'):
        raise ValueError("a broker setting can't hold quotes or line breaks")
    return json.dumps(value, ensure_ascii=False)
