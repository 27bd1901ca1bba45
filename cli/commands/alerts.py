"""``mongars alerts``: where to send word of a full disk, a failed backup, a lost node, heat, a crash loop."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.errors import CommandError, Exit
from cli.options import JsonOption, StateOption, answer, chosen_installation, line

app = typer.Typer(help="Alerts to a webhook of your choice, in ntfy's shape or as JSON.", no_args_is_help=True)
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_Where = Annotated[str, typer.Argument(metavar="URL", help="The webhook's address, as alerts list shows it.")]


@app.command()
def add(
    url: Annotated[str, typer.Argument(metavar="URL", help="For example https://ntfy.example, with --topic.")],
    topic: Annotated[str | None, typer.Option("--topic", metavar="NAME", help="ntfy's topic.")] = None,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", metavar="FILE", help="Holds the token to send along.")
    ] = None,
    kind: Annotated[str, typer.Option("--format", metavar="ntfy|json", help="What is sent.")] = "ntfy",
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send alerts there from now on. An address elsewhere gets what went wrong and the nodes' names, nothing else."""
    from cli.alerts import targets

    folder = chosen_installation(state).folder
    target = targets.checked(url, topic, kind, token_file)
    kept = targets.read(folder)
    if target.url in [one.url for one in kept]:
        raise CommandError(f"alerts go to {target.url} already", "see: mongars alerts list", code=Exit.REFUSED)
    targets.write(folder, [*kept, target])
    if as_json:
        answer({"url": target.url, "format": target.kind})
        return
    line(f"Alerts go to {target.url} from now on. Try it: mongars alerts test")
    if target.host not in _LOOPBACK:
        line(f"They leave this machine, to {target.host}: what went wrong, and which node; nothing of anybody.")


@app.command("list")
def list_(state: StateOption = None, as_json: JsonOption = False) -> None:
    """List where alerts go."""
    from cli import listing
    from cli.alerts import targets

    kept = targets.read(chosen_installation(state).folder)
    if as_json:
        answer([{"url": one.url, "format": one.kind, "token_file": one.token_file} for one in kept])
        return
    rows = [(one.url, one.kind, one.token_file or "-") for one in kept]
    listing.show(("address", "format", "token file"), rows, nothing="no alerts are sent; add one: mongars alerts add")


@app.command("test")
def send_test(state: StateOption = None, as_json: JsonOption = False) -> None:
    """Send one alert to each address now. Exit code 1 when one doesn't take it."""
    from cli.alerts import targets
    from cli.alerts.deciding import Alert
    from cli.alerts.sending import NotSent, send

    told: dict[str, str] = {}
    alert = Alert("test", "A test", "Alerts of this installation reach you here.", urgent=False, resolved=False)
    kept = targets.read(chosen_installation(state).folder)
    if not kept:
        raise CommandError("there is no address to send to", "add one: mongars alerts add URL")
    for target in kept:
        try:
            send(alert, target)
            told[target.url] = "sent"
        except NotSent as error:
            told[target.url] = str(error)
    if as_json:
        answer(told)
    else:
        line("\n".join(f"{url}: {outcome}" for url, outcome in told.items()))
    if any(outcome != "sent" for outcome in told.values()):
        raise typer.Exit(Exit.FAILED)


@app.command()
def rm(url: _Where, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Send nothing more there."""
    from cli.alerts import targets

    folder = chosen_installation(state).folder
    kept = targets.read(folder)
    left = [one for one in kept if one.url != url]
    if len(left) == len(kept):
        raise CommandError(f"no alerts go to {url}", "see: mongars alerts list", code=Exit.REFUSED)
    targets.write(folder, left)
    if as_json:
        answer({"removed": url})
    else:
        line("Removed.")
