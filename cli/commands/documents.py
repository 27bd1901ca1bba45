"""``mongars documents``: files that the assistant may quote."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.errors import CommandError, Exit
from cli.interrupting import signals_interrupt
from cli.listing import day_of, printable, show
from cli.options import JsonOption, StateOption, UserOption, answer, line, own_gateway

if TYPE_CHECKING:
    from cli.document_folder import DocumentFolder, Place
    from cli.gateway import Gateway

app = typer.Typer(help="Documents that the assistant may quote: add, list, forget.", no_args_is_help=True)
_MOST_LISTED = 1_000_000


@app.command("add")
def add(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH…", help="Files, or folders with all that is below them.")
    ],
    watch: Annotated[
        bool,
        typer.Option("--watch", metavar="", help="Go on: add what is new or changed in these folders, until Ctrl-C."),
    ] = False,
    forget_removed: Annotated[
        bool,
        typer.Option("--forget-removed", metavar="", help="While watching: forget what is removed from the folders."),
    ] = False,
    user: UserOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read documents (text, Markdown, PDF, Word) so that answers can quote them, by page where there are pages.

    A document is known by its name, which for a file in a folder begins with the folder's: adding it again replaces
    what was there, and changes nothing when it is the same. In folders, files of other kinds, hidden files and links
    are left out.
    """
    from cli.document_folder import DocumentFolder, place_at

    places = [place_at(path) for path in paths]
    _check(places, watch, forget_removed)
    with own_gateway(state, user, "mongars documents", make_user=True) as gateway:
        folder = DocumentFolder(gateway, _say_nothing if as_json else _say)
        if watch:
            _watch(folder, places, forget_removed)
        else:
            for place in places:
                for file in place.files():
                    folder.add(place, file)
        _end(folder, as_json)


def _check(places: list[Place], watch: bool, forget_removed: bool) -> None:
    if forget_removed and not watch:
        raise CommandError("--forget-removed goes with --watch", "say both, or neither", code=Exit.USAGE)
    if watch and not all(place.path.is_dir() for place in places):
        raise CommandError("only folders can be watched", "name the folder that the file is in", code=Exit.USAGE)


def _watch(folder: DocumentFolder, places: list[Place], forget_removed: bool) -> None:
    from cli.document_folder import Watch

    try:
        with signals_interrupt():
            Watch(folder, places, forget_removed=forget_removed).run()
    except KeyboardInterrupt:
        _say("no longer watching")


def _end(folder: DocumentFolder, as_json: bool) -> None:
    outcome = folder.outcome
    if as_json:
        answer(outcome.as_json())
    else:
        line(f"{outcome.added} added, {outcome.unchanged} unchanged, {len(outcome.refused)} not added.")
    if outcome.refused and not outcome.added and not outcome.unchanged:
        raise typer.Exit(Exit.REFUSED)


def _say(text: str) -> None:
    sys.stderr.write(f"{printable(text)}\n")
    sys.stderr.flush()


def _say_nothing(text: str) -> None:
    """The outcome says it all, at the end."""


@app.command("list")
def list_documents(user: UserOption = None, state: StateOption = None, as_json: JsonOption = False) -> None:
    """List documents, newest first."""
    with own_gateway(state, user, "mongars documents") as gateway:
        documents = gateway.pages("/api/v1/documents", "documents", most=_MOST_LISTED)
    if as_json:
        answer(documents)
        return
    show(
        ("id", "name", "pages", "passages", "added"),
        [
            (d["document_id"], d["name"], str(d["pages"] or "-"), str(d["passages"]), day_of(d["added_at"]))
            for d in documents
        ],
        nothing="there are no documents; add some with: mongars documents add PATH",
    )


@app.command("forget")
def forget(
    document: Annotated[str, typer.Argument(metavar="ID|NAME", help="As mongars documents list shows it.")],
    user: UserOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Forget a document and every passage of it; the file on your disk stays. Prints what the receipt says."""
    with own_gateway(state, user, "mongars documents") as gateway:
        receipt = gateway.ask("DELETE", f"/api/v1/documents/{_id_of(gateway, document)}")
    if as_json:
        answer(receipt)
    else:
        line(f"Forgotten: {receipt['removed']['messages']} passages. Receipt {receipt['receipt_id']}.")


def _id_of(gateway: Gateway, wanted: str) -> str:
    for document in gateway.pages("/api/v1/documents", "documents", most=_MOST_LISTED):
        if wanted in (document["document_id"], document["name"]):
            return str(document["document_id"])
    raise CommandError(f"there is no document {wanted}", "see: mongars documents list", code=Exit.REFUSED)
