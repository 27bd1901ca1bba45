"""``mongars sleep``: what the installation does for itself while nobody needs it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from cli.errors import CommandError, Exit
from cli.options import JsonOption, StateOption, answer, chosen_installation, line, path_part

if TYPE_CHECKING:
    from pathlib import Path

    from libs.shared.contracts.ledger import Change
    from libs.shared.contracts.sleep import Phase

app = typer.Typer(
    help="Sommeil Paradoxal: while nobody needs it the installation improves itself, each time in phases (light: "
    "memories, deep: settings, paradoxical: what comes next), and makes way for every request at once. Whatever it "
    "changes stands in the ledger and can be undone. docs/sleep.md says when it sleeps, and what each phase does.",
    no_args_is_help=True,
)


@app.command("now")
def now(
    phase: Annotated[
        list[str] | None,
        typer.Option(
            "--phase",
            metavar="NAME",
            help="light, deep or paradoxical; may be repeated. Without it all.",
        ),
    ] = None,
    wait: Annotated[
        bool,
        typer.Option(
            "--wait",
            metavar="",
            help="Show how it goes, until it has ended and what it proposed is decided (at most two minutes more).",
        ),
    ] = False,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Begin a cycle now, without waiting for a quiet time. It makes way for requests, heat and power all the same.

    Ctrl-C leaves it going. Exit code 0: it has begun (with --wait: ended well), 1: with --wait, it didn't end well,
    5: it can't begin, and why: there is nothing to do, or one is under way.
    """
    from cli.sleeping import asking
    from cli.sleeping.changing import DECIDED_WITHIN_S, once_decided, settled
    from cli.sleeping.showing import how_decided, outcomes, standing

    installation = chosen_installation(state)
    cycle = asyncio.run(asking.begin(installation, _phases(phase or [])))
    decided: list[tuple[Change, bool]] = []
    if wait:
        from cli.progress import Progress

        told = Progress(quiet=as_json)
        told.say(f"cycle {cycle.cycle_id}; Ctrl-C leaves it going")
        with told.changing("begins") as say:
            cycle = asyncio.run(asking.follow(installation, cycle, lambda one, held: say(standing(one, held))))
            proposed = [change for phase in cycle.phases for change in phase.changes]
            decided = asyncio.run(once_decided(installation, proposed, say)) if proposed else []
    if as_json:
        changes = {"changes": [change.model_dump(mode="json") | {"waits": waits} for change, waits in decided]}
        answer(cycle.model_dump(mode="json") | (changes if wait else {}))
    else:
        line(f"cycle {cycle.cycle_id}: {standing(cycle)}")
        for said in outcomes(cycle) if wait else ():
            line(f"  {said}")
        for change, waits in decided:
            line(f"  {how_decided(change, waits=waits)}")
        if not all(waits or settled(change) for change, waits in decided):
            line(f"  not all of it is decided after {DECIDED_WITHIN_S:.0f} s: see mongars sleep ledger")
    if wait and cycle.state.value != "done":
        raise typer.Exit(Exit.FAILED)


@app.command("status")
def status(
    cycles: Annotated[int, typer.Option("--cycles", metavar="N", min=0, max=50, help="Of those that ended.")] = 10,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show whether it sleeps, why not, how long it will stay quiet, and the last cycles with what they did."""
    from cli.listing import show
    from cli.sleeping import asking
    from cli.sleeping.showing import CYCLES, facts, outcomes, row

    told = asyncio.run(asking.status(chosen_installation(state), cycles))
    if as_json:
        answer(told.model_dump(mode="json"))
        return
    for name, text in facts(told):
        line(f"{name:<9} {text}")
    if told.cycles:
        line("")
        show(CYCLES, [row(cycle) for cycle in told.cycles], nothing="")
        line("")
        line("the last one:")
        for said in outcomes(told.cycles[0]):
            line(f"  {said}")


@app.command("ledger")
def ledger(
    change: Annotated[str | None, typer.Argument(metavar="[CHANGE]", help="Show what happened to this one.")] = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, max=500, help="The newest so many.")] = 20,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the ledger, newest first: every change of settings, memory digests and adapters, whoever proposed it.

    With a change: what, why, by whom and when, and what was measured before and after it, step by step.
    """
    from cli.listing import show
    from cli.sleeping import asking
    from cli.sleeping.showing import CHANGES, change_row, life_of

    if change is not None:
        change_id = path_part(change, "change", "mongars sleep ledger")
        one = asyncio.run(asking.change(chosen_installation(state), change_id))
        if as_json:
            answer(one.model_dump(mode="json"))
        else:
            for said in life_of(one):
                line(said)
        return
    changes = asyncio.run(asking.ledger(chosen_installation(state), limit))
    if as_json:
        answer([change.model_dump(mode="json") for change in changes])
    else:
        show(CHANGES, [change_row(change) for change in changes], nothing="nothing was changed yet")


@app.command("rollback")
def rollback(
    change: Annotated[str, typer.Argument(metavar="CHANGE", help="As mongars sleep ledger shows it.")],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="For the ledger.")] = "",
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Undo a change: what was in force before it is in force again, at once.

    Exit code 5: there is no such change, or it isn't in force.
    """
    _decide("rollback", change, reason, state, as_json=as_json, then="{key} is as it was")


@app.command("propose")
def propose(
    key: Annotated[str, typer.Argument(metavar="KEY", help="A setting, as docs/configuration.md names it.")],
    value: Annotated[str, typer.Argument(metavar="VALUE", help="In JSON, or a plain word.")],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="For the ledger.")] = "",
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Propose a setting without applying it: it is evaluated on what was really asked, by those who allow that.

    What came of it stands in the ledger within seconds; mongars sleep approve applies it, also where it was refused.

    Exit code 5: there is no such setting, or it doesn't take that value.
    """
    from cli.sleeping import changing

    told = asyncio.run(changing.propose(chosen_installation(state), key, changing.value_of(value), reason))
    if as_json:
        answer(told.model_dump(mode="json"))
    else:
        line(f"{told.change_id}: {told.key} {told.state.value}; its evaluation: mongars sleep ledger {told.change_id}")


@app.command("approve")
def approve(
    change: Annotated[str, typer.Argument(metavar="CHANGE", help="As mongars sleep ledger shows it.")],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="For the ledger.")] = "",
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Allow a change: what a person proposed is applied at once, what the installation found to help goes on its way.

    It is applied also where its evaluation refused it, and is watched like every change.

    Exit code 5: there is no such change, it is over, or its setting has another value by now.
    """
    _decide(
        "approve", change, reason, state, as_json=as_json, then="what becomes of {key}: mongars sleep ledger {change}"
    )


@app.command("reject")
def reject(
    change: Annotated[str, typer.Argument(metavar="CHANGE", help="As mongars sleep ledger shows it.")],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="For the ledger.")] = "",
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Refuse a change that isn't in force.

    Exit code 5: there is no such change, or it is in force or over.
    """
    _decide("reject", change, reason, state, as_json=as_json, then="{key} stays as it is")


def _decide(verb: str, change: str, reason: str, state: Path | None, *, as_json: bool, then: str) -> None:
    from cli.sleeping import changing
    from libs.shared.contracts.ledger import Decision

    change_id = path_part(change, "change", "mongars sleep ledger")
    told = asyncio.run(changing.decide(chosen_installation(state), change_id, Decision(verb), reason))
    if as_json:
        answer(told.model_dump(mode="json"))
    else:
        state_now = told.state.value.replace("_", " ")
        line(f"{told.change_id}: {state_now}; {then.format(key=told.key, change=told.change_id)}")


def _phases(names: list[str]) -> tuple[Phase, ...]:
    from libs.shared.contracts.sleep import Phase

    try:
        return tuple(Phase(name) for name in names)
    except ValueError:
        known = ", ".join(phase.value for phase in Phase)
        raise CommandError("there is no such phase", f"these are: {known}", code=Exit.USAGE) from None
