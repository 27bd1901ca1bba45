"""Letting a machine in: everything is looked at before the invitation is used up, and one machine uses it."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from datetime import UTC, datetime

from cli.joining import invitations, members
from cli.joining.members import Member, Members
from cli.joining.protocol import Enrol, Refusal, Welcome
from libs.shared.bus.nkey_files import is_public_key
from libs.shared.layout import StateFolder

_NODE = re.compile(r"[a-z0-9][a-z0-9-]{0,59}")
_NOT_OPEN = Refusal(
    refused="invitation",
    detail="this code was used already, is over, or was never given; make another: mongars nodes invite",
)


def enrol(
    folder: StateFolder,
    asked: Enrol,
    *,
    now: float,
    version: str,
    own_node: str,
    own_keys: Collection[str],
    admit: Callable[[], None],
) -> Welcome | Refusal:
    """``admit`` tells the broker of the members as they are now: where it raises, the machine has not joined.

    ``own_keys`` are the installation's public keys.
    """
    with members.changing(folder):
        if not invitations.is_open(folder, asked.invitation, asked.secret, now):
            return _NOT_OPEN
        refusal = unfit(asked, version, own_node, own_keys, members.read_all(folder))
        if refusal is not None:
            return refusal
        if not invitations.consume(folder, asked.invitation):
            return _NOT_OPEN
        joined_at = datetime.fromtimestamp(now, UTC)
        members.add(folder, Member(node_id=asked.node_id, public_key=asked.public_key, joined_at=joined_at))
        try:
            admit()
        except BaseException:
            members.remove(folder, asked.node_id, joined_at)  # its key too: the broker may have it already
            raise
    return Welcome(node_id=asked.node_id)


def unfit(asked: Enrol, version: str, own_node: str, own_keys: Collection[str], known: Members) -> Refusal | None:
    """Why a machine with a good invitation can't join; None when it can. Pure."""
    if asked.version != version:
        detail = f"the installation runs monGARS {version}, and this machine {asked.version}: install {version} here"
        return Refusal(refused="version", detail=detail)
    if not _NODE.fullmatch(asked.node_id):
        detail = "a node's name has small letters, digits and hyphens, 60 at most; choose one with --name"
        return Refusal(refused="name", detail=detail)
    if asked.node_id == own_node or any(member.node_id == asked.node_id for member in known.nodes):
        detail = (
            f"there is a node {asked.node_id} already: choose another name with --name, "
            f"or take that one out first with: mongars nodes remove {asked.node_id}"
        )
        return Refusal(refused="name", detail=detail)
    others = {member.public_key for member in known.nodes} | {gone.public_key for gone in known.removed}
    taken = asked.public_key in own_keys or asked.public_key in others
    if taken or not is_public_key(asked.public_key):
        return Refusal(refused="key", detail="this is no new key of a node")
    return None
