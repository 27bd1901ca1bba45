"""``mongars doctor``: what is wrong, what to do, and doing the safe part."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.errors import CommandError, Exit
from cli.installation import find
from cli.options import JsonOption, StateOption, answer, chosen_folder
from cli.settings import get_settings

if TYPE_CHECKING:
    from cli.doctor.findings import Finding
    from libs.shared.layout import StateFolder

FINDINGS = 1
_LOOKED_AT = (
    "looked at: disks, memory, limits, clock, heat, packages, training, settings, folder, permissions, keys, ports, "
    "supervisor, broker, database, services, duties, backups, certificate, models"
)


def doctor(
    state: StateOption = None,
    fix: Annotated[
        bool, typer.Option("--fix", metavar="", help="Do the safe part: permissions, leftovers, what was stopped.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Say what is wrong with the installation and what to do, whether it runs or not.

    It changes nothing without --fix, and never touches data, keys or models. Exit code 0: nothing is wrong;
    1: something is; 2: it could not look.
    """
    done: list[str] = []
    try:
        folder = chosen_folder(state)
        _refuse_a_node(folder)
        findings = _examined(folder)
        if fix and any(finding.fixable for finding in findings):
            done = _mended(folder, findings)
            findings = _examined(folder)
    except CommandError as error:
        raise CommandError(error.problem, error.remedy, code=Exit.USAGE) from None
    except OSError as error:
        problem = f"it could not look: {error.strerror or type(error).__name__}"
        raise CommandError(problem, "run it as the owner of the state folder", code=Exit.USAGE) from None
    if as_json:
        answer(described(folder, findings, done))
    else:
        _show(findings, done)
    if any(_counts(finding) for finding in findings):
        raise typer.Exit(FINDINGS)


def _refuse_a_node(folder: StateFolder) -> None:
    """Raises CommandError for a folder that is a node of an installation elsewhere: there is little to look at."""
    found = None
    with suppress(CommandError):  # what is wrong with a marker is for the examination to say
        found = find(folder)
    if found is not None and found.marker.joined is not None:
        raise CommandError(
            "this machine is a node of an installation on another one",
            "here: mongars status, mongars logs inference; there: mongars doctor",
        )


def _examined(folder: StateFolder) -> list[Finding]:
    from cli.doctor.examination import examine

    return examine(folder, get_settings().environment)


def _mended(folder: StateFolder, findings: list[Finding]) -> list[str]:
    from cli.doctor.mending import mend
    from cli.installation import find

    installation = find(folder)
    return mend(installation, findings) if installation else []


def _counts(finding: Finding) -> bool:
    from cli.doctor.findings import Severity

    return finding.severity is not Severity.NOTE


def described(folder: StateFolder, findings: list[Finding], done: list[str]) -> dict[str, Any]:
    """The answer of ``doctor --json``."""
    return {
        "state": str(folder.root),
        "healthy": not any(_counts(finding) for finding in findings),
        "findings": [
            {
                "code": finding.code,
                "severity": finding.severity.value,
                "subject": finding.subject,
                "what": finding.what,
                "remedy": finding.remedy,
                "fixable": finding.fixable,
            }
            for finding in findings
        ],
        "done": done,
    }


def _show(findings: list[Finding], done: list[str]) -> None:
    from rich.console import Console
    from rich.text import Text

    marks = {"error": ("✗", "red"), "warning": ("!", "yellow"), "note": ("·", "dim")}
    console = Console(highlight=False, soft_wrap=True)
    for text in done:
        console.print(Text.assemble(("✓ ", "green"), text))
    for finding in findings:
        mark, colour = marks[finding.severity.value]
        console.print(Text.assemble((f"{mark} ", colour), (finding.what, "bold"), (f"  [{finding.code}]", "dim")))
        console.print(Text.assemble(("  ", ""), finding.remedy))
    if not any(_counts(finding) for finding in findings):
        console.print(Text.assemble(("●", "green"), " nothing is wrong ", (f"({_LOOKED_AT})", "dim")))
