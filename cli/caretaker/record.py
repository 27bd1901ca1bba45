"""``caretaker.json``: how each duty last went, for ``mongars status``; losing it loses nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from libs.shared.layout import StateFolder

if TYPE_CHECKING:
    from cli.caretaker.duties import Turn  # whose asyncio would slow down every status

_LARGEST_BYTES = 64 * 1024


def write(folder: StateFolder, turns: Mapping[str, Turn]) -> None:
    """Replaces the file. Raises OSError."""
    rows = {
        name: {"at": turn.at_s, "took_s": round(turn.took_s, 3), "ok": turn.ok, "detail": turn.detail}
        for name, turn in sorted(turns.items())
    }
    aside = folder.caretaker.with_name(folder.caretaker.name + ".new")
    aside.write_text(json.dumps({"duties": rows}, indent=1) + "\n")
    aside.replace(folder.caretaker)


def read(folder: StateFolder) -> dict[str, dict[str, Any]]:
    """By duty: ``at`` (seconds since 1970), ``took_s``, ``ok``, ``detail``; empty where there is nothing readable."""
    try:
        with folder.caretaker.open("rb") as file:
            rows = json.loads(file.read(_LARGEST_BYTES))["duties"]
        return {str(name): dict(row) for name, row in rows.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}
