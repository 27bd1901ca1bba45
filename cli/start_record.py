"""How the last ``mongars up`` ended, kept for ``mongars doctor``: what stopped it may be gone from every log."""

from __future__ import annotations

from contextlib import suppress

from libs.shared.layout import StateFolder

_LONGEST = 4000


def keep(folder: StateFolder, failure: str) -> None:
    """``failure``: what the command said; empty when it went well. A folder that can't be written keeps nothing."""
    with suppress(OSError):
        path = folder.logs / "start.failure"
        if failure:
            path.write_text(failure[:_LONGEST])
        else:
            path.unlink(missing_ok=True)


def last_failure(folder: StateFolder) -> str:
    """Empty when the last start went well."""
    try:
        return (folder.logs / "start.failure").read_text(errors="replace")[:_LONGEST]
    except OSError:
        return ""
