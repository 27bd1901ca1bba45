"""``mongars up`` and ``mongars down``."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import start_record
from cli.degraded import NOTICES, explained
from cli.errors import CommandError, Exit
from cli.installation import Installation, find
from cli.interrupting import signals_interrupt
from cli.lan.choice import Network
from cli.lan.telling import described, told
from cli.listing import show_facts
from cli.lock import exclusively
from cli.options import JsonOption, StateOption, answer, chosen_folder, chosen_installation, line
from cli.probes import Readiness
from cli.progress import Progress
from cli.settings import get_settings
from cli.stop import kill, stop
from cli.supervision.place import supervisor_of
from libs.shared.layout import StateFolder

if TYPE_CHECKING:
    from cli.backups.recovery_key import RecoveryKey
    from cli.start import Started

_LOOK_EVERY_S = 2.0


def up(
    state: StateOption = None,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", metavar="", help="Return as soon as everything is ready.")
    ] = False,
    port: Annotated[
        int | None,
        typer.Option("--port", metavar="N", min=1, max=65535, help="Where the gateway listens; kept for later starts."),
    ] = None,
    timeout: Annotated[
        float, typer.Option("--timeout", metavar="SECONDS", min=1, help="Longest wait for readiness.")
    ] = 90.0,
    lan: Annotated[
        bool | None,
        typer.Option(
            "--lan/--no-lan", help="Let other machines in, over TLS; or loopback alone again. Kept for later starts."
        ),
    ] = None,
    host: Annotated[
        str | None, typer.Option("--host", metavar="ADDR", help="With --lan: which of this machine's addresses [all].")
    ] = None,
    lan_port: Annotated[
        int | None,
        typer.Option(
            "--lan-port", metavar="N", min=1, max=65535, help="With --lan: the port there [8443, or near it]."
        ),
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option("--tls-cert", metavar="FILE", help="With --lan: a certificate of your own, PEM.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option("--tls-key", metavar="FILE", help="Its key.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Start the installation, making it first when there is none.

    Without --detach it goes on until Ctrl-C, which drains and stops everything. Repeating it does no harm.
    On a terminal, and only there, it offers to bring a language model where none is found.
    """
    folder = chosen_folder(state)
    known = find(folder)
    if known is not None and known.marker.joined is not None:
        from cli.commands.joining import up_node

        up_node(known, detach=detach, as_json=as_json)
        return
    network = Network(lan, host, lan_port, tls_cert, tls_key)
    network.require_sense(get_settings())
    progress = Progress(quiet=as_json)
    ours = not _runs(folder)
    ready = False
    with signals_interrupt():
        try:
            started = _start_and_announce(folder, progress, port, network, timeout, as_json)
            start_record.keep(folder, "")
            ready = True
            if not detach and not as_json:
                _offer_a_model(started)
            if ours and not detach:
                line("Ctrl-C stops it.")
                _wait_until_stopped(started.installation)
        except (CommandError, KeyboardInterrupt) as error:
            if ours:
                _stop_what_was_started(folder, progress)
            if isinstance(error, CommandError):
                _hint(folder, progress, error)
                raise
            if not ready:
                raise CommandError("interrupted", code=Exit.INTERRUPTED) from None
    if ours and not detach:
        line("Stopped.")


def _hint(folder: StateFolder, progress: Progress, error: CommandError) -> None:
    """For ``mongars doctor``, which finds more than the first thing that went wrong."""
    if folder.logs.is_dir() and error.code is Exit.FAILED:
        start_record.keep(folder, error.problem)
        progress.say("To see what is wrong, run: mongars doctor")


def down(
    state: StateOption = None,
    at_once: Annotated[bool, typer.Option("--kill", metavar="", help="Don't drain: end every process now.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Drain and stop everything, in reverse order."""
    installation = chosen_installation(state, node_too=True)
    progress = Progress(quiet=as_json)
    if at_once:
        kill(installation)
    with exclusively(installation.folder):
        stopped = stop(installation, progress) or at_once
    if as_json:
        answer({"stopped": stopped})
    else:
        line("Stopped." if stopped else "It was not running.")


def _start_and_announce(
    folder: StateFolder, progress: Progress, port: int | None, network: Network, timeout_s: float, as_json: bool
) -> Started:
    from cli.admin import announced, one_time_password
    from cli.backups.recovery_key import keep
    from cli.creation import make, prepare_folder
    from cli.database import choice
    from cli.start import start
    from cli.upgrade.upgrading import start_safely

    settings = get_settings()
    external = choice.chosen(settings.database_url)
    if find(folder) is None:
        prepare_folder(folder)
    with exclusively(folder):
        installation = find(folder)
        if installation is None:
            progress.say(f"Making an installation in {folder.root}")
            installation = make(folder, progress, http_port=port, external=external)
        if installation.marker.joined is not None:  # since it was looked at, before the lock
            raise CommandError("this machine has just become a node of another installation", "run: mongars up")
        choice.keep(installation, external)
        installation = network.settled(installation)

        def begin(found: Installation) -> Started:
            return start(found, progress, environment=settings.environment, http_port=port, timeout_s=timeout_s)

        started = start_safely(installation, progress, begin)
        password = one_time_password(started.installation)
        key = new_recovery_key(started.installation) if password is not None else None
        _announce(started, password, key, as_json)
        if key is not None:
            keep(folder, key.seal)
        if password is not None:  # only now: what was never shown is replaced at the next start
            announced(started.installation)
    return started


def _offer_a_model(started: Started) -> None:
    """On a terminal, where no language model was found; nothing is downloaded unasked."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return
    from cli.models.offer import offer
    from cli.models.pulling import Source

    settings = get_settings()
    source = Source(settings.hub_url, settings.hub_token_file)
    offer(started.installation, source, started.readiness.degraded, terminal=True)


def new_recovery_key(installation: Installation) -> RecoveryKey | None:
    """One to be shown with the first password; None where there is one already."""
    from cli.backups.recovery_key import RecoveryKey, kept

    return RecoveryKey.new() if kept(installation.folder) is None else None


def _announce(started: Started, password: str | None, key: RecoveryKey | None, as_json: bool) -> None:
    from cli.admin import ADMIN_NAME

    installation, readiness = started.installation, started.readiness
    if as_json:
        said: dict[str, Any] = {
            "http": installation.http_url,
            "state": str(installation.folder.root),
            "already_running": started.already,
            "lan": described(installation),
            "degraded": list(readiness.degraded),
        }
        said |= {"admin": {"name": ADMIN_NAME, "one_time_password": password}} if password else {}
        answer(said | ({"recovery_key": key.words} if key else {}))
        return
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    running = "was running already" if started.already else "is ready"
    console.print(f"\n[green]●[/] monGARS {running}: [bold]{installation.http_url}[/]")
    show_facts(console, _facts(installation, password, key, readiness))
    if installation.marker.lan is not None:
        line("\n" + "\n".join(told(installation)))
    sys.stdout.flush()


def _facts(
    installation: Installation, password: str | None, key: RecoveryKey | None, said: Readiness
) -> Iterator[tuple[str, str]]:
    from cli.admin import ADMIN_NAME

    if password:
        yield "user", ADMIN_NAME
        yield "password", f"{password}   (for the first login, and shown only now)"
    if key:
        yield "recovery", key.words
        yield "", "(write it down and keep it elsewhere: it alone opens backups, and is shown only now)"
    if installation.marker.database is not None:
        yield "database", installation.marker.database
    for reason in said.degraded:
        yield "notice" if reason in NOTICES else "degraded", explained(reason)


def _runs(folder: StateFolder) -> bool:
    installation = find(folder)
    return installation is not None and supervisor_of(installation).processes() is not None


def _wait_until_stopped(installation: Installation) -> None:
    """Returns when somebody stops it from elsewhere."""
    supervisor = supervisor_of(installation)
    while supervisor.processes() is not None:
        time.sleep(_LOOK_EVERY_S)


def _stop_what_was_started(folder: StateFolder, progress: Progress) -> None:
    installation = find(folder)
    if installation is None:
        return
    try:
        if _runs(folder):
            progress.say("\rStopping; Ctrl-C ends it at once")  # over the ^C that the terminal shows
        with exclusively(folder):
            stop(installation, progress)
    except KeyboardInterrupt:
        kill(installation)
