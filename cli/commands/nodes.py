"""``mongars nodes``: the machines that answer, how each does, and taking one out for maintenance."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.installation import Installation
from cli.nodes.asking import Background, ask
from cli.options import JsonOption, StateOption, answer, chosen_installation, line

if TYPE_CHECKING:
    from rich.console import Console

    from cli.nodes.draining import Left
    from libs.shared.contracts.scheduling import Node, Nodes

app = typer.Typer(
    help="The machines that answer: how each does, why one isn't chosen, and taking one out for maintenance. On a "
    "terminal the table is live. docs/nodes.md explains each column.",
    invoke_without_command=True,
)
NodeArgument = Annotated[str, typer.Argument(metavar="NODE", help="As mongars nodes shows it.")]
_WIDEST_HISTORY = 60


@app.callback()
def nodes(
    context: typer.Context,
    watch: Annotated[
        bool | None,
        typer.Option(
            "--watch/--once", metavar="", help="Go on until Ctrl-C, or print once; by itself it goes on on a terminal."
        ),
    ] = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show every node with its load, heat, power and speed."""
    if context.invoked_subcommand is not None:
        return
    from rich.console import Console

    installation = chosen_installation(state)
    console = Console(highlight=False)
    if as_json:
        answer(asyncio.run(_list(installation)).model_dump(mode="json"))
    elif console.is_terminal if watch is None else watch:
        with suppress(KeyboardInterrupt):
            asyncio.run(_watch(installation, console))
    else:
        _print(asyncio.run(_list(installation)), console)


@app.command("show")
def show_node(node_id: NodeArgument, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show everything of one node: its replicas, models, breakers, and the last hour."""
    node = asyncio.run(_read(chosen_installation(state), node_id))
    if as_json:
        answer(node.model_dump(mode="json"))
    else:
        _show(node)


@app.command("explain")
def explain(
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME", help="By name or by role; by itself the default one.")
    ] = None,
    prompt_tokens: Annotated[
        int, typer.Option("--prompt-tokens", metavar="N", min=0, help="Tokens that the request has to be read.")
    ] = 500,
    answer_tokens: Annotated[
        int, typer.Option("--answer-tokens", metavar="N", min=1, help="Tokens that may be written.")
    ] = 256,
    background: Annotated[
        Background | None,
        typer.Option(
            "--background",
            metavar="KIND",
            help="Of work that nobody waits for: embed (vectors of what is remembered) or chat (a language model that "
            "reads it).",
        ),
    ] = None,
    waited: Annotated[
        float,
        typer.Option("--waited", metavar="S", min=0, help="How long work in the background has waited, in seconds."),
    ] = 0.0,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show on which node a request would run now, and why on no other. Nothing is placed by asking.

    A request that would be refused, or work that would wait, is explained as well, with exit code 0.
    """
    from cli.listing import show
    from cli.nodes.explaining import ROOM_TITLES, TITLES, headline, room_headline, room_rows, rows

    sizes = {"model": model, "prompt_tokens": prompt_tokens, "max_tokens": answer_tokens}
    told = asyncio.run(ask(chosen_installation(state), background, waited, sizes))
    if as_json:
        answer(told.model_dump(mode="json"))
    elif background is None:
        line(headline(told, prompt_tokens, answer_tokens))
        show(TITLES, rows(told), nothing="no node has spoken yet")
    else:
        line(room_headline(told, background.value, waited))
        show(ROOM_TITLES, room_rows(told), nothing="no node has spoken yet")


@app.command("drain")
def drain(
    node_id: NodeArgument,
    timeout: Annotated[
        float, typer.Option("--timeout", metavar="S", min=0, help="How long to wait for what it has, in seconds.")
    ] = 300.0,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", metavar="", help="Return at once; it finishes what it has all the same.")
    ] = False,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give a node nothing new, and wait until it has finished what it has; then it can be switched off.

    Exit code 4: the time was over first; it goes on draining. A node that is started anew takes requests again.
    """
    told = asyncio.run(_drain(chosen_installation(state), node_id, None if no_wait else timeout, quiet=as_json))
    if as_json:
        answer(told)
    elif no_wait:
        line(f"{node_id} takes nothing new. It has {told['in_flight'] + told['queued']} requests left.")
    else:
        line(f"{node_id} is drained: nothing runs there. mongars nodes undrain {node_id} gives it requests again.")


@app.command("undrain")
def undrain(node_id: NodeArgument, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Give a drained node requests again."""
    told = asyncio.run(_undrain(chosen_installation(state), node_id))
    if as_json:
        answer(told)
    else:
        line(f"{node_id} takes requests again.")


@app.command("invite")
def invite(
    listen: Annotated[
        str | None,
        typer.Option(
            "--listen",
            metavar="ADDRESS[:PORT]",
            help="Where joined machines come in, over TLS; kept for later starts. By itself everywhere, on port 7422 "
            "or the next free one.",
        ),
    ] = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print a code with which one other machine joins, within 15 minutes: there, mongars join -, then the code.

    Whoever has the code first may join and is then sent what is to be answered: carry it as you would a password.
    """
    import time

    from cli.joining.code import encoded
    from cli.joining.invitations import LIFE_S
    from cli.joining.inviting import invite as invited
    from cli.lock import exclusively

    folder = chosen_installation(state).folder
    with exclusively(folder):
        code = invited(chosen_installation(state), listen, time.time())
    if as_json:
        answer({"code": encoded(code), "expires_in_s": LIFE_S, "addresses": list(code.addresses)})
        return
    line(f"On the other machine, within {LIFE_S / 60:.0f} minutes:\n\n  mongars join -\n")
    line(f"and, where it asks, this code, which is good once:\n\n{encoded(code)}\n")
    line(f"It will look for this one at {', '.join(code.addresses)}.")


@app.command("close")
def close(state: StateOption = None, as_json: JsonOption = False) -> None:
    """Close the port by which machines join and come in: who joined is cut off, and open invitations are withdrawn.

    The next mongars nodes invite opens it again, and they come back by themselves; where it was opened with --listen,
    give that again. Without this command it is open while a machine is invited or has joined, and for a quarter of an
    hour after one was removed.
    """
    from cli.joining.inviting import close as closed
    from cli.joining.members import read
    from cli.lock import exclusively

    folder = chosen_installation(state).folder
    with exclusively(folder):
        before = closed(chosen_installation(state))
    cut_off = [member.node_id for member in read(folder)] if before is not None else []
    if as_json:
        answer({"closed": before.model_dump() if before else None, "cut_off": cut_off})
    elif before is None:
        line("The port for other machines was closed already.")
    else:
        line(f"Port {before.port} for other machines is closed. Cut off: {', '.join(cut_off) or 'nobody'}.")
        line(f"To open it there again: mongars nodes invite --listen {before.host}:{before.port}")


@app.command("members")
def members(state: StateOption = None, as_json: JsonOption = False) -> None:
    """List the machines that joined, whether they answer or not, and those that were removed.

    "kept out": this machine now has that one's name. Take it out, and let it join under another.
    """
    from cli import broker
    from cli.joining.members import read_all

    folder = chosen_installation(state).folder
    known = read_all(folder)
    if as_json:
        answer(known.model_dump(mode="json"))
        return
    own = broker.named_last(folder)
    from cli.listing import day, show

    rows = [
        (one.node_id, "kept out" if one.node_id == own else f"joined {day(one.joined_at)}", one.public_key)
        for one in known.nodes
    ]
    rows += [(one.node_id, f"removed {day(one.removed_at)}", one.public_key) for one in known.removed]
    show(("node", "state", "key"), rows, nothing="no machine has joined; mongars nodes invite begins it")


@app.command("remove")
def remove(node_id: NodeArgument, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Take a joined machine out: its key is refused from now on, its connection is cut, and it is forgotten.

    Waits until the broker was seen to refuse it; exit code 4: it was not seen, and the same command tries again.
    What it is answering breaks off: mongars nodes drain NODE first lets it finish.
    """
    from cli import broker
    from cli.lock import exclusively

    folder = chosen_installation(state).folder
    with exclusively(folder):
        installation = chosen_installation(state)
        seen = _take_away(installation, node_id)
    if seen and node_id != broker.named_last(folder):  # one that was kept out: this machine has that name
        asyncio.run(_forget(installation, node_id))
    if as_json:
        answer({"node_id": node_id, "removed": True, "seen_refused": seen})
    elif seen:
        line(f"{node_id} is no node any more: the broker refuses its key, and has no connection of it.")
    else:
        line(f"{node_id} is no node any more. Nothing runs now; the broker will start without its key.")


def _take_away(installation: Installation, node_id: str) -> bool:
    from datetime import UTC, datetime
    from functools import partial

    from cli import broker
    from cli.joining.removing import take_away
    from cli.supervision.place import supervisor_of

    runs = supervisor_of(installation).processes() is not None
    return take_away(
        installation.folder,
        node_id,
        now=datetime.now(UTC),
        nats_url=installation.nats_url,
        admit=partial(broker.admit, installation) if runs else None,
    )


async def _forget(installation: Installation, node_id: str) -> None:
    from cli.bus import as_command
    from cli.nodes.forgetting import forget

    async with as_command(installation) as bus:
        await forget(bus, node_id)


async def _list(installation: Installation) -> Nodes:
    from cli.bus import as_command
    from libs.shared.contracts.base import Empty
    from libs.shared.contracts.scheduling import LIST_NODES

    async with as_command(installation) as bus:
        return await bus.request(LIST_NODES, Empty())


async def _watch(installation: Installation, console: Console) -> None:
    from cli.bus import as_command
    from cli.nodes.watching import watch

    async with as_command(installation) as bus:
        await watch(bus, console)


async def _read(installation: Installation, node_id: str) -> Node:
    from cli.bus import as_command
    from cli.nodes.draining import find
    from libs.shared.contracts.scheduling import NODE_HISTORY, ReadHistory

    async with as_command(installation) as bus:
        node, _ = await find(bus, node_id)
        past = await bus.request(NODE_HISTORY, ReadHistory(node_id=node_id))
    return node.model_copy(update={"history": past.nodes.get(node_id)})


async def _undrain(installation: Installation, node_id: str) -> dict[str, Any]:
    from cli.bus import as_command
    from cli.nodes.draining import set_draining

    async with as_command(installation) as bus:
        return (await set_draining(bus, node_id, draining=False)).model_dump()


async def _drain(installation: Installation, node_id: str, timeout_s: float | None, *, quiet: bool) -> dict[str, Any]:
    from cli.bus import as_command
    from cli.nodes import draining
    from cli.progress import Progress

    progress = Progress(quiet=quiet)
    async with as_command(installation) as bus:
        await draining.set_draining(bus, node_id, draining=True)
        node, every = await draining.find(bus, node_id)
        lost = draining.only_there(node_id, every)
        if lost:
            progress.say(f"While it is drained no node serves: {', '.join(lost)}")
        about = {"node_id": node_id, "draining": True, "served_nowhere_else": list(lost)}
        if timeout_s is None:
            return about | {"in_flight": node.telemetry.in_flight, "queued": node.telemetry.queued}
        try:
            with progress.changing(f"{node_id} finishes what it has") as change:
                took_s = await draining.wait_until_done(
                    bus, node_id, timeout_s=timeout_s, tell=lambda left: change(_words(node_id, left))
                )
        except asyncio.CancelledError:
            progress.say(f"{node_id} goes on draining; mongars nodes undrain {node_id} ends it.")
            raise
    return about | {"in_flight": 0, "queued": 0, "waited_s": round(took_s, 1)}


def _words(node_id: str, left: Left) -> str:
    if not left.requests:
        return f"{node_id} has nothing left"
    return f"{node_id}: {left.in_flight} at work, {left.queued} waiting, {left.tokens} tokens"


def _print(told: Nodes, console: Console) -> None:
    """Once; a pipe gets every column, in full."""
    from cli.listing import show
    from cli.nodes.table import COLUMNS, cells
    from cli.nodes.watching import picture

    if console.is_terminal:
        console.print(picture(told.nodes, console.width))
        return
    columns = [cells(column, told.nodes) for column in COLUMNS]
    show([c.title for c in COLUMNS], list(zip(*columns, strict=True)), nothing="no node has spoken yet")


def _show(node: Node) -> None:
    from rich.console import Console

    from cli.listing import show, show_facts
    from cli.nodes import showing
    from libs.shared.contracts.scheduling import NodeHistory

    console = Console(highlight=False, soft_wrap=True)
    console.print(node.telemetry.node_id, style="bold", markup=False)
    show_facts(console, showing.facts(node))
    past = node.history or NodeHistory(every_s=0)
    tables: tuple[tuple[tuple[str, ...], list[tuple[str, ...]]], ...] = (
        (showing.REPLICA_TITLES, showing.replica_rows(node)),
        (showing.MODEL_TITLES, showing.model_rows(node)),
        (showing.history_titles(past), showing.history_rows(past, _WIDEST_HISTORY)),
    )
    for titles, rows in tables:
        if rows:
            console.print()
            show(titles, rows, nothing="")
