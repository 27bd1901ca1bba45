"""Judging the machine: disks, memory, limits, clock, heat, what is installed, the environment."""

from __future__ import annotations

from collections.abc import Iterator

from cli.doctor.facts import Disk, Facts, Machine
from cli.doctor.findings import Finding

FULL_BYTES = 64 * 2**20
NEARLY_BYTES = 512 * 2**20
_NEARLY_SHARE = 0.05
_NEARLY_MOST_BYTES = 5 * 2**30
"""Five per cent of a large disk is still room for months."""
_LEAST_INODES = 100
_LEAST_MEMORY_MIB = 200.0
_LEAST_ADDRESSES_MIB = 4096.0
_LEAST_FILES = 512
HOT_C = 85.0
_FUTURE_S = 300.0
_AHEAD_S = 3600.0
_PYTHONS = ((3, 11), (3, 12))


def judge(facts: Facts) -> Iterator[Finding]:
    """Everything that is of the machine rather than of the installation."""
    machine = facts.machine
    for disk in machine.disks:
        yield from _disk(disk)
    yield from _memory(machine)
    yield from _clock(facts)
    yield from _heat(machine)
    yield from _installed(machine)
    yield from _settings(facts)


def _disk(disk: Disk) -> Iterator[Finding]:
    free_mib = disk.free_bytes // 2**20
    if disk.read_only:
        yield Finding("read-only", f"the file system of {disk.path} is read-only", disk.path)
    elif disk.free_bytes < FULL_BYTES:
        yield Finding("disk-full", f"the disk of {disk.path} has {free_mib} MiB free", disk.path)
    elif nearly_full(disk.free_bytes, disk.total_bytes):
        yield Finding("disk-nearly-full", f"the disk of {disk.path} has {free_mib} MiB free", disk.path)
    elif disk.free_inodes is not None and disk.free_inodes < _LEAST_INODES:
        yield Finding("inodes-gone", f"the disk of {disk.path} has room for {disk.free_inodes} more files", disk.path)


def nearly_full(free_bytes: int, total_bytes: int) -> bool:
    """Whether somebody should make room."""
    return free_bytes < max(NEARLY_BYTES, min(total_bytes * _NEARLY_SHARE, _NEARLY_MOST_BYTES))


def _memory(machine: Machine) -> Iterator[Finding]:
    if machine.memory_available_mib < _LEAST_MEMORY_MIB:
        left, total = machine.memory_available_mib, machine.memory_total_mib
        yield Finding("memory-low", f"{left:.0f} MiB of {total:.0f} MiB of memory are available")
    if machine.address_space_mib is not None and machine.address_space_mib < _LEAST_ADDRESSES_MIB:
        yield Finding("memory-limited", f"a process may use {machine.address_space_mib:.0f} MiB of addresses")
    if machine.open_files is not None and machine.open_files < _LEAST_FILES:
        yield Finding("files-limited", f"a process may have {machine.open_files} files open")


def _clock(facts: Facts) -> Iterator[Finding]:
    now = facts.machine.now_s
    newest = max((fact.modified_s for fact in facts.files.files if fact.exists), default=0.0)
    turns = [at for row in _duties(facts) if isinstance(at := row.get("at"), int | float)]
    newest = max([newest, *turns])
    if newest > now + _FUTURE_S:
        hours = (newest - now) / 3600
        yield Finding("clock-behind", f"files of the installation are of a time {hours:.1f} hours from now")
    elif turns and _caretaker_runs(facts) and now - max(turns) > _AHEAD_S:
        hours = (now - max(turns)) / 3600
        yield Finding("clock-ahead", f"what happens every minute was last done {hours:.1f} hours ago")


def _duties(facts: Facts) -> list[dict[str, object]]:
    return [dict(row) for row in facts.parts.duties.values()] if facts.parts else []


def _caretaker_runs(facts: Facts) -> bool:
    """For long enough that it has been round."""
    return facts.parts is not None and facts.parts.up_s.get("caretaker", 0.0) > 2 * 60


def _heat(machine: Machine) -> Iterator[Finding]:
    if machine.temperature_c is not None and machine.temperature_c >= HOT_C:
        yield Finding("overheated", f"the processor is at {machine.temperature_c:.0f} °C")
    if machine.throttled:
        yield Finding("throttled", f"the processor of {machine.board or 'this machine'} is held back")


def _installed(machine: Machine) -> Iterator[Finding]:
    if machine.python not in _PYTHONS:
        yield Finding("python-unfit", f"this is Python {'.'.join(map(str, machine.python))}")
    for name in machine.packages_missing:
        yield Finding("package-missing", f"the package {name} is not installed", name)
    for name in machine.programs_missing:
        yield Finding("program-missing", f"the program {name} is not installed", name)
    if machine.training_missing:
        names = ", ".join(machine.training_missing)
        yield Finding("training-not-installed", f"nothing can be trained here without {names}")


def _settings(facts: Facts) -> Iterator[Finding]:
    if facts.settings is None:
        return
    for name in facts.settings.unknown:
        yield Finding("setting-unknown", f"no service reads {name}", name)
    for problem in facts.settings.problems:
        yield Finding("setting-malformed", f"{problem.variable}: {problem.reason}", problem.variable)
