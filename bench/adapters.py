"""How soon answers come from an adapter that was promoted, and no longer from one that was rolled back.

A tiny model in an installation of its own is asked again and again from the moment at which the call was made. Counted
is until the first request left that the other answered, and until the whole of that answer had come, which on a busy
machine is mostly the answering.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bench.installing import Installation, command, installed
from bench.memory_client import Client
from bench.report import Aim, finish, table
from tests.support import adapters, language_model

AIM_S = 1.0
OFFERED_S = 60.0
_CHECK_EVERY_S = 0.02
ASKED = {"messages": [{"role": "user", "content": "the cat sat"}], "store": False, "max_tokens": 2, "temperature": 0}


class Change(NamedTuple):
    """Seconds after a call."""

    left: float
    """When the first request left that the other answered."""
    answered: float


def until_answered_by(user: Client, model: str, since: float) -> Change:
    """Raises RuntimeError when it never is."""
    while (left := time.perf_counter()) - since < OFFERED_S:
        answer, _ = user.ask("POST", "/v1/chat/completions", ASKED)
        if answer["model"] == model:
            return Change(left - since, time.perf_counter() - since)
    raise RuntimeError(f"{model} never answered, for {left - since:.0f} s")


def until_offered(admin: Client, since: float) -> float:
    """Seconds. Raises RuntimeError when no node offers it."""
    while time.perf_counter() - since < OFFERED_S:
        if admin.ask("GET", "/api/v1/adapters")[0]["items"][0]["nodes"]:
            return time.perf_counter() - since
        time.sleep(_CHECK_EVERY_S)
    raise RuntimeError("no node offers the adapter")


def rounds(admin: Client, user: Client, number: int) -> tuple[list[Change], list[Change]]:
    """Each promotion, and each roll-back."""
    promoted, rolled_back = [], []
    for _ in range(number):
        began = time.perf_counter()
        admin.ask("POST", "/api/v1/adapters/pirate/promote", {})
        promoted.append(until_answered_by(user, "tiny:pirate", began))
        began = time.perf_counter()
        admin.ask("POST", "/api/v1/adapters/pirate/rollback")
        rolled_back.append(until_answered_by(user, "tiny", began))
    return promoted, rolled_back


def measured(installation: Installation, folder: Path, number: int) -> tuple[float, list[Change], list[Change]]:
    """Seconds from keeping an adapter until a node offers it, each promotion, and each roll-back."""
    made = ("keys", "create", "--user", "admin", "--name", "bench-admin", "--scope", "admin")
    admin = Client(installation.url, command(installation.environment, *made).strip())
    user = Client(installation.url, installation.key("ada", "off"))
    source = adapters.write_gguf(folder, "pirate", seed=0)
    command(installation.environment, "models", "adapters", "import", str(source))
    offered_s = until_offered(admin, time.perf_counter())
    return offered_s, *rounds(admin, user, number)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--quick", action="store_true", help="eight rounds")
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args(arguments)
    number = 8 if given.quick else given.rounds
    path = str(language_model.cached() / language_model.GGUF_FILE)
    models = json.dumps([{"name": "tiny", "backend": "llama_cpp", "path": path}])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with installed(folder, MONGARS_MODELS=models, MONGARS_DEFAULT_CONTEXT_TOKENS="512") as installation:
            offered_s, promoted, rolled_back = measured(installation, folder / "trained", number)
    rows = [(what, *_spread(changes)) for what, changes in (("promoted", promoted), ("rolled back", rolled_back))]
    print(f"offered by a node {offered_s:.2f} s after the command that imported it\n")
    print(table(("", "left: median, s", "slowest, s", "answered: median, s", "slowest, s"), rows))
    figures = {"offered_s": offered_s, "promoted_s": promoted, "rolled_back_s": rolled_back}
    finish([Aim("slowest roll-back", max(change.left for change in rolled_back), AIM_S, "s")], figures, given.json)


def _spread(changes: Sequence[Change]) -> tuple[str, ...]:
    columns = (sorted(change.left for change in changes), sorted(change.answered for change in changes))
    return tuple(f"{value:.3f}" for times in columns for value in (times[len(times) // 2], times[-1]))


if __name__ == "__main__":
    main()
