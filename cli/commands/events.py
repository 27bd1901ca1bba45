"""``mongars events``: what happens in the installation, as it happens."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

from cli.errors import CommandError, Exit
from cli.options import JsonOption, StateOption, UserOption, line, own_gateway

PATH = "/api/v1/events"
_KEY_NAME = "mongars events"


def events(
    types: Annotated[
        list[str] | None,
        typer.Option(
            "--type",
            metavar="TYPE",
            help="run.changed, run.progressed, adapter.changed, sleep.changed or change.changed; may be repeated. "
            "Without it all of them.",
        ),
    ] = None,
    user: UserOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tell what happens from now on: runs, adapters, the night, the ledger, as its account may see it. Ctrl-C ends it.

    Without --user it is told what an administrator may see. With --json one JSON object a line: id, type, data.
    Exit code 3: the gateway stopped; what happened meanwhile is then for the lists to say (mongars train status,
    mongars models adapters list).
    """
    with own_gateway(state, user, _KEY_NAME, all_rights=True) as gateway:
        for event in gateway.events(PATH, type=types or None):
            if as_json:
                sys.stdout.write(json.dumps(event) + "\n")
                sys.stdout.flush()
            else:
                line(said(event["type"], event["data"]))
    raise CommandError("the stream of events has ended", "see: mongars status", code=Exit.NOT_RUNNING)


def said(kind: str, data: dict[str, Any]) -> str:
    """An event in words."""
    match kind:
        case "run.changed":
            return f"run {data['run_id']}: {data['state']}" + (f" ({data['error']})" if data["error"] else "")
        case "run.progressed":
            from cli.training.showing import standing
            from libs.shared.contracts.training import RunProgress

            progress = RunProgress.model_validate_json(json.dumps(data["progress"]))
            return f"run {data['run_id']}: {standing(progress)}"
        case "adapter.changed":
            share = f" for {data['share']:.0%} of {data['role']}" if data["share"] else ""
            return f"adapter {data['adapter']}: {data['change'].replace('_', ' ')}{share}"
        case "sleep.changed":
            from cli.sleeping.showing import standing as of_sleep
            from libs.shared.contracts.sleep import Cycle

            return f"sleep {data['cycle_id'][:12]}: {of_sleep(Cycle.model_validate_json(json.dumps(data)))}"
        case "change.changed":
            return f"change {data['change_id']} of {data['key']}: {data['state'].replace('_', ' ')}"
        case "lost":
            return "something was missed: mongars train status and mongars models adapters list have how it stands"
        case "ended":
            return f"ended: {data['reason']}"
    return f"{kind}: {json.dumps(data)}"
