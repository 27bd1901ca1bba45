"""Judging the state folder: marker, permissions, keys, slot file, leftovers."""

from __future__ import annotations

from collections.abc import Iterator

from cli.doctor.facts import Facts, FileFact, Files
from cli.doctor.findings import Finding
from cli.upgrade.versions import numbers

_OTHERS = 0o077
_PASS_THROUGH = 0o011
"""PostgreSQL's user passes through the state folder to its own."""
_LOGS_MOST_BYTES = 512 * 2**20
_LOCK_LONG_S = 600.0
_MARKERS = {
    "absent": ("no-installation", "there is no installation in {root}"),
    "damaged": ("marker-damaged", "{root}/installation.json can't be read as an installation's marker"),
    "newer": ("state-newer", "{root} was written by monGARS {version}, which is newer"),
    "another's": ("state-of-another", "{root} belongs to another user"),
}


def judge(facts: Facts) -> Iterator[Finding]:
    """Everything about the folder; where the marker is not well nothing else is judged."""
    files = facts.files
    if files.marker in _MARKERS:
        yield _marker(files)
        return
    if numbers(files.marker_version) > numbers(facts.machine.version):
        what = f"monGARS {files.marker_version} started the installation last, and this is {facts.machine.version}"
        yield Finding("version-older", what)
    for fact in files.files:
        yield from _file(fact, files)
    yield from _slots(facts)
    for name in files.unknown_nkeys:
        yield Finding("nkey-unknown", f"the broker's configuration does not have the key in {name}", name)
    if files.broker_configuration:
        yield Finding("broker-configuration-broken", "the broker can't read run/nats.conf", "run/nats.conf")
    if files.logs_bytes > _LOGS_MOST_BYTES:
        yield Finding("logs-large", f"the logs take {files.logs_bytes // 2**20} MiB", "logs")
    if files.lock_held_s > _LOCK_LONG_S:
        minutes = int(files.lock_held_s // 60)
        yield Finding("lock-held", f"a command has held the installation's lock for {minutes} minutes", ".lock")


def _marker(files: Files) -> Finding:
    if files.marker == "absent" and files.unfinished:
        return Finding("creation-unfinished", f"the making of an installation in {files.root} was interrupted")
    code, what = _MARKERS[files.marker]
    return Finding(code, what.format(root=files.root, version=files.marker_version))


def _file(fact: FileFact, files: Files) -> Iterator[Finding]:
    if not fact.exists:
        yield from _missing(fact, files)
        return
    wanted = 0o700 if fact.folder else 0o600
    if fact.mode & wanted != wanted:
        yield Finding("permissions-closed", f"{_called(fact)} has the mode {fact.mode:04o}", fact.name)
    elif fact.mode & _OTHERS & ~_allowed(fact, files):
        what = f"{_called(fact)} has the mode {fact.mode:04o}: other users of this machine can use it"
        yield Finding("permissions-open", what, fact.name)
    if fact.valid is False:
        code = "nkey-damaged" if _is_nkey(fact) else "key-damaged"
        yield Finding(code, f"{fact.name} does not hold a key", fact.name)


def _called(fact: FileFact) -> str:
    return "the state folder" if fact.name == "." else fact.name


def _allowed(fact: FileFact, files: Files) -> int:
    return _PASS_THROUGH if fact.name == "." and files.closed_to_database else 0


def _missing(fact: FileFact, files: Files) -> Iterator[Finding]:
    if fact.folder:
        yield Finding("folder-missing", f"the folder {fact.name} is missing", fact.name)
    elif _is_nkey(fact):
        if files.has_run:
            yield Finding("nkey-missing", f"{fact.name} is missing", fact.name)
    elif fact.name.startswith("keys/"):
        yield Finding("key-missing", f"{fact.name} is missing", fact.name)


def _is_nkey(fact: FileFact) -> bool:
    return fact.name.endswith(".nk")


def _slots(facts: Facts) -> Iterator[Finding]:
    files, database = facts.files, facts.database
    name = "slots/data-keys.slots"
    slots = {fact.name: fact for fact in files.files}.get(name)
    if files.slots == "damaged" or (database is not None and any(n >= _count(slots) for n in database.user_slots)):
        yield Finding("slots-damaged", f"{name} is not whole", name)
    elif files.slots == "missing" and files.has_run:
        yield Finding("slots-missing", f"{name} is missing", name)
    elif files.keys_open is False:
        yield Finding("keys-dont-fit", "keys/installation.key opens no user's key", "keys/installation.key")


def _count(slots: FileFact | None) -> float:
    header, slot = 4096, 128
    return (slots.size - header) // slot if slots is not None and slots.exists else float("inf")
