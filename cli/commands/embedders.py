"""``mongars embedders``: what turns texts into vectors, so that a search finds meaning and not words alone."""

from __future__ import annotations

import asyncio
import getpass
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.installation import Installation
from cli.listing import show
from cli.options import JsonOption, StateOption, answer, chosen_installation, line

if TYPE_CHECKING:
    from libs.shared.contracts.ledger import RuntimeSettings
    from libs.shared.contracts.telemetry import ServedModel

app = typer.Typer(
    help="Embedders: add one that was downloaded, list, use, remove. The built-in one reads English best; a "
    "multilingual one, such as intfloat/multilingual-e5-small, finds as well in French and between languages.",
    no_args_is_help=True,
)
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="As mongars embedders list shows it.")]


@app.command("add")
def add(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH",
            exists=True,
            file_okay=False,
            help="The model's folder as it was downloaded: tokenizer.json, and model.onnx or model.safetensors with "
            "config.json.",
        ),
    ],
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Under which it is known; else as the folder.")
    ] = None,
    pooling: Annotated[
        str | None, typer.Option("--pooling", metavar="HOW", help="mean or cls; else as the model's own files say.")
    ] = None,
    query_prefix: Annotated[
        str | None,
        typer.Option("--query-prefix", metavar="TEXT", help="What the model was trained to see before a question."),
    ] = None,
    passage_prefix: Annotated[
        str | None,
        typer.Option("--passage-prefix", metavar="TEXT", help="What it was trained to see before other texts."),
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option("--max-tokens", metavar="N", min=16, max=8192, help="Of a text; the rest isn't read.")
    ] = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy an embedder into the installation, once it has embedded three sentences. It is used when you say so."""
    from cli import embedders
    from cli.errors import CommandError, Exit

    if pooling not in (None, "mean", "cls"):
        raise CommandError(f"--pooling {pooling} is unknown", "one of: mean, cls", code=Exit.USAGE)
    installation = chosen_installation(state)
    asked = embedders.Asked(pooling, query_prefix, passage_prefix, max_tokens)
    added = embedders.add(_root(installation), path.resolve(), name or path.resolve().name, asked)
    if as_json:
        answer(asdict(added))
        return
    line(f"Added {added.id}: {added.dimensions} dimensions.")
    line(
        f"A sentence and its French are {added.across_languages:.2f} alike, "
        f"an unrelated one {added.unrelated:.2f}. To use it: mongars embedders use {added.name}"
    )


@app.command("list")
def list_embedders(state: StateOption = None, as_json: JsonOption = False) -> None:
    """List what the nodes can embed with, and which is in use."""
    served, settings = asyncio.run(_read(chosen_installation(state)))
    rows = [_described(model, settings) for model in served]
    if as_json:
        answer(rows)
        return
    show(
        ("name", "version", "dimensions", "tokens", "in use"),
        [(r["name"], r["version"], str(r["dimensions"]), str(r["tokens"]), "yes" if r["used"] else "-") for r in rows],
        nothing="no node embeds; see: mongars status",
    )


@app.command("use")
def use(name: NameArgument, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Make NAME the embedder of every memory. They are embedded anew in the background; searches go on meanwhile."""
    chosen = asyncio.run(_use(chosen_installation(state), name))
    if as_json:
        answer({"embedder": chosen})
    else:
        line(f"Using {chosen}. Each memory changes over once it is embedded whole; until then the one before serves.")


@app.command("rm")
def remove(name: NameArgument, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Remove an embedder that isn't in use."""
    from cli import embedders

    installation = chosen_installation(state)
    embedders.checked_name(name)
    asyncio.run(_refuse_used(installation, name))
    embedders.remove(_root(installation), name)
    if as_json:
        answer({"removed": name})
    else:
        line(f"Removed {name}.")


def _root(installation: Installation) -> Path:
    from cli import embedders

    return installation.folder.models / embedders.FOLDER


def _described(model: ServedModel, settings: RuntimeSettings) -> dict[str, Any]:
    identity = model.embedder or model.name
    return {
        "name": model.name,
        "version": identity.partition("@")[2],
        "dimensions": model.dimensions,
        "tokens": model.context_tokens,
        "used": identity == settings.embedder,
    }


async def _read(installation: Installation) -> tuple[list[ServedModel], RuntimeSettings]:
    """The embedders, and the settings; where none is chosen, the first that is served is used."""
    from cli.bus import as_command
    from libs.shared.contracts.base import Empty
    from libs.shared.contracts.ledger import READ_SETTINGS, ReadSettings
    from libs.shared.contracts.scheduling import LIST_MODELS

    async with as_command(installation) as bus:
        models = await bus.request(LIST_MODELS, Empty())
        settings = (await bus.request(READ_SETTINGS, ReadSettings())).settings
    served = [model for model in models.models if model.kind == "embed"]
    if settings.embedder is None:
        first = next((model.embedder for model in served if model.name == models.default_embed), None)
        settings = settings.model_copy(update={"embedder": first})
    return served, settings


async def _use(installation: Installation, name: str) -> str:
    from cli.bus import as_command
    from cli.errors import CommandError, Exit
    from libs.shared.contracts.ledger import PROPOSE_CHANGE, ProposeChange

    served, settings = await _read(installation)
    chosen = next((model.embedder for model in served if model.name == name and model.embedder), None)
    if chosen is None:
        raise CommandError(
            f"no node embeds with {name}",
            "see: mongars embedders list (one that was just added is seen within seconds)",
            code=Exit.REFUSED,
        )
    if chosen != settings.embedder:
        change = ProposeChange(key="embedder", value=chosen, actor=f"mongars:{getpass.getuser()}", apply=True)
        async with as_command(installation) as bus:
            await bus.request(PROPOSE_CHANGE, change)
    return chosen


async def _refuse_used(installation: Installation, name: str) -> None:
    from cli.errors import CommandError, Exit

    _, settings = await _read(installation)
    if settings.embedder is not None and settings.embedder.partition("@")[0] == name:
        raise CommandError(
            f"{name} is in use", "choose another first: mongars embedders use all-MiniLM-L6-v2", code=Exit.REFUSED
        )
