"""``mongars memory``: what the assistant remembers of you, in your hands."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cli.errors import CommandError, Exit
from cli.listing import day_of, shortened, show
from cli.options import JsonOption, StateOption, UserOption, answer, line, own_gateway, path_part

if TYPE_CHECKING:
    from cli.gateway import Gateway

app = typer.Typer(
    help="What the assistant remembers: search, list, add, edit, pin, forget, import, export.", no_args_is_help=True
)
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="As mongars memory search and list show it.")]
ImportanceOption = Annotated[
    float | None, typer.Option("--importance", metavar="0..1", min=0, max=1, help="How much it matters.")
]
_KEY_NAME = "mongars memory"
_PATH = "/api/v1/memories"
_SHOWN = 400
_ROW = 90


@app.command("search")
def search(
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="In your words, in English or French.")],
    k: Annotated[int, typer.Option("-k", metavar="N", min=1, max=100, help="Most memories.")] = 10,
    budget_tokens: Annotated[
        int | None,
        typer.Option("--budget-tokens", metavar="N", min=1, help="As many of the best as fit into N tokens."),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", metavar="", help="Show every part of the scores, and what was understood.")
    ] = False,
    user: UserOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find memories, best first. Times such as "last May" are counted from this machine's clock."""
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    with own_gateway(state, user, _KEY_NAME) as gateway:
        found = gateway.ask("GET", _PATH, q=question, k=k, budget_tokens=budget_tokens, explain=explain, now=now)
    if as_json:
        answer(found)
        return
    if found["degraded"]:
        sys.stderr.write(f"(degraded: {found['degraded']})\n")
    if not found["items"]:
        sys.stderr.write("nothing was found\n")
    for item in found["items"]:
        _show_found(item)
    if explain and found["understood"]:
        line(f"understood: {_pairs(found['understood'])}")


def _show_found(item: dict[str, Any]) -> None:
    where = f", {item['title']}" + (f" p. {item['page']}" if item["page"] else "") if item["title"] else ""
    marks = " pinned" if item["pinned"] else ""
    line(f"{item['score']:.2f}  {day_of(item['at'])}  {item['speaker']}{where}{marks}  [{item['id']}]")
    line(f"      {shortened(item['text'], _SHOWN)}")
    if item["parts"]:
        line(f"      {_pairs(item['parts'])}")


def _pairs(told: dict[str, Any]) -> str:
    return ", ".join(
        f"{name} {value:.3f}" if isinstance(value, float) else f"{name} {value}" for name, value in told.items()
    )


@app.command("list")
def list_memories(
    kind: Annotated[
        Literal["message", "note", "passage", "fact"] | None,
        typer.Option("--kind", metavar="KIND", help="message, note, passage or fact; without it all but facts."),
    ] = None,
    pinned: Annotated[bool, typer.Option("--pinned", metavar="", help="Only what is pinned.")] = False,
    past: Annotated[bool, typer.Option("--past", metavar="", help="Of facts: those that no longer hold.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", metavar="N", min=1, help="How many, newest first.")] = 50,
    user: UserOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """List memories, newest first. Facts are those that still hold, unless --past asks for the others."""
    if past and kind != "fact":
        raise CommandError("--past is of facts", "say --kind fact", code=Exit.USAGE)
    current = (not past) if kind == "fact" else None
    with own_gateway(state, user, _KEY_NAME) as gateway:
        items = gateway.pages(_PATH, "items", most=limit, kind=kind, pinned=pinned or None, current=current)
    if as_json:
        answer(items)
        return
    show(
        ("id", "kind", "date", "who", "text"),
        [(i["id"], i["kind"], day_of(i["at"]), i["speaker"], shortened(i["text"], _ROW)) for i in items],
        nothing="nothing is remembered yet",
    )


@app.command("show")
def show_memory(
    memory: IdArgument, user: UserOption = None, state: StateOption = None, as_json: JsonOption = False
) -> None:
    """Show one memory whole, with the facts that were drawn from it."""
    with own_gateway(state, user, _KEY_NAME) as gateway:
        item = gateway.ask("GET", f"{_PATH}/{_safe(memory)}")
    if as_json:
        answer(item)
        return
    line(item["text"])
    line("")
    for name in ("id", "kind", "at", "speaker", "conversation_id", "source_id", "title", "page", "importance"):
        if item[name] is not None:
            line(f"{name:<16}{item[name]}")
    line(f"{'pinned':<16}{'yes' if item['pinned'] else 'no'}")
    for fact in item["facts"]:
        line(f"{'fact':<16}{fact['text']} ({day_of(fact['valid_from'])} to {_end(fact)})")


def _end(fact: dict[str, Any]) -> str:
    return day_of(fact["valid_to"]) if fact["valid_to"] else "now"


@app.command("add")
def add(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What to remember; - reads it from standard input.")],
    at: Annotated[
        str | None, typer.Option("--at", metavar="DATE", help="When it was, such as 2026-05-01; without it: now.")
    ] = None,
    pin_it: Annotated[bool, typer.Option("--pin", metavar="", help="Pin it: it never fades.")] = False,
    importance: ImportanceOption = None,
    user: UserOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Keep a note."""
    body = {"text": _text(text), "at": _moment(at) if at else None, "pinned": pin_it, "importance": importance}
    with own_gateway(state, user, _KEY_NAME, make_user=True) as gateway:
        item = gateway.ask("POST", _PATH, body)
    _told(item, "Kept", as_json)


@app.command("edit")
def edit(
    memory: IdArgument,
    text: Annotated[
        str | None, typer.Option("--text", metavar="TEXT", help="The new words; - reads them from standard input.")
    ] = None,
    importance: ImportanceOption = None,
    user: UserOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change a memory. The old words can't be read again: their key is destroyed."""
    if text is None and importance is None:
        raise CommandError("there is nothing to change", "say --text or --importance", code=Exit.USAGE)
    changes = {"text": _text(text) if text is not None else None, "importance": importance}
    _change(memory, changes, user, state, "Changed", as_json)


@app.command("pin")
def pin(memory: IdArgument, user: UserOption = None, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Pin a memory: it never fades with age."""
    _change(memory, {"pinned": True}, user, state, "Pinned", as_json)


@app.command("unpin")
def unpin(memory: IdArgument, user: UserOption = None, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Let a memory fade with age again."""
    _change(memory, {"pinned": False}, user, state, "Unpinned", as_json)


def _change(
    memory: str, changes: dict[str, Any], user: str | None, state: Path | None, done: str, as_json: bool
) -> None:
    with own_gateway(state, user, _KEY_NAME) as gateway:
        item = gateway.ask("PATCH", f"{_PATH}/{_safe(memory)}", changes)
    _told(item, done, as_json)


def _told(item: dict[str, Any], done: str, as_json: bool) -> None:
    if as_json:
        answer(item)
    else:
        line(f"{done}: {shortened(item['text'], _ROW)} [{item['id']}]")


@app.command("forget")
def forget(
    memory: Annotated[str | None, typer.Argument(metavar="ID", help="Of a memory or a fact.")] = None,
    everything: Annotated[
        bool, typer.Option("--everything", metavar="", help="All conversations, notes, documents and facts.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", metavar="", help="Don't ask before forgetting everything.")] = False,
    user: UserOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Forget a memory with all that was drawn from it, or everything, for good; a receipt says what went."""
    if (memory is None) != everything:
        raise CommandError("what should be forgotten?", "name one memory, or say --everything", code=Exit.USAGE)
    if everything and not yes:
        _confirm()
    with own_gateway(state, user, _KEY_NAME) as gateway:
        if everything:
            receipt = gateway.ask("DELETE", _PATH, confirm="everything")
        else:
            receipt = gateway.ask("DELETE", f"{_PATH}/{_safe(memory or '')}")
    if as_json:
        answer(receipt)
    else:
        line(f"Forgotten: {_removed(receipt)}. Receipt {receipt['receipt_id']}.")
        if receipt.get("tainted_adapters"):
            line(f"Trained on it, and tainted now: {', '.join(receipt['tainted_adapters'])}.")


def _confirm() -> None:
    if not sys.stdin.isatty():
        raise CommandError("nobody can be asked here", "say --yes", code=Exit.USAGE)
    if input("Forget everything, for good? Type everything: ").strip() != "everything":
        raise CommandError("nothing was forgotten", code=Exit.USAGE)


def _removed(receipt: dict[str, Any]) -> str:
    told = [f"{count} {name.replace('_', ' ')}" for name, count in receipt["removed"].items() if count]
    return ", ".join(told) or "nothing was left of it"


@app.command("export")
def export(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to; without it: standard output.")
    ] = None,
    format: Annotated[
        Literal["json", "markdown"],
        typer.Option("--format", metavar="FORMAT", help="json (which can be imported again) or markdown."),
    ] = "json",
    user: UserOption = None,
    state: StateOption = None,
) -> None:
    """Write down everything that is kept of you: conversations, notes, documents' passages, facts."""
    with own_gateway(state, user, _KEY_NAME) as gateway:
        if output is None:
            gateway.download(f"{_PATH}/export", sys.stdout.buffer, format=format)
        else:
            _export_to(output, gateway, format)


def _for_its_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _export_to(output: Path, gateway: Gateway, format: str) -> None:
    """Beside it first, so that a half export never stands in its place; for its owner alone to read."""
    partial = output.with_name(output.name + ".partial")
    try:
        partial.unlink(missing_ok=True)
        with open(partial, "xb", opener=_for_its_owner) as file:
            gateway.download(f"{_PATH}/export", file, format=format)
        partial.replace(output)
    except OSError as error:
        raise CommandError(f"{output} can't be written: {error.strerror}", "choose another place") from None
    finally:
        partial.unlink(missing_ok=True)
    sys.stderr.write(f"written: {output} ({output.stat().st_size} bytes)\n")


@app.command("import")
def import_archive(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The ZIP that you got, or its conversations.json.")],
    user: UserOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Import what ChatGPT, Claude or monGARS exported. A file that was imported already changes nothing.

    Nothing is imported of a file that can't be read whole. Of a ZIP only the conversations are sent.
    """
    from cli.archive_file import sendable
    from cli.import_progress import followed

    with own_gateway(state, user, _KEY_NAME, make_user=True) as gateway, sendable(file) as (content, size):
        done = followed(gateway.lines(f"{_PATH}/import/archive", content, size), quiet=as_json)
    if as_json:
        answer(done)
    else:
        line(
            f"{done['imported']} turns imported, {done['present']} were there already, {done['left_out']} left out; "
            f"{done['notes']} notes, {done['documents']} documents."
        )


@app.command("receipts")
def receipts(
    limit: Annotated[int, typer.Option("--limit", "-n", metavar="N", min=1, help="How many, newest first.")] = 50,
    user: UserOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what was forgotten, as the signed receipts say it; --json prints them whole, to be kept and verified."""
    named: list[dict[str, Any]] = []
    with own_gateway(state, user, _KEY_NAME) as gateway:
        found = gateway.pages("/api/v1/receipts", "receipts", most=limit, beside=("backups", named))
    if as_json:
        answer(found)
        return
    kept = {backup["backup_id"] for backup in named if backup["state"] in ("making", "kept")}
    show(
        ("id", "date", "what", "removed", "backups that hold it"),
        [(r["receipt_id"], day_of(r["at"]), r["scope"], _removed(r), _held(r, kept)) for r in found],
        nothing="nothing was forgotten yet",
    )


def _held(receipt: dict[str, Any], kept: Collection[str]) -> str:
    """Those that the receipt names and that aren't deleted since."""
    return " ".join(one[:8] for one in receipt.get("backups", ()) if one in kept) or "-"


@app.command("verify")
def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A receipt as JSON, or a list of them; - reads them.")],
    key: Annotated[
        str | None,
        typer.Option("--key", metavar="BASE64", help="Who has to have signed; without it: the key in the receipt."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check receipts' signatures, without any installation. Exit code 0: all are genuine; 5: one isn't."""
    from cli.receipts import receipts_in, verdict

    found = [(receipt, verdict(receipt, key)) for receipt in receipts_in(_content(file))]
    if as_json:
        answer([{"receipt_id": r.get("receipt_id"), "key": r.get("key"), "verdict": said} for r, said in found])
    else:
        for receipt, said in found:
            line(f"{receipt.get('receipt_id')}: {said} (key {receipt.get('key')})")
    if any(said != "genuine" for _, said in found):
        raise typer.Exit(Exit.REFUSED)


def _content(file: Path) -> str:
    try:
        return sys.stdin.read() if str(file) == "-" else file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{file} can't be read: {error}", "name a file with receipts", code=Exit.USAGE) from None


def _text(text: str) -> str:
    found = sys.stdin.read() if text == "-" else text
    if not found.strip():
        raise CommandError("the text is empty", "say something", code=Exit.USAGE)
    return found


def _moment(text: str) -> str:
    try:
        return datetime.fromisoformat(text).astimezone().isoformat()
    except (ValueError, OverflowError):
        raise CommandError(f"{text!r} is no date", "say 2026-05-01, or 2026-05-01T18:30", code=Exit.USAGE) from None


def _safe(memory: str) -> str:
    return path_part(memory, "memory", "mongars memory list")
