"""What was put to use though it is bad, on whole installations: undone by themselves within a minute, and why."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cli.bus import as_command
from cli.installation import load
from libs.shared.contracts.ledger import (
    DECIDE_CHANGE,
    OPTIMIZER_ACTOR,
    PROPOSE_CHANGE,
    Change,
    DecideChange,
    Decision,
    ProposeChange,
)
from tests.e2e.person import Meet, Person
from tests.e2e.test_sleep import PER_SECOND, THINGS, UNDONE_WITHIN_S, as_admin, becomes, change, turns, whole
from tests.support import adapters, language_model
from tests.support.installation import Installation

pytestmark = pytest.mark.soak
WAIT_S = 120.0
AT_ONCE = 8


@dataclass
class Traffic:
    """Requests at an even pace, and how many ended."""

    ask: Callable[[int], None]
    answered: int = 0
    failed: int = 0
    _over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        began, number = time.monotonic(), 0
        with ThreadPoolExecutor(AT_ONCE) as pool:
            while not self._over.wait(max(0.0, began + number / PER_SECOND - time.monotonic())):
                pool.submit(self._one, number)
                number += 1

    def end(self) -> None:
        self._over.set()

    def _one(self, number: int) -> None:
        try:
            self.ask(number)
            self.answered += 1
        except Exception:
            self.failed += 1
            raise


@contextmanager
def asked(ask: Callable[[int], None]) -> Iterator[Traffic]:
    """Five times a second."""
    traffic = Traffic(ask)
    asking = threading.Thread(target=traffic.run)
    asking.start()
    try:
        yield traffic
    finally:
        traffic.end()
        asking.join(60)


def wait_answered(traffic: Traffic, count: int) -> None:
    wanted = traffic.answered + count
    assert becomes(lambda: traffic.answered >= wanted, WAIT_S), traffic


def undone(admin: Person, change_id: str, traffic: Traffic, what: str) -> dict[str, Any]:
    """Its last step, once it is rolled back; says how long that took."""
    began, before = time.monotonic(), traffic.answered
    over = becomes(lambda: change(admin, change_id)["state"] == "rolled_back", UNDONE_WITHIN_S)
    assert over, change(admin, change_id)
    took_s, requests = time.monotonic() - began, traffic.answered - before
    print(f"\n{what}: undone after {took_s:.1f} s and {requests} requests ({traffic.failed} failed)")
    step: dict[str, Any] = change(admin, change_id)["steps"][-1]
    print(step["reason"])
    return step


def test_an_adapter_that_repeats_itself_is_taken_out_of_service_by_itself_within_a_minute(
    make_installation: Callable[..., Installation], meet: Meet, tmp_path: Path
) -> None:
    tiny = {"name": "tiny", "backend": "llama_cpp", "path": str(language_model.cached() / language_model.GGUF_FILE)}
    made = make_installation(MONGARS_MODELS=json.dumps([tiny]), MONGARS_DEFAULT_CONTEXT_TOKENS="512")
    made.up()
    person, admin = meet(made, "odile"), as_admin(made, meet)
    assert made.wait_until(lambda: "tiny" in {model["id"] for model in person.models()}, WAIT_S)
    source = adapters.write_stuck_gguf(tmp_path / "trained", "stuck")
    made.mongars("models", "adapters", "import", str(source), "--json")

    def adapter() -> dict[str, Any]:
        listed: list[dict[str, Any]] = admin.http.get("/api/v1/adapters").raise_for_status().json()["items"]
        return next(one for one in listed if one["name"] == "stuck")

    assert made.wait_until(lambda: bool(adapter()["nodes"]), WAIT_S)

    def ask(number: int) -> None:
        person.say(f"Who repaired the {THINGS[number % len(THINGS)]}?", store=False, temperature=0, max_tokens=48)

    with asked(ask) as traffic:
        wait_answered(traffic, 40)  # what is usual has to be known
        promoted = admin.http.post("/api/v1/adapters/stuck/promote", json={}).raise_for_status().json()
        step = undone(admin, promoted["change_id"], traffic, "an adapter that repeats itself")
    assert (step["actor"], step["measured"][0]["measure"]) == ("optimizer", "repetition")
    assert "repeat themselves" in step["reason"]
    assert step["measured"][0]["after"] > 0.9
    assert adapter()["in_service"] == []
    answers = [person.say("Who?", store=False, temperature=0, max_tokens=48).body["model"] for _ in range(4)]
    assert answers == ["tiny"] * 4
    assert whole(admin)


async def put_on_trial(made: Installation, key: str, value: Any) -> Change:
    """As if an evaluation had let it pass; the pipeline does what follows."""
    async with as_command(load(made.state)) as bus:
        asked = ProposeChange(key=key, value=value, actor=OPTIMIZER_ACTOR, reason="bad on purpose")
        proposed = await bus.request(PROPOSE_CHANGE, asked)
        accepted = DecideChange(
            change_id=proposed.change_id, decision=Decision.ACCEPT, actor=OPTIMIZER_ACTOR, reason="forced past it"
        )
        return await bus.request(DECIDE_CHANGE, accepted)


def test_zeroed_weights_on_trial_are_ended_by_the_conversations_beside_within_a_minute(
    make_installation: Callable[..., Installation], meet: Meet
) -> None:
    made = make_installation()
    made.up()
    made.wait_whole()
    person, admin = meet(made, "odile"), as_admin(made, meet)
    person.http.post("/api/v1/memories/import", json={"turns": turns()}).raise_for_status()
    weights = admin.http.get("/api/v1/settings").json()["settings"]["recall_weights"]

    def ask(number: int) -> None:
        person.say(f"Who repaired the {THINGS[number % len(THINGS)]}?", model="extractive")

    with asked(ask) as traffic:
        wait_answered(traffic, 220)  # a trial needs to be worth it
        made_change = asyncio.run(put_on_trial(made, "recall_weights", dict.fromkeys(weights, 0.0)))
        assert becomes(lambda: change(admin, made_change.change_id)["state"] == "canary", UNDONE_WITHIN_S)
        shown = admin.http.get("/api/v1/settings").json()
        assert (shown["settings"]["recall_weights"], shown["trial"]["change_id"]) == (weights, made_change.change_id)
        step = undone(admin, made_change.change_id, traffic, f"weights of nothing on {shown['trial']['share']:.0%}")
    assert (step["actor"], step["measured"][0]["measure"]) == ("optimizer", "recall_evidence")
    assert step["measured"][0]["by"] == "canary"
    assert admin.http.get("/api/v1/settings").json()["trial"] is None
    assert whole(admin)
