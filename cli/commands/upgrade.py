"""``mongars upgrade``: to the version that is installed now, or back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.installation import Installation
from cli.interrupting import signals_interrupt
from cli.lock import exclusively
from cli.options import JsonOption, StateOption, answer, chosen_installation, line
from cli.progress import Progress
from cli.settings import get_settings


def upgrade(
    state: StateOption = None,
    old_binaries: Annotated[
        Path | None,
        typer.Option(
            "--old-binaries",
            metavar="DIR",
            help="The folder with bin and lib of the older major version of PostgreSQL that wrote the data.",
        ),
    ] = None,
    backed_up: Annotated[
        bool,
        typer.Option(
            "--database-is-backed-up",
            metavar="",
            help="Upgrade an installation whose database is another server's: that can't be put back from here.",
        ),
    ] = False,
    timeout: Annotated[
        float, typer.Option("--timeout", metavar="SECONDS", min=1, help="Longest wait for readiness.")
    ] = 90.0,
    as_json: JsonOption = False,
) -> None:
    """Bring the installation to the version that is installed now: stop, copy, migrate, start, wait until it is ready.

    When anything on the way fails, or the upgrade is interrupted, everything is as it was before. What was stopped is
    stopped again at the end. After git pull and make install this is all there is to do.
    """
    installation = chosen_installation(state)
    progress = Progress(quiet=as_json)
    before = installation.marker.product_version
    with signals_interrupt(), exclusively(installation.folder):
        upgraded, ran = _upgrade(installation, progress, old_binaries, backed_up, timeout)
    now = upgraded.marker.product_version if upgraded else before
    if as_json:
        answer({"upgraded": upgraded is not None, "from": before, "to": now, "running": ran})
    elif upgraded is None:
        line(f"Nothing to do: the installation is of version {now}.")
    else:
        line(f"Upgraded from version {before} to {now}; {'it is running' if ran else 'start it with: mongars up'}.")


def _upgrade(
    installation: Installation, progress: Progress, old_binaries: Path | None, backed_up: bool, timeout_s: float
) -> tuple[Installation | None, bool]:
    """What came of it (None: there was nothing to do), and whether it runs now."""
    from cli.start import Started, start
    from cli.stop import stop
    from cli.supervision.place import supervisor_of
    from cli.upgrade import upgrading
    from cli.upgrade.versions import Age

    installation = upgrading.settle(installation, progress)
    runs = supervisor_of(installation).processes() is not None
    if upgrading.age_of(installation) is Age.CURRENT and not upgrading.other_major(installation, progress):
        return None, runs
    if not backed_up:
        upgrading.refuse_foreign_database(installation)
    if runs:
        stop(installation, progress)

    def begin(found: Installation) -> Started:
        return start(found, progress, environment=get_settings().environment, http_port=None, timeout_s=timeout_s)

    upgraded = upgrading.upgrade(installation, progress, begin, old_binaries=old_binaries).installation
    if not runs:
        stop(upgraded, progress)
    return upgraded, runs
