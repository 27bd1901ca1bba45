"""Asking the services' own inspection, a process of its own, about what only they understand."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import cli.settings
from cli.doctor.facts import Models, SettingProblem, Settings
from cli.supervision.orphans import MARK
from cli.supervision.place import code_root
from libs.shared.layout import StateFolder

_TIMEOUT_S = 60.0
_PREFIX = "MONGARS_"
_OURS = re.compile(r"\bMONGARS_[A-Z_]*[A-Z]")


@dataclass(frozen=True)
class Looked:
    """What the inspection said; None: it could not be asked."""

    settings: Settings | None = None
    models: Models | None = None
    slots: str = "unknown"
    slot_count: int = 0
    keys_open: bool | None = None
    asked: Collection[str] = field(default_factory=tuple)


def look(
    folder: StateFolder, environment: Mapping[str, str], what: Collection[str], user_slots: Collection[int] = ()
) -> Looked:
    """``what``: some of ``settings``, ``models``, ``slots``."""
    if not what:
        return Looked()
    try:
        ran = subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-m", "services.inspection", str(folder.root), *sorted(what)],
            cwd=code_root(),
            env=dict(environment),
            input=json.dumps(list(user_slots)),
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        said = json.loads(ran.stdout)
    except (subprocess.TimeoutExpired, ValueError, OSError):
        return Looked(asked=tuple(what))
    slots = said.get("slots", {})
    return Looked(
        settings=_settings(said.get("settings"), environment),
        models=_models(said.get("models")),
        slots=slots.get("file", "unknown"),
        slot_count=slots.get("size", 0),
        keys_open=slots.get("opens"),
        asked=tuple(what),
    )


def own_variables() -> frozenset[str]:
    """What the command itself reads, which is what its settings name, and the mark of its processes."""
    return frozenset(_OURS.findall(Path(cli.settings.__file__).read_text())) | {MARK}


def _settings(said: dict[str, list[object]] | None, environment: Mapping[str, str]) -> Settings | None:
    if said is None:
        return None
    ours = {name for name in environment if name.upper().startswith(_PREFIX)}
    known = {str(name) for name in said["known"]} | own_variables()
    problems = {
        (str(p["variable"]), str(p["reason"])): str(p["service"]) for p in said["problems"] if isinstance(p, dict)
    }
    return Settings(
        unknown=tuple(sorted(name for name in ours if name.upper() not in known)),
        problems=tuple(SettingProblem(service, *key) for key, service in sorted(problems.items())),
    )


def _models(said: dict[str, object] | None) -> Models | None:
    if said is None:
        return None
    rows = said["broken"]
    assert isinstance(rows, list)
    return Models({str(row["name"]): str(row["reason"]) for row in rows}, str(said["embedder"]))
