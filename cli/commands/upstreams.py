"""``mongars upstreams``: servers of models beside this node's own, and whether any may lie beyond this network."""

from __future__ import annotations

import asyncio
import getpass
import time
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.installation import Installation
from cli.listing import show
from cli.options import JsonOption, StateOption, answer, chosen_installation, line

if TYPE_CHECKING:
    from libs.shared.contracts.telemetry import ServedModel
    from libs.shared.upstreams import AddedUpstream

app = typer.Typer(
    help="Servers of models: an Ollama on another machine, vLLM, llama.cpp, or any that speaks OpenAI's API. "
    "One beyond this network is refused until an admin allows it, and its models are marked wherever they are chosen.",
    no_args_is_help=True,
)
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="As mongars upstreams list shows it.")]
_SERVED_WITHIN_S = 15.0
_LOOK_S = 0.3


class Switch(StrEnum):
    """Of a setting."""

    ON = "on"
    OFF = "off"


@app.command("add")
def add(
    url: Annotated[str, typer.Argument(metavar="URL", help="Such as http://192.168.1.20:11434 or https://host/v1.")],
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Under which it is shown; else after its host.")
    ] = None,
    key_file: Annotated[
        Path | None,
        typer.Option("--key-file", metavar="FILE", help="Holds the server's key, which is copied to the other keys."),
    ] = None,
    models: Annotated[
        list[str] | None,
        typer.Option("--model", metavar="M", help="Offer this one of its models; may be given again. Else: all."),
    ] = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add a server once it has listed its models and one has answered. It is used within seconds, without a restart."""
    from cli import upstreams
    from cli.errors import CommandError, Exit
    from libs.shared.upstreams import AddedUpstream

    installation = chosen_installation(state)
    url = upstreams.checked_url(url)
    upstreams.refuse_own(url, installation.marker.ports.http)
    name = upstreams.checked_name(name or upstreams.name_for(url))
    if any(one.name == name for one in upstreams.added(installation.folder)):
        raise CommandError(
            f"there is an upstream {name} already", f"--name NAME, or: mongars upstreams rm {name}", code=Exit.REFUSED
        )
    key = upstreams.checked_key(key_file) if key_file else None
    wanted = tuple(models or ())
    found = upstreams.trial(url, name, models=wanted, key_file=key_file, remote=_remote_allowed(installation))
    one = AddedUpstream.model_validate(
        {"name": name, "backend": found.backend, "url": found.url, "models": wanted, "key": key is not None}
    )
    upstreams.keep(installation.folder, one, key)
    served = _served_soon(installation, name)
    if as_json:
        answer({"name": name, **asdict(found), "served": served})
        return
    line(f"Added {name}: {len(found.models)} models, and {found.answered} answered in {found.seconds:.1f} s.")
    if found.remote:
        line(f"It is remote: what is asked of {name}/… leaves this network. Answers carry the header x-mongars-remote.")
    line("Its models are offered now." if served else "Its models are offered once the installation runs: mongars up")


@app.command("list")
def list_upstreams(state: StateOption = None, as_json: JsonOption = False) -> None:
    """List the servers, what each offers now, and which lie beyond this network."""
    from cli import upstreams

    installation = chosen_installation(state)
    served, allowed = _served(installation)
    rows = _rows(upstreams.added(installation.folder), served)
    if as_json:
        answer({"remote_models": allowed, "upstreams": rows})
        return
    show(
        ("name", "kind", "remote", "key", "models", "address"),
        [
            (r["name"], r["kind"], _yes(r["remote"]), _yes(r["key"]), str(len(r["models"])), r["url"] or "-")
            for r in rows
        ],
        nothing="no upstream was added; see: mongars upstreams add --help",
    )
    if allowed is not None:
        line(f"Remote models are {'allowed' if allowed else 'refused'} (mongars upstreams allow-remote on|off).")


@app.command("test")
def try_again(name: NameArgument, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Ask a server anew for its models, and one of them for a short answer."""
    from cli import upstreams

    installation = chosen_installation(state)
    one = upstreams.named(installation.folder, name)
    found = upstreams.trial(
        one.url,
        one.name,
        models=one.models,
        key_file=installation.folder.upstream_key(name) if one.key else None,
        remote=_remote_allowed(installation),
        backend=one.backend,
    )
    if as_json:
        answer({"name": name, **asdict(found)})
    else:
        line(f"{name} is well: {len(found.models)} models, and {found.answered} answered in {found.seconds:.1f} s.")


@app.command("rm")
def remove(name: NameArgument, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Remove a server and its key. What it is answering ends within a second."""
    from cli import upstreams

    upstreams.remove(chosen_installation(state).folder, name)
    if as_json:
        answer({"removed": name})
    else:
        line(f"Removed {name}.")


@app.command("allow-remote")
def allow_remote(
    switch: Annotated[Switch, typer.Argument(metavar="on|off", help="on allows it, off ends it at once.")],
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say whether what is asked may leave this network for models on remote servers. It is off until you say so."""
    allowed = switch is Switch.ON
    asyncio.run(_set_remote(chosen_installation(state), allowed))
    if as_json:
        answer({"remote_models": allowed})
    elif allowed:
        line("Remote models are allowed: what is asked of one leaves this network; each is marked.")
    else:
        line("Remote models are refused from now on, also those that were answering.")


def _yes(value: bool | None) -> str:
    return "-" if value is None else "yes" if value else "no"


def _rows(added: tuple[AddedUpstream, ...], served: list[ServedModel]) -> list[dict[str, Any]]:
    """Those that were added, then those that configuration names or that were found."""
    rows: dict[str, dict[str, Any]] = {
        one.name: {"name": one.name, "kind": one.backend, "url": one.url, "key": one.key, "added": True}
        for one in added
    }
    for model in served:
        if model.upstream is not None:
            other = {"name": model.upstream, "kind": model.backend, "url": None, "key": None, "added": False}
            rows.setdefault(model.upstream, other)
    for name, row in rows.items():
        of_it = [model for model in served if model.upstream == name]
        row["models"] = [model.name for model in of_it]
        row["remote_models"] = [model.name for model in of_it if model.remote]
        row["remote"] = bool(row["remote_models"]) if of_it else None
    return list(rows.values())


def _remote_allowed(installation: Installation) -> bool:
    """False where nobody can say: the setting is the running installation's."""
    return bool(_served(installation)[1])


def _served(installation: Installation) -> tuple[list[ServedModel], bool | None]:
    """Every model that is offered, and whether remote ones may be; nothing of an installation that doesn't run."""
    from cli.errors import CommandError, Exit

    try:
        return asyncio.run(_read(installation))
    except CommandError as error:
        if error.code is Exit.NOT_RUNNING:
            return [], None
        raise


async def _read(installation: Installation) -> tuple[list[ServedModel], bool]:
    from cli.bus import as_command
    from libs.shared.contracts.base import Empty
    from libs.shared.contracts.ledger import READ_SETTINGS, ReadSettings
    from libs.shared.contracts.scheduling import LIST_MODELS

    async with as_command(installation) as bus:
        models = await bus.request(LIST_MODELS, Empty())
        settings = (await bus.request(READ_SETTINGS, ReadSettings())).settings
    return list(models.models), settings.remote_models


def _served_soon(installation: Installation, name: str) -> bool:
    """Whether its models are offered within seconds."""
    until = time.monotonic() + _SERVED_WITHIN_S
    while time.monotonic() < until:
        served, allowed = _served(installation)
        if any(model.upstream == name for model in served):
            return True
        if allowed is None:
            return False
        time.sleep(_LOOK_S)
    return False


async def _set_remote(installation: Installation, allowed: bool) -> None:
    from cli.bus import as_command
    from libs.shared.contracts.ledger import PROPOSE_CHANGE, READ_SETTINGS, ProposeChange, ReadSettings

    async with as_command(installation) as bus:
        if (await bus.request(READ_SETTINGS, ReadSettings())).settings.remote_models == allowed:
            return
        change = ProposeChange(key="remote_models", value=allowed, actor=f"mongars:{getpass.getuser()}", apply=True)
        await bus.request(PROPOSE_CHANGE, change)
