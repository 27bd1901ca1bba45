"""Starting an installation: the order of things, and what to say when one of them fails."""

from __future__ import annotations

import itertools
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from cli import broker, creation, ports
from cli.database import choice
from cli.database.owner import current_owner
from cli.errors import CommandError
from cli.installation import Installation, write_marker
from cli.lan.opening import renew
from cli.logs import last_lines
from cli.probes import Readiness, broker_answers, database_answers, readiness
from cli.processes import programs, service_environment
from cli.progress import Progress
from cli.supervision import orphans
from cli.supervision.client import Supervisor
from cli.supervision.launching import launch
from cli.supervision.place import code_root, supervisor_of
from cli.supervision.programs import BROKER, CARETAKER, DATABASE, ENTRANCE, log_file
from libs.shared.contracts.base import IN_BACKGROUND, SERVICES, Principal

_PART_TIMEOUT_S = 30.0
_MIGRATION_TIMEOUT_S = 600.0
_ORPHAN_PATIENCE_S = 10.0
_EXTERNAL_PATIENCE_S = 10.0
"""After a power cut, another machine's database may come up later than this one."""
_CHECK_EVERY_S = 0.05
_READY_EVERY_S = 0.15
"""Asking makes every service look after itself: not so often that it slows their start on a small board."""
_LOOKS_PER_REPORT = 4
"""Of so many looks, one asks supervisord, too, whether a part can't stay up."""
_LOG_LINES = 12
_LOADING_PATIENCE_S = 8.0
"""From the services' start: what is still loading then is announced as such."""
_CRASHES_THAT_MEAN_BROKEN = 2
_START_SPACE_MIB = 16
_NEEDED = tuple(service.value for service in SERVICES if service not in IN_BACKGROUND)


@dataclass(frozen=True)
class Started:
    """A running installation, and whether it ran already."""

    installation: Installation
    readiness: Readiness
    already: bool


def start(
    installation: Installation,
    progress: Progress,
    *,
    environment: dict[str, str],
    http_port: int | None,
    timeout_s: float,
) -> Started:
    """Starts what isn't running and waits until the gateway is ready.

    Raises CommandError that names the part that failed, with its last words; whoever called stops what was started.
    """
    supervisor = supervisor_of(installation)
    already = supervisor.processes() is not None
    if already:
        _refuse_other_port(installation, http_port)
        if (said := readiness(installation.marker.ports.http)) is not None and said.ready:
            _start_background(supervisor)
            return Started(installation, said, already)
    else:
        installation = _prepare(installation, progress, environment, http_port)
    _start_parts(installation, supervisor, progress, environment)
    said = _wait_ready(installation, supervisor, progress, timeout_s)
    _start_background(supervisor)
    return Started(installation, said, already)


def _refuse_other_port(installation: Installation, http_port: int | None) -> None:
    if http_port not in (None, installation.marker.ports.http):
        raise CommandError(
            f"the installation is running on port {installation.marker.ports.http}", "stop it first: mongars down"
        )


def _prepare(
    installation: Installation, progress: Progress, environment: dict[str, str], http_port: int | None
) -> Installation:
    orphans.end(installation.marker.installation_id, patience_s=_ORPHAN_PATIENCE_S)
    creation.require_space(installation.folder.root, _START_SPACE_MIB)
    if installation.marker.database is None:
        creation.ensure_system_user(progress)
    installation = _settle_ports(installation, http_port)
    _settle_network(installation)
    node = broker.node_id(environment.get("MONGARS_NODE_ID"), socket.gethostname())
    say_who_is_kept_out(installation, node, progress)
    broker.write_configuration(installation, node)
    binaries = None if installation.marker.database else creation.database_binaries(current_owner())
    launch(installation, programs(installation, binaries, node), environment)
    return installation


def say_who_is_kept_out(installation: Installation, node: str, progress: Progress) -> None:
    """Of the machines that joined, where this one's inference is called ``node``."""
    from cli.joining import members

    try:
        known = members.read(installation.folder)
    except CommandError as error:
        progress.say(f"No machine that joined is let in: {error}; {error.remedy}")
        return
    if any(member.node_id == node for member in known):
        progress.say(
            f"A machine joined as {node}, as this one is called now: it is kept out. mongars nodes remove {node} lets "
            "it join anew under another name; or set MONGARS_NODE_ID to another one for this machine, and start again"
        )


def _settle_network(installation: Installation) -> None:
    """Raises CommandError when what listens for other machines would find its port taken, or its certificate ended."""
    lan = installation.marker.lan
    if lan is not None:
        ports.require_free(lan.port, "the gateway's TLS side", "name another: mongars up --lan --lan-port N")
        renew(installation.folder, lan)


def _settle_ports(installation: Installation, http_port: int | None) -> Installation:
    kept = installation.marker.ports
    if http_port is not None and http_port != kept.http:
        kept = kept.model_copy(update={"http": http_port})
    ports.require_free(kept.http, "the gateway", "stop what uses it, or name another: mongars up --port N")
    if not ports.is_free(kept.nats):  # nobody bookmarks the broker's port: another one does as well
        kept = kept.model_copy(update={"nats": ports.choose(ports.NATS_PREFERRED, taken=frozenset({kept.http}))})
    if kept == installation.marker.ports:
        return installation
    return write_marker(installation.folder, installation.marker.model_copy(update={"ports": kept}))


def _start_parts(
    installation: Installation, supervisor: Supervisor, progress: Progress, environment: dict[str, str]
) -> None:
    with progress.step("Starting the broker"):
        name = broker.server_name(installation)
        _start_and_wait(installation, supervisor, BROKER, lambda: broker_answers(installation.marker.ports.nats, name))
    if installation.marker.database is None:
        _start_database(installation, supervisor, progress)
    else:
        with progress.step("Looking at the database"):
            choice.look(installation, patience_s=_EXTERNAL_PATIENCE_S)
    with progress.step("Preparing streams and tables"):
        broker.ensure_streams(installation)
        supervisor.start(Principal.INFERENCE.value)  # it takes longest, and needs no tables
        migrate(installation, environment)
    entrance = (ENTRANCE,) if installation.marker.entrance is not None else ()
    others = (name for name in _NEEDED if name != Principal.INFERENCE.value)
    for name in (*others, CARETAKER, *entrance):
        supervisor.start(name)


def _start_background(supervisor: Supervisor) -> None:
    """What nobody waits for takes no processor from what is waited for. An older version's supervisor has none."""
    known = supervisor.processes() or {}
    for name in (service.value for service in SERVICES if service in IN_BACKGROUND):
        if name in known:
            supervisor.start(name)


def _start_database(installation: Installation, supervisor: Supervisor, progress: Progress) -> None:
    binaries = creation.database_binaries(current_owner())
    socket_folder = installation.reachable.database_socket
    with progress.step("Starting PostgreSQL"):
        _start_and_wait(installation, supervisor, DATABASE, lambda: database_answers(binaries, socket_folder))


def _start_and_wait(installation: Installation, supervisor: Supervisor, name: str, works: Callable[[], bool]) -> None:
    supervisor.start(name)
    deadline = time.monotonic() + _PART_TIMEOUT_S
    while not works():
        _refuse_broken(installation, supervisor, name)
        if time.monotonic() > deadline:
            raise _failed(installation, name, f"did not answer within {_PART_TIMEOUT_S:.0f} s")
        time.sleep(_CHECK_EVERY_S)


def migrate(installation: Installation, environment: dict[str, str]) -> None:
    """Brings the running database to this version's schema. Raises CommandError with its last words."""
    ran = subprocess.run(
        [sys.executable, "-m", "migrations", "upgrade"],
        cwd=code_root(),
        env={**environment, **service_environment(installation)},
        capture_output=True,
        text=True,
        timeout=_MIGRATION_TIMEOUT_S,
        check=False,
    )
    if ran.returncode != 0:
        said = _indented(ran.stderr.splitlines()[-_LOG_LINES:])
        raise CommandError(
            f"the database could not be migrated; its last words:\n{said}", _failure_remedy(installation)
        )


def _wait_ready(installation: Installation, supervisor: Supervisor, progress: Progress, timeout_s: float) -> Readiness:
    deadline = time.monotonic() + timeout_s
    settled = time.monotonic() + _LOADING_PATIENCE_S
    looks = itertools.count()
    with progress.step("Starting the services"):
        while True:
            said = readiness(installation.marker.ports.http)
            if said is not None and said.ready and not (said.loading and time.monotonic() < settled):
                if _is_ours(installation, supervisor):
                    return said
                said = None
            if next(looks) % _LOOKS_PER_REPORT == 0:
                _refuse_broken(installation, supervisor, *_NEEDED)
            if time.monotonic() > deadline:
                raise _late(installation, said, timeout_s)
            time.sleep(_READY_EVERY_S)


def _is_ours(installation: Installation, supervisor: Supervisor) -> bool:
    """Another installation that was started at the same moment may have been quicker to take the port."""
    gateway = (supervisor.processes() or {}).get(Principal.API.value)
    return gateway is not None and ports.listens(gateway.pid, installation.marker.ports.http)


def _refuse_broken(installation: Installation, supervisor: Supervisor, *names: str) -> None:
    """One crash may be an accident; a part that can't stay up will not get better by waiting."""
    processes = supervisor.processes()
    if processes is None:
        raise CommandError("the supervisor ended", f"see {installation.folder.logs / 'supervisor.log'}")
    for process in (processes[name] for name in names):
        if not process.alive and process.restarts >= _CRASHES_THAT_MEAN_BROKEN:
            raise _failed(installation, process.name, process.problem or "ends as soon as it is started")


def _late(installation: Installation, said: Readiness | None, timeout_s: float) -> CommandError:
    missing = said.missing if said else []
    name = next((name for name in _NEEDED if any(row.startswith(name) for row in missing)), "api")
    waiting = ", ".join(missing) or "the gateway does not answer"
    return _failed(installation, name, f"not ready after {timeout_s:.0f} s ({waiting})")


def _failed(installation: Installation, name: str, problem: str) -> CommandError:
    lines = _indented(last_lines(log_file(installation.folder.logs, name), _LOG_LINES))
    said = f"; its last words:\n{lines}" if lines else ""
    return CommandError(f"{name}: {problem}{said}", _failure_remedy(installation))


def _indented(lines: list[str]) -> str:
    return "\n".join(f"    {line}" for line in lines)


def _failure_remedy(installation: Installation) -> str:
    full = shutil.disk_usage(installation.folder.root).free < _START_SPACE_MIB * 2**20
    if full:
        return f"the disk of {installation.folder.root} is full: make room there, then run: mongars up"
    return f"the whole logs are in {installation.folder.logs}; when it is mended, run: mongars up"
