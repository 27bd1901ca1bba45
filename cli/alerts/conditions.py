"""What of the facts is worth an alert: pure. What is raised already is kept until it is clearly over."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from cli.alerts.deciding import Condition

_MIB = 2**20
DISK_FREE_MIB = 512.0
DISK_SHARE = 0.05
DISK_MOST_MIB = 5120.0
"""Five per cent of a large disk is room for months."""
_CLEARLY = 1.2
HOT_C = 85.0
_COOL_C = 78.0
CRASHES = 3
CERTIFICATE_DAYS = 14.0
OVERDUE_DAYS = 2.0


@dataclass(frozen=True)
class NodeFact:
    """A node as the scheduler sees it."""

    node_id: str
    silent: bool
    temperature_c: float | None = None
    throttled: bool | None = None


@dataclass(frozen=True)
class DiskFact:
    """A disk that the installation writes to. ``part``: what alone lies on it; empty: the state folder."""

    part: str
    free_mib: float
    total_mib: float


@dataclass(frozen=True)
class Facts:
    """What one look saw; a part that could not be seen is empty, and resolves nothing by it."""

    disks: tuple[DiskFact, ...] = ()
    nodes: tuple[NodeFact, ...] | None = None
    restarts: Mapping[str, int] = field(default_factory=dict)
    """By service, since the look before."""
    down: tuple[str, ...] = ()
    """Services that do not run."""
    failed_duties: Mapping[str, str] = field(default_factory=dict)
    certificate_days: float | None = None
    backup_failed: str = ""
    backup_overdue_days: float | None = None


def conditions(facts: Facts, raised: Collection[str]) -> dict[str, Condition]:
    """By key. ``raised``: what was alerted of and is not over."""
    found = [
        *_disk(facts, raised),
        *_nodes(facts, raised),
        *_services(facts),
        *_duties(facts),
        *_backups(facts),
        *_certificate(facts),
    ]
    if facts.nodes is None:  # nobody could be asked: what was is taken to be still so
        found += [Condition(key, "", "") for key in raised if key.startswith(("node:", "heat:"))]
    return {condition.key: condition for condition in found}


def _disk(facts: Facts, raised: Collection[str]) -> Iterator[Condition]:
    for disk in facts.disks:
        key = f"disk:{disk.part}" if disk.part else "disk"
        least = max(DISK_FREE_MIB, min(disk.total_mib * DISK_SHARE, DISK_MOST_MIB))
        if key in raised:
            least *= _CLEARLY
        if disk.free_mib < least:
            of = f"the disk of the state folder's {disk.part}" if disk.part else "the disk of the state folder"
            text = f"{disk.free_mib:.0f} MiB are free on {of}. Make room there."
            yield Condition(key, "The disk is nearly full", text, urgent=True)


def _nodes(facts: Facts, raised: Collection[str]) -> Iterator[Condition]:
    for node in facts.nodes or ():
        if node.silent:
            text = f"The node {node.node_id} is silent. Is it switched on, and does its service run?"
            yield Condition(f"node:{node.node_id}", f"Node {node.node_id} is lost", text, urgent=True)
            continue
        key = f"heat:{node.node_id}"
        limit = _COOL_C if key in raised else HOT_C
        hot = node.temperature_c is not None and node.temperature_c >= limit
        if hot or node.throttled:
            how = f"is at {node.temperature_c:.0f} °C" if hot and node.temperature_c is not None else "is held back"
            text = f"The processor of {node.node_id} {how}. Cool it, and see to its power supply."
            yield Condition(key, f"Node {node.node_id} is too hot or short of power", text)


def _services(facts: Facts) -> Iterator[Condition]:
    for name in sorted({*facts.down, *(name for name, count in facts.restarts.items() if count >= CRASHES)}):
        text = f"{name} ends again and again, or does not run. See: mongars doctor"
        yield Condition(f"service:{name}", f"The service {name} does not stay up", text, urgent=True)


def _duties(facts: Facts) -> Iterator[Condition]:
    """Without its own words, which may name somebody's folder."""
    for name in sorted(facts.failed_duties):
        if name != "backup":
            yield Condition(f"duty:{name}", f"The duty {name} failed", "What stopped it: mongars doctor")


def _backups(facts: Facts) -> Iterator[Condition]:
    failed = facts.backup_failed or facts.failed_duties.get("backup", "")
    if failed:
        yield Condition("backup", "The backup failed", "What stopped it: mongars doctor", urgent=True)
    elif facts.backup_overdue_days is not None and facts.backup_overdue_days > OVERDUE_DAYS:
        text = f"The last backup that went well is {facts.backup_overdue_days:.0f} days old. See: mongars doctor"
        yield Condition("backup", "The backup is overdue", text, urgent=True)


def _certificate(facts: Facts) -> Iterator[Condition]:
    days = facts.certificate_days
    if days is not None and days < CERTIFICATE_DAYS:
        when = "has expired" if days < 0 else f"expires in {days:.0f} days"
        yield Condition("certificate", "The certificate is about to expire", f"The gateway's certificate {when}.")
