"""An examination: look at everything, judge it, and put the findings in order."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from cli.doctor.checks import database as database_checks
from cli.doctor.checks import files as file_checks
from cli.doctor.checks import machine as machine_checks
from cli.doctor.checks import models as model_checks
from cli.doctor.checks import parts as part_checks
from cli.doctor.facts import Facts, Machine
from cli.doctor.findings import Finding, Severity
from cli.doctor.looking import database, files, machine, parts, services
from cli.errors import CommandError
from cli.installation import Installation, find
from cli.settings import machine_root
from libs.shared.layout import StateFolder

EVERYTHING = ("settings", "models", "slots")
_ORDER = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.NOTE: 2}


def gather(folder: StateFolder, environment: Mapping[str, str], *, inspected: Collection[str] = EVERYTHING) -> Facts:
    """Everything that can be seen. ``inspected``: what the services' own code looks at, which takes a second."""
    installation = _installation(folder)
    with ThreadPoolExecutor(max_workers=2) as threads:
        of_machine = threads.submit(machine.look, folder, root=machine_root(environment))
        if installation is None:
            looked = services.look(folder, environment, [what for what in inspected if what == "settings"])
            return Facts(of_machine.result(), files.look(folder, looked), looked.settings)
        facts = _of_installation(installation, environment, inspected)
        return replace(facts, machine=of_machine.result())


def _of_installation(installation: Installation, environment: Mapping[str, str], inspected: Collection[str]) -> Facts:
    running = parts.look(installation)
    answers = running.supervisor == "answers" and "database" in running.processes
    connect = installation.marker.database is not None or (answers and running.processes["database"].alive)
    kept = database.look(installation, connect=connect)
    looked = services.look(installation.folder, environment, inspected, kept.user_slots)
    return Facts(
        machine=_UNSEEN,
        files=files.look(installation.folder, looked),
        settings=looked.settings,
        parts=running,
        database=kept,
        models=looked.models,
    )


def _installation(folder: StateFolder) -> Installation | None:
    try:
        return find(folder)
    except CommandError:
        return None  # the facts about the marker say why


_UNSEEN = Machine(now_s=0.0, python=(0, 0), version="")


def judge(facts: Facts) -> list[Finding]:
    """Every finding, the worst first; pure."""
    found = [
        *machine_checks.judge(facts),
        *file_checks.judge(facts),
        *database_checks.judge(facts),
        *model_checks.judge(facts),
    ]
    found += part_checks.judge(facts, found)
    return sorted(found, key=lambda finding: _ORDER[finding.severity])


def examine(
    folder: StateFolder, environment: Mapping[str, str], *, inspected: Collection[str] = EVERYTHING
) -> list[Finding]:
    """What is wrong now."""
    return judge(gather(folder, environment, inspected=inspected))
