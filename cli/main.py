"""The ``mongars`` command: puts the commands together, and turns what goes wrong into one clear line."""

from __future__ import annotations

import os
import sys
import traceback

import typer

from cli.commands import (
    accounts,
    alerts,
    backup,
    chat,
    consents,
    doctor,
    documents,
    embedders,
    events,
    joining,
    keys,
    life,
    memory,
    models,
    nodes,
    observe,
    ratings,
    service,
    sleep,
    support,
    train,
    trust,
    upgrade,
    upstreams,
)
from cli.errors import CommandError, Exit
from cli.settings import get_settings

app = typer.Typer(
    name="mongars",
    help="A private assistant on your own machines. Begin with: mongars up",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("up")(life.up)
app.command("down")(life.down)
app.command("trust")(trust.trust)
app.command("upgrade")(upgrade.upgrade)
app.command("status")(observe.status)
app.command("logs")(observe.logs)
app.command("chat")(chat.chat)
app.add_typer(memory.app, name="memory")
app.add_typer(ratings.app, name="ratings")
app.add_typer(consents.app, name="consents")
app.add_typer(documents.app, name="documents")
app.add_typer(embedders.app, name="embedders")
app.add_typer(models.app, name="models")
app.add_typer(upstreams.app, name="upstreams")
app.add_typer(nodes.app, name="nodes")
app.add_typer(train.app, name="train")
app.add_typer(sleep.app, name="sleep")
app.command("events")(events.events)
app.command("join")(joining.join)
app.add_typer(keys.app, name="keys")
app.add_typer(accounts.app, name="users")
app.add_typer(alerts.app, name="alerts")
app.command("doctor")(doctor.doctor)
app.command("support-bundle")(support.support_bundle)
app.add_typer(service.app, name="service")
app.command("uninstall")(service.uninstall)
app.add_typer(backup.app, name="backup")
app.command("restore")(backup.restore)
app.command("version")(observe.version)


def main() -> None:
    """Runs one command; problems go to stderr, with the remedy, and never as a traceback."""
    os.umask(0o077)  # whatever a command writes is its owner's alone, unless it says otherwise
    try:
        app()
    except CommandError as error:
        sys.exit(_told(error))
    except KeyboardInterrupt:
        sys.exit(Exit.INTERRUPTED)
    except BrokenPipeError:
        sys.exit(Exit.FAILED)  # whoever read us has seen enough
    except Exception as error:
        if get_settings().traceback:
            traceback.print_exc()
        fault = f"{type(error).__name__}: {error}"
        sys.exit(_told(CommandError(fault, "to see where, run it again with MONGARS_TRACEBACK=1 set")))


def _told(error: CommandError) -> int:
    sys.stderr.write(f"mongars: {error.problem}\n")
    if error.remedy:
        sys.stderr.write(f"  remedy: {error.remedy}\n")
    return error.code
