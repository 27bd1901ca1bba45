"""A folder that is a node of an installation elsewhere: made by joining, started without broker and database."""

from __future__ import annotations

import socket
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

from cli import broker, creation
from cli.errors import CommandError, Exit
from cli.installation import Installation, Joined, Marker, Ports, write_marker
from cli.joining import asking
from cli.joining.code import JoinCode
from cli.joining.protocol import Enrol
from cli.logs import last_lines
from cli.processes import node_programs
from cli.progress import Progress
from cli.stop import stop
from cli.supervision import orphans
from cli.supervision.launching import launch
from cli.supervision.place import supervisor_of
from cli.supervision.programs import log_file
from cli.version import product_version
from libs.shared.contracts.base import Principal
from libs.shared.durable import write_private
from libs.shared.layout import FORMAT_VERSION, StateFolder

_ORPHAN_PATIENCE_S = 10.0
_STEADY_S = 3.0
"""A process that lives so long after its start wasn't stopped by what is wrong with it."""
_CHECK_EVERY_S = 0.1
_LOG_LINES = 12


@dataclass(frozen=True)
class StartedNode:
    """A running node, and whether its installation was there when it was started."""

    installation: Installation
    reached: str | None
    """The address that answered; None: none did, and the node goes on trying."""


def make(folder: StateFolder, code: JoinCode, name: str | None, environment: dict[str, str]) -> Installation:
    """Joins in a prepared folder: all of it, or nothing is left there. Raises CommandError."""
    from libs.shared.bus.nkey_files import new_seed, public_key

    node_id = name or broker.node_id(environment.get("MONGARS_NODE_ID"), socket.gethostname())
    with creation.all_or_nothing(folder):
        address, greeting = asking.found(code)
        creation.make_folders(folder)
        folder.nodes_authority.parent.mkdir(mode=0o700)
        seed = new_seed()
        asked = Enrol(
            invitation=code.invitation,
            secret=code.secret,
            node_id=node_id,
            public_key=public_key(seed),
            version=product_version(),
        )
        write_private(broker.inference_seed(folder, node_id), seed.encode())
        write_private(folder.nodes_authority, greeting.authority.encode())
        welcome = asking.enrolled(address, greeting.authority, asked)
        others = tuple(one for one in code.addresses if one != address)
        marker = Marker(
            format=FORMAT_VERSION,
            installation_id=uuid.uuid4().hex,
            product_version=product_version(),
            created_at=datetime.now(UTC),
            ports=Ports(http=0, nats=0),
            joined=Joined(node_id=welcome.node_id, addresses=(address, *others)),
        )
        return write_marker(folder, marker)


def start(installation: Installation, progress: Progress, environment: dict[str, str]) -> StartedNode:
    """Starts inference where it doesn't run, and anew where it runs in an earlier version. Under ``exclusively``.

    Raises CommandError: the installation has another version, or inference ends.
    """
    joined = installation.marker.joined
    assert joined is not None
    greeting = asking.greeted(joined.addresses, installation.folder.nodes_authority.read_text())
    if greeting is not None:
        require_same_version(greeting[1].version)
    supervisor = supervisor_of(installation)
    if installation.marker.product_version != product_version():
        if supervisor.processes() is not None:
            stop(installation, progress)  # it is still the one from before the upgrade
        current = installation.marker.model_copy(update={"product_version": product_version()})
        installation = write_marker(installation.folder, current)
    name = Principal.INFERENCE.value
    with progress.step("Starting inference"):
        if supervisor.processes() is None:
            orphans.end(installation.marker.installation_id, patience_s=_ORPHAN_PATIENCE_S)
            launch(installation, node_programs(installation), environment)
        supervisor.start(name)
        before = supervisor.processes() or {}
        restarts = before[name].restarts if name in before else 0
        deadline = time.monotonic() + _STEADY_S
        while time.monotonic() < deadline:
            process = (supervisor.processes() or {}).get(name)
            if process is None or process.restarts > restarts:
                raise _failed(installation, name)
            time.sleep(_CHECK_EVERY_S)
    return StartedNode(installation, greeting[0] if greeting is not None else None)


def found_at(installation: Installation, address: str) -> Installation:
    """The node with another address of its installation, which has to answer there. Raises CommandError."""
    joined = installation.marker.joined
    assert joined is not None
    wanted = asking.whole(address)
    if asking.greeted([wanted], installation.folder.nodes_authority.read_text()) is None:
        raise CommandError(
            f"the installation that this node joined does not answer at {wanted}",
            "see there with: mongars status, and mongars nodes invite, which says where it listens",
            code=Exit.REFUSED,
        )
    addresses = (wanted, *(one for one in joined.addresses if one != wanted))
    moved = joined.model_copy(update={"addresses": addresses})
    return write_marker(installation.folder, installation.marker.model_copy(update={"joined": moved}))


def require_same_version(there: str) -> None:
    """Raises CommandError for an installation of another version: its messages may mean something else."""
    if there != (here := product_version()):
        raise CommandError(
            f"the installation runs monGARS {there}, and this machine {here}",
            f"install {there} here, then run: mongars up",
            code=Exit.REFUSED,
        )


def _failed(installation: Installation, name: str) -> CommandError:
    said = "\n".join(f"    {row}" for row in last_lines(log_file(installation.folder.logs, name), _LOG_LINES))
    return CommandError(
        f"{name} ends as soon as it is started; its last words:\n{said}",
        "if the installation has removed this node, join anew with a new code and another --state",
    )
