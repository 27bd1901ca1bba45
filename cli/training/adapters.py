"""``mongars models adapters``: adapters as signed artefacts, tried out, promoted, and rolled back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from cli.errors import CommandError, Exit
from cli.installation import Installation
from cli.listing import day, show
from cli.options import JsonOption, StateOption, answer, chosen_installation, line

if TYPE_CHECKING:
    from libs.shared.artefacts.standing import Standing
    from libs.shared.bus.base import Bus

app = typer.Typer(
    help="Adapters that were trained: import, list, try out on a share of the conversations, promote, roll back.",
    no_args_is_help=True,
)
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="As mongars models adapters list shows it.")]
RoleOption = Annotated[str, typer.Option("--role", metavar="ROLE", help="chat or code.")]
TaintOption = Annotated[
    bool, typer.Option("--despite-taint", metavar="", help="Also where something that trained it was forgotten since.")
]
T = TypeVar("T")


@app.command("import")
def bring(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER", exists=True, file_okay=False, help="As peft writes an adapter, or with one GGUF file."
        ),
    ],
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="Else as the folder.")] = None,
    base: Annotated[
        str | None,
        typer.Option("--base", metavar="MODEL", help="The model that it changes; else as its own files say."),
    ] = None,
    of: Annotated[
        list[str] | None,
        typer.Option(
            "--only-for", metavar="USER", help="Only this user may use it, and those named likewise; else everybody."
        ),
    ] = None,
    metrics: Annotated[
        Path | None, typer.Option("--metrics", metavar="FILE", help="A JSON object: what was measured of it.")
    ] = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Sign an adapter's folder as this installation's, and keep it for the nodes, which fetch it by themselves.

    What was interrupted is repeated by the same command. Its name stands for these files for ever: others need another.
    """
    installation = chosen_installation(state)

    async def work(bus: Bus) -> Any:
        from cli.training import artefacts
        from libs.shared.artefacts.keeping import keep_folder

        models = installation.folder.models
        manifest = await artefacts.described(
            bus, folder.resolve(), models, name=name, base=base, metrics=metrics, users=list(of or ())
        )
        return await keep_folder(bus, folder, manifest)

    kept = _on_the_bus(installation, work)
    if as_json:
        answer(kept.model_dump(mode="json"))
    else:
        line(f"Kept: {kept.name} for {kept.base.name}. Nodes that serve {kept.base.name} fetch it.")
        line(f"To try it: mongars models adapters canary {kept.name} --share 0.1")


@app.command("list")
def list_adapters(state: StateOption = None, as_json: JsonOption = False) -> None:
    """List the adapters: where each answers, which nodes have it, and why one is refused.

    Encoders that were trained are listed by mongars embedders list.
    """

    async def work(bus: Bus) -> Any:
        from cli.training import artefacts

        return [one for one in await artefacts.all_of(bus) if one.kind != "encoder"]

    found = _on_the_bus(chosen_installation(state), work)
    if as_json:
        answer([one.model_dump(mode="json") for one in found])
        return
    titles = ("name", "model", "size", "made", "answers", "nodes", "notes")
    show(
        titles, [_row(one) for one in found], nothing="no adapter; to bring one: mongars models adapters import FOLDER"
    )


@app.command("promote")
def promote(
    name: NameArgument,
    role: RoleOption = "chat",
    despite_taint: TaintOption = False,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Answer every request of the role with it from now on: a change of the ledger, which can be rolled back."""
    change = _serve(chosen_installation(state), name, role, 1.0, despite_taint)
    _tell_change(change, f"{change.after} has the role {role}.", as_json)


@app.command("canary")
def canary(
    name: NameArgument,
    share: Annotated[
        float,
        typer.Option("--share", metavar="SHARE", min=0.0, max=1.0, help="Of the conversations, between 0 and 1."),
    ] = 0.1,
    role: RoleOption = "chat",
    despite_taint: TaintOption = False,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Answer a share of the role's conversations with it; one that has it keeps it. A change of the ledger."""
    if not 0 < share < 1:
        raise CommandError(
            "the share lies between 0 and 1", "for all: mongars models adapters promote", code=Exit.USAGE
        )
    change = _serve(chosen_installation(state), name, role, share, despite_taint)
    _tell_change(change, f"{change.after['model']} answers {share:.0%} of the conversations ({role}).", as_json)


@app.command("rollback")
def roll_back(name: NameArgument, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Undo every change that has it in service; what answered before answers again at once."""

    async def work(bus: Bus) -> Any:
        from cli.training.artefacts import actor
        from libs.shared.contracts.adapters import ROLL_BACK_ADAPTER, RollBackAdapter

        return await bus.request(ROLL_BACK_ADAPTER, RollBackAdapter(adapter=name, actor=actor()))

    done = _on_the_bus(chosen_installation(state), work)
    if as_json:
        answer(done.model_dump(mode="json"))
        return
    for change in done.changes:
        line(f"Rolled back: {change.key} is {_said(change.before)} again.")


@app.command("rm")
def remove(name: NameArgument, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Remove it from the store and the nodes, for good; one in service is rolled back first."""

    async def work(bus: Bus) -> Any:
        from cli.training.artefacts import actor
        from libs.shared.contracts.adapters import REMOVE_ADAPTER, RemoveAdapter

        return await bus.request(REMOVE_ADAPTER, RemoveAdapter(adapter=name, actor=actor()))

    _on_the_bus(chosen_installation(state), work)
    if as_json:
        answer({"removed": name})
    else:
        line(f"Removed {name}. Nodes let it go by themselves.")


def _serve(installation: Installation, name: str, role: str, share: float, despite_taint: bool) -> Any:
    if role not in ("chat", "code"):
        raise CommandError(f"an adapter can't have the role {role}", "one of: chat, code", code=Exit.USAGE)

    async def work(bus: Bus) -> Any:
        from cli.training.artefacts import actor
        from libs.shared.contracts.adapters import SERVE_ADAPTER, ServeAdapter

        asked = {"adapter": name, "role": role, "share": share, "actor": actor(), "apply": True}
        asked["despite_taint"] = despite_taint
        return await bus.request(SERVE_ADAPTER, ServeAdapter.model_validate(asked))

    return _on_the_bus(installation, work)


def _on_the_bus(installation: Installation, work: Callable[[Bus], Awaitable[T]]) -> T:
    """What a service refuses ends the command in its words. Raises CommandError."""
    from pydantic import ValidationError

    from cli.bus import as_command

    async def run() -> T:
        async with as_command(installation) as bus:
            return await work(bus)

    try:
        return asyncio.run(run())
    except ValidationError:
        raise CommandError(
            "no adapter can be called so", "see: mongars models adapters list", code=Exit.USAGE
        ) from None


def _tell_change(change: Any, said: str, as_json: bool) -> None:
    if as_json:
        answer(change.model_dump(mode="json"))
    else:
        line(said)
        line(f"To undo it: mongars models adapters rollback {_adapter_of(change.after)}")


def _adapter_of(value: Any) -> str:
    return str(value["model"] if isinstance(value, dict) else value).rpartition(":")[2]


def _said(value: Any) -> str:
    if isinstance(value, dict):
        return f"{value['model']} for {value['share']:.0%}"
    return "unset" if value is None else str(value)


def _row(one: Standing) -> list[str]:
    from cli.models.showing import size

    notes = [word for word, said in (("restricted", one.restricted), ("tainted", one.tainted)) if said]
    notes += [f"{where}: {code}" for where, code in sorted(one.refused.items())]
    answers = ", ".join(f"{served.role} {served.share:.0%}" for served in one.in_service)
    made = day(one.created) if one.created is not None else ""
    return [one.name, one.model or "", size(one.size_bytes), made, answers, ", ".join(one.nodes), "; ".join(notes)]
