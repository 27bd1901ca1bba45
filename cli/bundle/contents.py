"""Gathering what goes into a bundle: every text is cleaned before it leaves this module."""

from __future__ import annotations

import asyncio
import getpass
import json
import platform
import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from cli.bundle.logs import cleaned
from cli.bundle.pseudonyms import Pseudonyms
from cli.commands.observe import described
from cli.doctor.examination import gather, judge
from cli.doctor.facts import Facts
from cli.errors import CommandError
from cli.installation import Installation, find
from cli.logs import last_lines
from cli.probes import readiness
from cli.supervision.place import as_meant, supervisor_of
from cli.version import product_version
from libs.shared.layout import StateFolder

_LOG_LINES = 500
_METRICS_MOST_LINES = 5000
_PLAIN_VALUES = frozenset({"auto", "ray", "inline", "none", "off", "on", "true", "false"})
_LEVELS = frozenset({"DEBUG", "INFO", "WARNING", "ERROR"})


def gathered(folder: StateFolder, environment: Mapping[str, str]) -> dict[str, str]:
    """File name → text."""
    installation = _found(folder)
    names, metrics = _asked(installation)
    pseudonyms = Pseudonyms({*names, *_here()})
    facts = gather(folder, environment)
    clean = _Cleaner(folder, pseudonyms)
    texts = {
        "doctor.json": clean.json([_finding(finding) for finding in judge(facts)]),
        "versions.json": clean.json(_versions()),
        "settings.json": clean.json(dict(_settings(environment))),
        "machine.json": clean.json(_machine(facts)),
    }
    if installation is not None:
        texts["status.json"] = clean.json(_status(installation))
        texts |= {f"logs/{path.name}": text for path, text in _logs(installation.folder, clean)}
    if metrics:
        texts["metrics.txt"] = clean.lines(metrics.splitlines()[:_METRICS_MOST_LINES])
    return texts


class _Cleaner:
    """Takes the place of the state folder out, which may name somebody, then what ``pseudonyms`` knows."""

    def __init__(self, folder: StateFolder, pseudonyms: Pseudonyms) -> None:
        self._root = str(folder.root)
        self.pseudonyms = pseudonyms

    def json(self, value: Any) -> str:
        """A tree whose strings are the product's own words, cleaned as text."""
        return json.dumps(self._walked(value), indent=1, default=str) + "\n"

    def _walked(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.text(str(name)): self._walked(item) for name, item in value.items()}
        return [self._walked(item) for item in value] if isinstance(value, list | tuple) else value

    def lines(self, lines: list[str]) -> str:
        return "".join(f"{self.text(line)}\n" for line in lines)

    def text(self, text: str) -> str:
        return self.pseudonyms.text(self.placed(text))

    def placed(self, text: str) -> str:
        return text.replace(self._root, "STATE")


def _found(folder: StateFolder) -> Installation | None:
    try:
        return find(folder)
    except CommandError:
        return None


def _here() -> Iterator[str]:
    """Who and what this machine is called."""
    yield socket.gethostname()
    with suppress(KeyError, OSError):
        if (user := getpass.getuser()) != "root":
            yield user


def _asked(installation: Installation | None) -> tuple[list[str], str]:
    """The accounts' names, to take them out, and every service's metrics; nothing where nobody answers."""
    if installation is None:
        return [], ""
    try:
        return asyncio.run(_ask(installation))
    except CommandError:
        return [], ""


async def _ask(installation: Installation) -> tuple[list[str], str]:
    from cli import accounts
    from cli.bus import as_command
    from libs.shared.contracts.base import SERVICES, Empty
    from libs.shared.contracts.telemetry import METRICS
    from libs.shared.errors import ServiceError

    names: list[str] = []
    texts = []
    async with as_command(installation) as bus:
        with suppress(ServiceError):
            names = [user.name for user in await accounts.all_users(bus)]
        for service in SERVICES:
            with suppress(ServiceError):
                texts.append(f"# {service.value}\n{(await bus.request(METRICS[service], Empty())).text}")
    return names, "\n".join(texts)


def _finding(finding: Any) -> dict[str, str]:
    return {
        "code": finding.code,
        "severity": finding.severity.value,
        "subject": finding.subject,
        "what": finding.what,
        "remedy": finding.remedy,
    }


def _versions() -> dict[str, Any]:
    packages = {found.metadata["Name"]: found.version for found in distributions()}
    return {
        "mongars": product_version(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "packages": dict(sorted(packages.items())),
    }


def _settings(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Names of what is set; values only where they can't tell of anybody."""
    for name, value in sorted(environment.items()):
        if name.startswith("MONGARS_"):
            plain = value.isdigit() or value.lower() in _PLAIN_VALUES or value in _LEVELS
            yield name, value if plain else f"<set: {len(value)} characters>"


def _machine(facts: Facts) -> dict[str, Any]:
    machine = asdict(facts.machine)
    return {name: value for name, value in machine.items() if name != "now_s"}


def _status(installation: Installation) -> dict[str, Any]:
    try:
        processes = supervisor_of(installation).processes()
    except CommandError:
        processes = None
    said = readiness(installation.marker.ports.http) if processes else None
    found = described(installation, as_meant(installation, processes) if processes else None, said)
    return {name: value for name, value in found.items() if name not in ("database", "nats")}


def _logs(folder: StateFolder, clean: _Cleaner) -> Iterator[tuple[Path, str]]:
    for path in sorted(folder.logs.glob("*.log")):
        with suppress(OSError):
            lines = cleaned(path.stem, map(clean.placed, last_lines(path, _LOG_LINES)), clean.pseudonyms)
            yield path, "".join(f"{line}\n" for line in lines)
