"""The processes of one installation, in the order in which they start."""

from __future__ import annotations

import sys

from cli import broker
from cli.database.binaries import Binaries
from cli.database.external import service_url
from cli.database.owner import setpriv
from cli.installation import Installation
from cli.joining.protocol import TLS_NAME
from cli.supervision.orphans import MARK
from cli.supervision.programs import BROKER, CARETAKER, DATABASE, ENTRANCE, Program
from libs.shared.contracts.base import SERVICES, Principal
from libs.shared.hardware import recommended_worker_count

_SERVICE_STOP_S = 40
"""Twice the time in which inference drains itself and then its replicas, by default."""
_POSTGRES_STOP_S = 30
_BROKER_MIB = 64
"""For each of the broker's threads. On as many threads as cores it wakes the others for nothing: of a request at a time
it takes 20 to 40 % more processor time than on half of them."""


def programs(installation: Installation, binaries: Binaries | None, node: str) -> tuple[Program, ...]:
    """Broker, database (where there are ``binaries`` of the installation's own), services, caretaker, and the entrance
    where other machines were ever invited."""
    mark = {MARK: installation.marker.installation_id}
    tied = (setpriv(), "--pdeathsig", "TERM")  # what nobody supervises any more stops in good order
    environment = {**mark, **service_environment(installation)}
    seed = broker.inference_seed(installation.reachable, node)
    inference = {"MONGARS_NODE_ID": node, "MONGARS_NATS_SEED_FILE": str(seed)}
    here = {"MONGARS_NODE_ID": node}
    own = {Principal.INFERENCE: inference, Principal.TRAINER: here, Principal.OPTIMIZER: here}
    services = (
        Program(
            service.value,
            (*tied, sys.executable, "-m", f"services.{service.value}"),
            stop_wait_s=_SERVICE_STOP_S,
            environment=environment | own.get(service, {}),
        )
        for service in SERVICES
    )
    database = (_database(installation, binaries, mark),) if binaries else ()
    threads = {"GOMAXPROCS": str(max(1, recommended_worker_count(_BROKER_MIB) // 2))}
    messages = Program(BROKER, (*tied, *broker.command(installation.folder)), environment={**mark, **threads})
    caretaker = Program(
        CARETAKER, (*tied, sys.executable, "-m", "cli.caretaker", str(installation.reachable.root)), environment=mark
    )
    opened = (entrance(installation),) if installation.marker.entrance is not None else ()
    return (messages, *database, *services, caretaker, *opened)


def entrance(installation: Installation) -> Program:
    """Where joined machines come in."""
    return Program(
        ENTRANCE,
        (setpriv(), "--pdeathsig", "TERM", sys.executable, "-m", "cli.joining", str(installation.folder.root)),
        environment={MARK: installation.marker.installation_id},
    )


def node_programs(installation: Installation) -> tuple[Program, ...]:
    """Of a folder that is a node of an installation elsewhere: inference alone."""
    joined, reachable = installation.marker.joined, installation.reachable
    assert joined is not None
    environment = {
        MARK: installation.marker.installation_id,
        "MONGARS_STATE": str(reachable.root),
        "MONGARS_NODE_ID": joined.node_id,
        "MONGARS_NATS_URL": ",".join(f"tls://{address}" for address in joined.addresses),
        "MONGARS_NATS_SEED_FILE": str(broker.inference_seed(reachable, joined.node_id)),
        "MONGARS_NATS_CA_FILE": str(reachable.nodes_authority),
        "MONGARS_NATS_TLS_NAME": TLS_NAME,
    }
    name = Principal.INFERENCE.value
    command = (setpriv(), "--pdeathsig", "TERM", sys.executable, "-m", f"services.{name}")
    return (Program(name, command, stop_wait_s=_SERVICE_STOP_S, environment=environment),)


def _database(installation: Installation, binaries: Binaries, mark: dict[str, str]) -> Program:
    return Program(
        DATABASE,
        (
            *(sys.executable, "-m", "cli.database.launcher"),
            *(str(installation.folder.database), str(binaries.program("postgres"))),
        ),
        stop_signal="INT",  # SIGTERM would wait for every client
        stop_wait_s=_POSTGRES_STOP_S,
        environment=mark,
    )


def service_environment(installation: Installation) -> dict[str, str]:
    """What every service is told by ``up``; everything else comes from the shell, or from its defaults."""
    lan = installation.marker.lan
    network = {"MONGARS_LAN_HOST": lan.host, "MONGARS_LAN_PORT": str(lan.port)} if lan else {}
    return network | {
        "MONGARS_STATE": str(installation.reachable.root),
        "MONGARS_NATS_URL": installation.nats_url,
        "MONGARS_HTTP_PORT": str(installation.marker.ports.http),
        "MONGARS_DATABASE_URL": service_url(installation.database_url),
    }
