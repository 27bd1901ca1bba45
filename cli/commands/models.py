"""``mongars models``: language models from the hub, an address or a file, and what each is for."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from cli.errors import CommandError, Exit
from cli.installation import Installation
from cli.listing import show
from cli.options import JsonOption, StateOption, answer, chosen_installation, line
from cli.training import adapters

if TYPE_CHECKING:
    from cli.models.checksums import Checksum
    from cli.models.pulling import Pulled, Source
    from libs.shared.roles import Role

app = typer.Typer(
    help="Language models: pull one from the hub, an address or a file; list, use, remove. Begin with: mongars models "
    "pull (which takes the one that suits this machine).",
    no_args_is_help=True,
)
app.add_typer(adapters.app, name="adapters")
RoleOption = Annotated[
    str | None, typer.Option("--role", metavar="ROLE", help="What it is for: chat (the usual answers), code or embed.")
]
NameOption = Annotated[
    str | None, typer.Option("--name", metavar="NAME", help="Under which it is known; else as its file.")
]
ShaOption = Annotated[
    str | None, typer.Option("--sha256", metavar="HEX", help="The file's SHA-256, from somebody whom you trust.")
]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="As mongars models list shows it.")]
T = TypeVar("T")


@app.command("list")
def list_models(
    suggested: Annotated[
        bool, typer.Option("--suggested", metavar="", help="What would suit this machine, and what wouldn't.")
    ] = False,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the models that are served and those that lie in the models folder, with size, context, roles and origin."""
    from cli.models.table import TITLES, rows, shown, suggested_rows

    installation = chosen_installation(state)
    found = suggested_rows(installation.folder.models) if suggested else asyncio.run(rows(installation))
    if as_json:
        answer(found)
    elif suggested:
        columns = ("name", "size", "licence", "role", "suits", "pull")
        show(columns, [[row[column] for column in columns] for row in found], nothing="nothing suits this machine")
    else:
        show(TITLES, [shown(row) for row in found], nothing="no language model; to bring one: mongars models pull")


@app.command("pull")
def pull(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="REPO[:FILE]",
            help="OWNER/NAME of a repository at the hub, with :FILE.gguf or :Q4_K_M after it; without it, the model "
            "that suits this machine.",
            show_default=False,
        ),
    ] = None,
    from_file: Annotated[
        Path | None,
        typer.Option("--from", metavar="FILE", exists=True, dir_okay=False, help="A GGUF file; needs no network."),
    ] = None,
    role: RoleOption = None,
    name: NameOption = None,
    sha256: ShaOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", metavar="", help="Don't ask before a download.")] = False,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring a model, verify it by the hub's own checksum, and serve it.

    What was interrupted goes on where it stopped. With --from, a FILE.sha256 or SHA256SUMS beside the file is honoured.
    """
    from cli.models import pulling, showing

    if (what is not None) == (from_file is not None) and what is not None:
        raise CommandError("either a repository or --from FILE", code=Exit.USAGE)
    wanted_role = _role(role)
    installation = chosen_installation(state)
    _can_give(installation, wanted_role)
    vouched = _checksum(sha256)
    progress = showing.on_stderr(quiet=as_json)
    folder = _shelf(installation)
    if from_file is not None:
        pulled = _interruptible(
            lambda: pulling.from_file(folder, from_file.resolve(), progress, name=name, checksum=vouched)
        )
    else:
        pulled = _interruptible(
            lambda: asyncio.run(
                _from_hub(folder, what, wanted_role or "chat", name, ask=not yes and not as_json, quiet=as_json)
            )
        )
    _serve_and_tell(installation, pulled, wanted_role, as_json)


@app.command("add")
def add(
    url: Annotated[str, typer.Argument(metavar="URL", help="Of a GGUF file.")],
    sha256: ShaOption = None,
    role: RoleOption = None,
    name: NameOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring a GGUF file from any address. It is held against --sha256, else against what its server tells."""
    from cli.models import pulling, showing

    wanted_role, vouched = _role(role), _checksum(sha256)
    installation = chosen_installation(state)
    _can_give(installation, wanted_role)
    progress = showing.on_stderr(quiet=as_json)
    bringing = pulling.from_address(_shelf(installation), _source(), url, progress, name=name, checksum=vouched)
    _serve_and_tell(installation, _interruptible(lambda: asyncio.run(bringing)), wanted_role, as_json)


@app.command("use")
def use(name: NameArgument, role: RoleOption = None, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Answer with NAME, or MODEL:ADAPTER, from now on, or give it another role. A change of the ledger, which can be
    rolled back."""
    from cli.models import serving

    wanted = _role(role) or "chat"
    installation = chosen_installation(state)
    asyncio.run(serving.give(installation, wanted, name))
    if as_json:
        answer({"model": name, "role": wanted})
    else:
        line(f"{name} has the role {wanted}.")


@app.command("rm")
def remove(
    name: NameArgument,
    force: Annotated[
        bool, typer.Option("--force", metavar="", help="Also when it has a role, which it loses.")
    ] = False,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove a model from the models folder, and serve it no longer."""
    from cli.models import shelf

    installation = chosen_installation(state)
    model = shelf.find(installation.folder.models, name)
    freed = _take_away(installation, model, force)
    if as_json:
        answer({"removed": model.name, "freed": freed, "bytes": model.size})
        return
    line(f"Removed {model.name}.")
    for role in freed:
        line(f"The role {role} is free; it falls to the first model that is served.")


def _take_away(installation: Installation, model: Any, force: bool) -> list[str]:
    """The roles that it lost. Raises CommandError when it has one and may not be forced."""
    from cli.models import serving, shelf

    if not serving.runs(installation):
        raise CommandError(
            "the installation is not running, and only it knows whether the model is in use",
            "start it with: mongars up",
            code=Exit.NOT_RUNNING,
        )
    before = asyncio.run(serving.read(installation))
    held, given = before.roles(model.name), before.given(model.name)
    if held and not force:
        raise CommandError(
            f"{model.name} is in use for {' and '.join(held)}",
            "give that to another first (mongars models use NAME --role ROLE), or remove it with --force",
            code=Exit.REFUSED,
        )
    for role in given:
        asyncio.run(serving.free(installation, role))
    shelf.remove(model)
    serving.restart_inference(installation)
    asyncio.run(serving.wait_gone(installation, model.name, before))
    return [str(role) for role in given]


async def _from_hub(folder: Path, what: str | None, role: Role, name: str | None, *, ask: bool, quiet: bool) -> Pulled:
    from cli.models import pulling, showing
    from cli.models.reference import parse
    from cli.models.suggesting import best, question

    source = _source()
    if what is not None:
        offered = await pulling.look(source, parse(what))
    else:
        suggestion = await best(folder, source, role)
        offered = suggestion.offered
        if ask and sys.stdin.isatty():
            line(question(suggestion))
            typer.confirm("Bring it?", default=True, abort=True)
    return await pulling.from_hub(folder, source, offered, showing.on_stderr(quiet=quiet), name)


def _serve_and_tell(installation: Installation, pulled: Pulled, role: Role | None, as_json: bool) -> None:
    from cli.models import serving
    from cli.models.showing import size

    running = serving.runs(installation)
    word = serving.bring_into_service(installation, pulled.name, already=pulled.already) if running else None
    if running and word is None and role is not None:
        asyncio.run(serving.give(installation, role, pulled.name))
    if as_json:
        answer(_told(pulled, served=running and word is None, problem=word, role=role))
    else:
        how = "There already" if pulled.already else "Brought"
        line(f"{how}: {pulled.name} ({size(pulled.size)}), {_vouched(pulled)}.")
        if not running:
            line("It is served from the next start on: mongars up")
        elif word is None:
            line("It is served." if role is None else f"It is served, and has the role {role}.")
    if word is not None:
        from cli.degraded import explained

        raise CommandError(f"it is not served: {explained(f'{pulled.name}: {word}')}", "see: mongars status")


def _told(pulled: Pulled, *, served: bool, problem: str | None, role: str | None) -> dict[str, Any]:
    return {
        "name": pulled.name,
        "file": str(pulled.file),
        "size": pulled.size,
        "licence": pulled.licence,
        "source": pulled.origin,
        "vouched_by": pulled.vouched_by,
        "already": pulled.already,
        "served": served,
        "problem": problem,
        "role": role if served else None,
    }


def _vouched(pulled: Pulled) -> str:
    if pulled.vouched_by is None:
        return "for which nobody vouched: there was no checksum to hold it against"
    return f"as {pulled.vouched_by} vouches for it"


def _interruptible(work: Callable[[], T]) -> T:
    try:
        return work()
    except KeyboardInterrupt:
        raise CommandError("interrupted", "the same command goes on where it stopped", code=Exit.INTERRUPTED) from None


def _role(role: str | None) -> Role | None:
    from libs.shared.roles import role_named

    if role is None:
        return None
    found = role_named(role)
    if found is None:
        raise CommandError(f"there is no role {role}", "one of: chat, code, embed", code=Exit.USAGE)
    return found


def _can_give(installation: Installation, role: Role | None) -> None:
    """Said before a download, and not after it. Raises CommandError."""
    from cli.models import serving

    if role is not None and not serving.runs(installation):
        raise CommandError(
            f"the role {role} can be given only while the installation runs",
            "start it with: mongars up, or leave out --role",
            code=Exit.NOT_RUNNING,
        )


def _checksum(sha256: str | None) -> Checksum | None:
    from cli.models import checksums

    return checksums.sha256(sha256, "you") if sha256 is not None else None


def _shelf(installation: Installation) -> Path:
    folder = installation.folder.models
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _source() -> Source:
    from cli.models.pulling import Source
    from cli.settings import get_settings

    settings = get_settings()
    return Source(settings.hub_url, settings.hub_token_file)
