"""What it costs to find out where a client's turn belongs that resends its history and names no conversation.

A conversation of each length is kept turn by turn, as such a client makes it. Then the same history is sent again and
again with another question: by a client that names the conversation (nothing is to be found) and by one that doesn't.
Beside that, the question alone is asked over the bus, as cognition asks it (``JOIN_TURN``, the newest 64 messages).
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.installing import Installation, installed
from bench.memory_client import Client
from bench.peers import ANSWER_TEXT
from bench.processes import cpu_seconds
from bench.report import Aim, finish, table
from libs.shared.bus.nats import NatsBus
from libs.shared.contracts.base import Principal
from libs.shared.contracts.common import Speaker
from libs.shared.contracts.turns import JOIN_TURN, JoinTurn, Resent
from libs.shared.layout import StateFolder

LENGTHS = (2, 10, 100, 500)
"""Messages of the conversation before the question; a client's first message has nothing to be found by."""
MOST_SENT = 64
"""Cognition sends no more of a history on."""
SHARE_AIM = 0.2
"""Of a turn's processor time at the longest history, what the question alone takes."""
_PARTS = ("api", "cognition", "persistence", "database", "broker")


@dataclass(frozen=True)
class Row:
    """One way of asking at one length: milliseconds, and processor milliseconds a turn by part."""

    messages: int
    way: str
    p50_ms: float
    p95_ms: float
    cpu_ms: dict[str, float]

    def cells(self) -> tuple[object, ...]:
        cpu = [self.cpu_ms[name] for name in _PARTS]
        return (self.messages, self.way, self.p50_ms, self.p95_ms, *cpu, sum(cpu))


def history_of(length: int) -> list[dict[str, str]]:
    """A conversation about something else each time; the answers are the instant backend's."""
    said = [
        {"role": "user", "content": f"In the matter of ledger {length}, what does entry number {n} say of the harvest?"}
        for n in range(0, length, 2)
    ]
    answers = {"role": "assistant", "content": ANSWER_TEXT}
    return [message for question in said for message in (question, answers)][:length]


def measured(running: Installation, messages: int, way: str, turns: int, ask: Callable[[int], float]) -> Row:
    """``ask(n)`` takes so many milliseconds."""
    for n in range(turns, turns + 3):
        ask(n)
    before = {name: cpu_seconds(running.pids[name]) for name in _PARTS}
    took = sorted(ask(n) for n in range(turns))
    cpu = {name: (cpu_seconds(running.pids[name]) - before[name]) * 1000 / turns for name in _PARTS}
    return Row(messages, way, statistics.median(took), took[int(0.95 * (len(took) - 1))], cpu)


def turn(client: Client, history: list[dict[str, str]], question: str, **metadata: str) -> float:
    """Milliseconds of one kept turn."""
    messages = [*history, {"role": "user", "content": question}]
    body = {"model": "instant", "messages": messages, "max_tokens": 16, "metadata": metadata}
    return client.ask("POST", "/v1/chat/completions", body)[1]


def keep(client: Client, history: list[dict[str, str]]) -> str:
    """Lives through the conversation as its client does; its id."""
    known = {row["conversation_id"] for row in conversations(client)}
    for at in range(0, len(history), 2):
        turn(client, history[:at], history[at]["content"])
    deadline = time.monotonic() + 60
    while not (new := {row["conversation_id"] for row in conversations(client)} - known):
        if time.monotonic() > deadline:
            raise RuntimeError("the conversation was not kept")
        time.sleep(0.1)
    if len(new) != 1:
        raise RuntimeError(f"the client's turns made {len(new)} conversations of one")
    return str(new.pop())


def conversations(client: Client) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.ask("GET", "/api/v1/conversations?limit=200")[0]["conversations"]
    return found


def of_turns(running: Installation, client: Client, length: int, turns: int) -> list[Row]:
    """The whole turn, both ways."""
    history = history_of(length)
    conversation = keep(client, history)
    named = measured(
        running,
        length,
        "turn, conversation named",
        turns,
        lambda n: turn(client, history, f"And what of it in the year {n}?", conversation_id=conversation),
    )
    joined = measured(
        running,
        length,
        "turn, joined by its history",
        turns,
        lambda n: turn(client, history, f"And how was it in the year {n}?"),
    )
    if len(conversations(client)) != LENGTHS.index(length) + 1:
        raise RuntimeError("a turn was not joined to its conversation")
    return [named, joined]


def of_question(running: Installation, user_id: str, length: int, turns: int) -> Row:
    """The question alone, over the bus."""
    before = tuple(Resent(speaker=Speaker(m["role"]), text=m["content"]) for m in history_of(length)[-MOST_SENT:])

    with asyncio.Runner() as runner:
        seed = StateFolder(running.state).nkey(Principal.COGNITION)
        bus = runner.run(NatsBus.connect(running.nats_url, principal=Principal.COGNITION, seed_file=seed))

        def ask(n: int) -> float:
            request = JoinTurn(user_id=user_id, before=before, said=(f"And what in {n}?",))
            began = time.perf_counter()
            found = runner.run(bus.request(JOIN_TURN, request))
            took_ms = (time.perf_counter() - began) * 1000
            if found.parent_id is None:
                raise RuntimeError("the history was not found")
            return took_ms

        try:
            return measured(running, length, "JOIN_TURN alone", turns, ask)
        finally:
            runner.run(bus.drain(1.0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="20 turns of each kind instead of 100")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    args = parser.parse_args()
    turns = 20 if args.quick else 100
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="mongars-joining-") as name, installed(Path(name)) as running:
        client = Client(running.url, running.key("bench", "read-write"))
        user_id = client.user_id()
        for length in LENGTHS:
            rows += of_turns(running, client, length, turns)
            rows.append(of_question(running, user_id, length, turns))
            print(f"{length} messages done", flush=True)
    columns = ("messages", "what", "p50 ms", "p95 ms", *(f"{name} CPU ms" for name in _PARTS), "CPU ms")
    print(table(columns, [row.cells() for row in rows]))
    share = sum(rows[-1].cpu_ms.values()) / sum(rows[-2].cpu_ms.values())
    aim = Aim(f"JOIN_TURN's share of a joined turn's CPU at {LENGTHS[-1]} messages", share, SHARE_AIM)
    finish([aim], {"rows": [*map(asdict, rows)]}, args.json)


if __name__ == "__main__":
    main()
