"""``mongars embedders``: what turns texts into vectors, so that a search finds meaning and not words alone."""

from __future__ import annotations

import asyncio
import getpass
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.installation import Installation
from cli.listing import show
from cli.options import JsonOption, StateOption, answer, chosen_installation, line

if TYPE_CHECKING:
    from libs.shared.artefacts.standing import Standing
    from libs.shared.contracts.adapters import RolledBack
    from libs.shared.contracts.runtime_settings import RuntimeSettings
    from libs.shared.contracts.telemetry import ServedModel

app = typer.Typer(
    help="Embedders: add one that was downloaded, list, use, roll back, remove; one that was trained here comes by "
    "itself. The built-in one reads English best; a multilingual one, such as intfloat/multilingual-e5-small, finds "
    "as well in French and between languages.",
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
    """List what the nodes can embed with, which is in use, and what was trained here: from which run, and how it
    measured."""
    from cli.training import encoders

    served, settings, kept = asyncio.run(_read(chosen_installation(state)))
    rows = encoders.rows(served, settings, kept)
    if as_json:
        answer(rows)
        return
    titles = ("name", "version", "dimensions", "tokens", "in use", "trained here", "notes")
    show(titles, [encoders.cells(row) for row in rows], nothing="no node embeds; see: mongars status")


@app.command("use")
def use(
    name: NameArgument,
    despite_taint: Annotated[
        bool, typer.Option("--despite-taint", metavar="", help="Also where something that trained it was forgotten.")
    ] = False,
    despite_verdict: Annotated[
        bool,
        typer.Option("--despite-verdict", metavar="", help="Also one that was trained and never found to help."),
    ] = False,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make NAME the embedder of every memory. They are embedded anew in the background; searches go on meanwhile.

    What was trained here is put to use only where its evaluation accepted it (exit code 5 where it didn't).
    """
    work = _use(chosen_installation(state), name, despite_taint=despite_taint, despite_verdict=despite_verdict)
    chosen = asyncio.run(work)
    if as_json:
        answer({"embedder": chosen})
    else:
        line(f"Using {chosen}. Each memory changes over once it is embedded whole; until then the one before serves.")


@app.command("rollback")
def roll_back(name: NameArgument, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Go back from an encoder that was trained here to what embedded before. Memories are embedded anew for that, in
    the background; until each is whole, searches go on with the encoder."""

    async def work(installation: Installation) -> RolledBack:
        from cli.bus import as_command
        from cli.training import encoders

        async with as_command(installation) as bus:
            return await encoders.roll_back(bus, name)

    done = asyncio.run(work(chosen_installation(state)))
    if as_json:
        answer(done.model_dump(mode="json"))
    for change in () if as_json else done.changes:
        line(
            f"Rolled back: {change.before or 'the first that is served'} embeds again, once memories are embedded anew."
        )


@app.command("rm")
def remove(name: NameArgument, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Remove an embedder that isn't in use; one that was trained here goes from the store and from every node."""
    from cli import embedders

    installation = chosen_installation(state)
    embedders.checked_name(name)
    asyncio.run(_refuse_used(installation, name))
    if not asyncio.run(_remove_trained(installation, name)):
        embedders.remove(_root(installation), name)
    if as_json:
        answer({"removed": name})
    else:
        line(f"Removed {name}.")


def _root(installation: Installation) -> Path:
    from cli import embedders

    return installation.folder.models / embedders.FOLDER


async def _read(installation: Installation) -> tuple[list[ServedModel], RuntimeSettings, dict[str, Standing]]:
    """The embedders, the settings, and what was trained; where none is chosen, the first that is served is used."""
    from cli.bus import as_command
    from cli.training import encoders
    from libs.shared.contracts.base import Empty
    from libs.shared.contracts.ledger import READ_SETTINGS, ReadSettings
    from libs.shared.contracts.scheduling import LIST_MODELS

    async with as_command(installation) as bus:
        models = await bus.request(LIST_MODELS, Empty())
        settings = (await bus.request(READ_SETTINGS, ReadSettings())).settings
        kept = await encoders.trained(bus)
    served = [model for model in models.models if model.kind == "embed"]
    if settings.embedder is None:
        first = next((model.embedder for model in served if model.name == models.default_embed), None)
        settings = settings.model_copy(update={"embedder": first})
    return served, settings, kept


async def _use(installation: Installation, name: str, *, despite_taint: bool, despite_verdict: bool) -> str:
    from cli.bus import as_command
    from cli.errors import CommandError, Exit
    from cli.training import encoders
    from libs.shared.contracts.ledger import PROPOSE_CHANGE, ProposeChange

    served, settings, kept = await _read(installation)
    chosen = next((model.embedder for model in served if model.name == name and model.embedder), None)
    if chosen is None:
        raise CommandError(
            f"no node embeds with {name}",
            "see: mongars embedders list (one that was just added is seen within seconds)",
            code=Exit.REFUSED,
        )
    if chosen == settings.embedder:
        return chosen
    async with as_command(installation) as bus:
        if name in kept:
            await encoders.use(bus, name, settings.embedder, taint=despite_taint, verdict=despite_verdict)
        else:
            change = ProposeChange(key="embedder", value=chosen, actor=f"mongars:{getpass.getuser()}", apply=True)
            await bus.request(PROPOSE_CHANGE, change)
    return chosen


async def _remove_trained(installation: Installation, name: str) -> bool:
    from cli.bus import as_command
    from cli.training import encoders

    async with as_command(installation) as bus:
        return await encoders.remove(bus, name)


async def _refuse_used(installation: Installation, name: str) -> None:
    from cli.errors import CommandError, Exit

    _, settings, _ = await _read(installation)
    if settings.embedder is not None and settings.embedder.partition("@")[0] == name:
        raise CommandError(
            f"{name} is in use", "choose another first: mongars embedders use all-MiniLM-L6-v2", code=Exit.REFUSED
        )
