"""Opening an installation to other machines, and taking one out again."""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
import time
from collections.abc import Iterable
from contextlib import suppress

from cli import ports
from cli.errors import CommandError, Exit
from cli.installation import Entrance, Installation, load, write_marker
from cli.joining import asking, invitations, members
from cli.joining.certificates import renew
from cli.joining.code import JoinCode, fingerprint_of
from cli.joining.protocol import PREFERRED_PORT
from cli.lan.opening import EVERYWHERE, EVERYWHERE_TOO, own_addresses
from cli.supervision.client import Supervisor
from cli.supervision.place import supervisor_of
from cli.supervision.programs import ENTRANCE
from libs.shared.durable import write_private

_OPEN_S = 20.0
_ENDED_S = 30.0
"""Longer than its supervisor waits before it kills it."""
_CHECK_EVERY_S = 0.05
_MOST_ADDRESSES = 8


def invite(installation: Installation, listen: str | None, now: float) -> JoinCode:
    """A code for one machine; opens the entrance where it isn't yet. Under ``exclusively``. Raises CommandError."""
    made = invitations.make(installation.folder, now)  # first: the entrance is open only as long as somebody may come
    try:
        installation = _opened(installation, listen)
    except BaseException:
        invitations.consume(installation.folder, made.name)
        raise
    opening = installation.marker.entrance
    assert opening is not None
    authority = installation.folder.nodes_authority.read_text()
    return JoinCode(
        addresses=reached_at(opening, own_addresses(), socket.gethostname()),
        fingerprint=fingerprint_of(authority),
        invitation=made.name,
        secret=made.secret,
    )


def close(installation: Installation) -> Entrance | None:
    """Nobody comes in any more, and who joined is cut off, until the next invitation; where it was open. Under
    ``exclusively``. Raises CommandError; doing it again then goes on from there."""
    invitations.withdraw_all(installation.folder)
    before = installation.marker.entrance
    _end(supervisor_of(installation))
    if before is not None:  # last: whoever is told that it is closed finds it so
        write_marker(installation.folder, installation.marker.model_copy(update={"entrance": None}))
    return before


def reached_at(opening: Entrance, addresses: Iterable[str], hostname: str) -> tuple[str, ...]:
    """Where other machines may find it, IPv4 first, a name that survives a change of address last. Pure."""
    if opening.host not in EVERYWHERE_TOO:
        return (asking.joined(opening.host, opening.port),)
    found = [ipaddress.ip_address(address) for address in dict.fromkeys(addresses)]
    outside = [
        a for a in found if not (a.is_loopback or a.is_link_local) and (opening.host != EVERYWHERE or a.version == 4)
    ]
    outside.sort(key=lambda address: address.version)
    name = f"{hostname.partition('.')[0].lower()}.local"
    return (
        *(asking.joined(str(a), opening.port) for a in outside[:_MOST_ADDRESSES]),
        asking.joined(name, opening.port),
    )


def _opened(installation: Installation, listen: str | None) -> Installation:
    supervisor = supervisor_of(installation)
    if supervisor.processes() is None:
        raise CommandError("the installation is not running", "start it with: mongars up", code=Exit.NOT_RUNNING)
    with members.changing(installation.folder):
        renew(installation.folder)
    before = installation.marker.entrance
    wanted = _wanted(installation, listen)
    try:
        _listen(installation, wanted)
        _wait_open(installation, wanted)
    except (CommandError, OSError):
        _listen(installation, before)
        raise
    return load(installation.folder.root)


def _listen(installation: Installation, wanted: Entrance | None) -> None:
    """Has the entrance listen there, or nowhere."""
    supervisor = supervisor_of(installation)
    now = load(installation.folder.root).marker
    after = now.model_copy(update={"entrance": wanted})
    if wanted is None:
        _end(supervisor)
        write_marker(installation.folder, after)
        return
    running = (supervisor.processes() or {}).get(ENTRANCE)
    if running is None:
        _take_in(installation)
        supervisor.add(ENTRANCE)
    write_marker(installation.folder, after)  # after that: the next start of everything counts on it
    if running is not None and running.alive and now.entrance != wanted:
        with suppress(ProcessLookupError):
            os.kill(running.pid, signal.SIGTERM)  # its supervisor starts it again, and it listens where it is to
    supervisor.start(ENTRANCE)


def _end(supervisor: Supervisor) -> None:
    """Where there is one, whatever the marker says; returns when it is gone. Raises CommandError."""
    if ENTRANCE not in (supervisor.processes() or {}):
        return
    supervisor.stop(ENTRANCE)
    deadline = time.monotonic() + _ENDED_S
    while (left := (supervisor.processes() or {}).get(ENTRANCE)) is not None and left.alive:
        if time.monotonic() > deadline:
            raise CommandError("the entrance does not stop", "try again, or: mongars down --kill")
        time.sleep(_CHECK_EVERY_S)


def _wanted(installation: Installation, listen: str | None) -> Entrance:
    before = installation.marker.entrance
    if listen is None and before is not None:
        return before
    try:
        host, port = asking.split(listen) if listen else (EVERYWHERE, 0)
        ipaddress.ip_address(host)
    except ValueError:
        raise CommandError(
            f"--listen {listen} is no address",
            f"{EVERYWHERE}:{PREFERRED_PORT}, or an address of this machine",
            code=Exit.USAGE,
        ) from None
    if port == 0:
        kept = installation.marker.ports
        port = ports.choose(PREFERRED_PORT, taken=frozenset({kept.http, kept.nats}))
    return Entrance(host=host, port=port)


def _take_in(installation: Installation) -> None:
    """Adds the entrance's program to what the running supervisor reads; doing it again changes nothing."""
    from cli.processes import entrance
    from cli.supervision.place import paths
    from cli.supervision.programs import LOG_BYTES, program_section

    where = paths(installation.reachable)
    configuration = installation.reachable.run / "supervisord.conf"
    section = program_section(entrance(installation), 1000, where, LOG_BYTES)
    before = configuration.read_text()
    if section not in before:  # as an invitation that broke off left it
        write_private(configuration, f"{before}\n{section}".encode())


def _wait_open(installation: Installation, opening: Entrance) -> None:
    """Until this installation's own entrance answers there. Raises CommandError."""
    authority = installation.folder.nodes_authority.read_text()
    here = {EVERYWHERE: "127.0.0.1", "::": "::1"}.get(opening.host, opening.host)
    deadline = time.monotonic() + _OPEN_S
    while asking.greeted([asking.joined(here, opening.port)], authority) is None:
        if time.monotonic() > deadline:
            raise CommandError(
                f"the entrance does not answer at {asking.joined(here, opening.port)}",
                "see: mongars logs entrance; another address: mongars nodes invite --listen ADDRESS:PORT",
            )
        time.sleep(_CHECK_EVERY_S)
