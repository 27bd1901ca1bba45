"""Judging what runs: the cause is named, and what only follows from it is not."""

from __future__ import annotations

from collections.abc import Iterator

from cli.doctor.facts import Facts, Parts
from cli.doctor.findings import Finding
from cli.doctor.looking.backups import Backups
from cli.supervision.client import CLOSED, Process
from cli.supervision.programs import BROKER, CARETAKER, DATABASE

YOUNG_S = 15.0
_OFTEN = 3
_EXPIRES_SOON_DAYS = 14.0
OVERDUE_DAYS = 2.0
"""A daily backup that was missed twice."""
_SILENT = "does not answer"
_NAMED_ELSEWHERE = frozenset(
    {"schema-newer", "schema-older", "slots-damaged", "slots-missing", "key-missing", "key-damaged", "keys-dont-fit"}
    | {"setting-malformed", "nkey-missing", "nkey-damaged", "nkey-unknown", "package-missing", "embedder-changed"}
)


def judge(facts: Facts, found: list[Finding]) -> Iterator[Finding]:
    """``found``: what the other checks say, so that a service that ends because of it isn't named too."""
    parts = facts.parts
    if parts is None:
        return
    if parts.supervisor == "away":
        yield from _stopped(parts)
    elif parts.supervisor == "silent":
        yield Finding("supervisor-silent", "the supervisor runs and does not answer")
    else:
        yield from _running(facts, parts, bool({finding.code for finding in found} & _NAMED_ELSEWHERE))
    yield from _duties(parts)
    yield from _backups(parts.backups)
    yield from _certificate(parts)


def _stopped(parts: Parts) -> Iterator[Finding]:
    if parts.stale_pid:
        yield Finding("stale-pid", "run/supervisor.pid names a process that is not there", "run/supervisor.pid")
    if parts.stale_socket:
        yield Finding("stale-socket", "nobody listens at run/supervisor.sock", "run/supervisor.sock")
    if parts.orphans:
        yield Finding("orphans", f"{len(parts.orphans)} processes of the installation have no supervisor")
    else:
        yield from _port(parts)


def _port(parts: Parts) -> Iterator[Finding]:
    if parts.port_taken_by:
        port, _, holder = parts.port_taken_by.partition(", ")
        yield Finding("port-taken", f"port {port}, which the gateway needs, is taken by {holder}", port)


def _running(facts: Facts, parts: Parts, explained: bool) -> Iterator[Finding]:
    yield from _port(parts)
    explained = explained or bool(parts.port_taken_by)
    broken = False
    for name, silent in ((BROKER, not parts.broker_answers), (DATABASE, _database_silent(facts, parts))):
        process = parts.processes.get(name)
        if process is None:
            continue
        if not process.alive:
            broken = True
            yield Finding(f"{name}-stopped", f"the {name} is {process.state}", name)
        elif silent and _old(parts, name):
            broken = True
            yield Finding(f"{name}-silent", f"the {name} runs and does not answer", name)
    for process in parts.processes.values():
        if process.name not in (BROKER, DATABASE):
            yield from _service(parts, process, broken, explained)


def _service(parts: Parts, process: Process, broken: bool, explained: bool) -> Iterator[Finding]:
    """A service without its broker or database is said only where somebody stopped it."""
    name = process.name
    if process.state == CLOSED:
        return
    if process.state in ("stopped", "fatal", "exited") and not process.alive:
        yield Finding("service-stopped", f"{name} is {process.state}", name)
    elif broken:
        return
    elif process.restarts >= _OFTEN and not _settled(parts, process):
        if not explained:
            last = parts.failures.get(name, "")
            because = f"; it last ended with {last}" if last else ""
            what = f"{name} was started again {process.restarts} times{because}"
            yield Finding("service-crashing", what, name, f"see: mongars logs {name}")
    elif name == "api":
        if parts.readiness is None and not parts.port_taken_by and _old(parts, name):
            yield Finding("gateway-silent", "the gateway runs and does not answer", name)
    elif name != CARETAKER and _old(parts, name) and _said_silent(parts, name):
        yield Finding("service-silent", f"{name} runs and does not answer", name, f"see: mongars logs {name}")


def _settled(parts: Parts, process: Process) -> bool:
    return process.state == "running" and _old(parts, process.name)


def _old(parts: Parts, name: str) -> bool:
    """Old enough to be expected to answer."""
    return parts.up_s.get(name, 0.0) > YOUNG_S


def _said_silent(parts: Parts, name: str) -> bool:
    row = parts.readiness.dependencies.get(name) if parts.readiness else None
    return isinstance(row, dict) and not row.get("ok") and row.get("detail") == _SILENT


def _database_silent(facts: Facts, parts: Parts) -> bool:
    """Persistence tells; where it doesn't answer itself, nothing is known of the database."""
    if facts.database is not None and facts.database.reached == "yes":
        return False  # it answered us: what persistence has against it is said otherwise
    if parts.readiness is None or _said_silent(parts, "persistence"):
        return False
    row = parts.readiness.dependencies.get("database")
    return isinstance(row, dict) and not row.get("ok")


def _backups(backups: Backups) -> Iterator[Finding]:
    if backups.failed:
        yield Finding("backup-failed", f"the last backup failed: {backups.failed}")
    elif backups.overdue_days is not None and backups.overdue_days > OVERDUE_DAYS:
        yield Finding("backup-overdue", f"the last backup that went well is {backups.overdue_days:.0f} days old")


def _duties(parts: Parts) -> Iterator[Finding]:
    for name, row in parts.duties.items():
        if not row.get("ok") and not (name == "backup" and parts.backups.failed):
            yield Finding("duty-failed", f"the duty {name} failed: {row.get('detail', '')}", str(name))


def _certificate(parts: Parts) -> Iterator[Finding]:
    days = parts.certificate_days
    if days is not None and days < 0:
        yield Finding("certificate-expired", f"the gateway's certificate expired {-days:.0f} days ago")
    elif days is not None and days < _EXPIRES_SOON_DAYS:
        yield Finding("certificate-expiring", f"the gateway's certificate expires in {days:.0f} days")
