"""Looking at the machine: memory, limits, clock, board, and what is installed."""

from __future__ import annotations

import re
import resource
import sys
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from cli import broker
from cli.database.owner import setpriv
from cli.doctor.facts import Machine
from cli.doctor.looking.disks import disks, existing
from cli.errors import CommandError
from cli.version import product_version
from libs.shared.hardware import Sensors, read_board
from libs.shared.hardware.boards import ROOT
from libs.shared.layout import StateFolder
from libs.shared.training_libraries import missing_libraries

_NEEDED_EXTRAS = frozenset({"api", "cognition", "scheduler", "persistence", "inference", "cli"})
_REQUIREMENT = re.compile(r"^([A-Za-z0-9._-]+)[^;]*(?:;\s*(.*))?$")
_EXTRA = re.compile(r"""extra\s*==\s*['"]([\w-]+)['"]""")
_MIB = 1 << 20


def look(folder: StateFolder, *, root: Path = ROOT) -> Machine:
    """This machine now; ``root`` is where a recorded machine's files lie."""
    at = existing(folder.root)
    sample = Sensors(at, root=root).sample()
    return Machine(
        now_s=time.time(),
        python=(sys.version_info.major, sys.version_info.minor),
        version=product_version(),
        disks=tuple(disks(folder)),
        memory_total_mib=sample.memory.total_mib,
        memory_available_mib=sample.memory.available_mib,
        address_space_mib=_limit(resource.RLIMIT_AS, _MIB),
        open_files=_open_files(),
        temperature_c=sample.temperature_c,
        throttled=sample.throttled,
        board=read_board(root).name,
        packages_missing=tuple(_packages_missing()),
        programs_missing=tuple(_programs_missing(folder)),
        training_missing=missing_libraries(),
    )


def _limit(kind: int, unit: int) -> float | None:
    soft, _ = resource.getrlimit(kind)
    return None if soft == resource.RLIM_INFINITY else soft / unit


def _open_files() -> int | None:
    found = _limit(resource.RLIMIT_NOFILE, 1)
    return None if found is None else int(found)


def _packages_missing() -> Iterator[str]:
    try:
        needed = requires("mongars") or []
    except PackageNotFoundError:
        return
    for requirement in needed:
        match = _REQUIREMENT.match(requirement)
        if match is None or not _applies(match[2] or ""):
            continue
        name = match[1].partition("[")[0]
        try:
            version(name)
        except PackageNotFoundError:
            yield name


def _applies(marker: str) -> bool:
    extra = _EXTRA.search(marker)
    if extra is not None:
        return extra[1] in _NEEDED_EXTRAS
    return "platform_system" not in marker or sys.platform == "linux"


def _programs_missing(folder: StateFolder) -> Iterator[str]:
    for name, look_for in (("nats-server", lambda: broker.command(folder)), ("setpriv", setpriv)):
        try:
            look_for()
        except CommandError:
            yield name
