"""A night as people have it: what was said is digested, what changed is seen and undone, a bad edit undoes itself."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.e2e.person import Meet, Person
from tests.support.installation import Installation

APPLIED_WITHIN_S = 60.0
UNDONE_WITHIN_S = 60.0
PER_SECOND = 5
THINGS = ("kayak", "piano", "bicycle", "telescope", "beehive", "greenhouse", "sledge", "loom", "sailboat", "kiln")


def turns() -> list[dict[str, Any]]:
    """Forty, each with a courtesy and something that happened at a time that is only hinted at."""
    start = datetime(2024, 5, 1, 9, 0, tzinfo=UTC)
    return [
        {
            "id": f"t/{number}",
            "conversation_id": f"talk-{number // 8}",
            "speaker": "Odile",
            "text": f"Thanks, that is so kind of you! I repaired the {thing} number {number} yesterday at the harbour,"
            " with my brother Emil and both of his daughters. How are you?",
            "at": (start + timedelta(days=number)).isoformat(),
        }
        for number, thing in enumerate(THINGS * 4)
    ]


def found(person: Person, question: str) -> list[dict[str, Any]]:
    answer = person.http.get("/api/v1/memories", params={"q": question, "budget_tokens": 300})
    answer.raise_for_status()
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


def becomes(seen: Callable[[], bool], limit_s: float) -> bool:
    """Asks until it is so; the service itself is what is waited for."""
    began, pause = time.monotonic(), threading.Event()
    while not seen():
        if time.monotonic() - began > limit_s:
            return False
        pause.wait(0.2)
    return True


def change(admin: Person, change_id: str) -> dict[str, Any]:
    told: dict[str, Any] = admin.http.get(f"/api/v1/changes/{change_id}").raise_for_status().json()
    return told


def as_admin(made: Installation, meet: Meet) -> Person:
    key = made.mongars("keys", "create", "--user", "admin", "--name", "night", "--scope", "admin").strip()
    return meet(made, key=key)


def whole(admin: Person) -> bool:
    told = admin.http.get("/api/v1/changes/verify").raise_for_status().json()
    return told["broken_at"] is None and told["entry_broken_at"] is None


def test_a_night_tells_what_was_said_in_fewer_words_and_is_undone_by_one_command(
    make_installation: Callable[..., Installation], meet: Meet
) -> None:
    made = make_installation()
    made.up()
    made.wait_whole()
    person, admin = meet(made, "odile"), as_admin(made, meet)
    person.http.post("/api/v1/memories/import", json={"turns": turns()}).raise_for_status()
    before = found(person, "When did Odile repair the telescope?")
    assert not any(item.get("digest") for item in before)
    cycle = json.loads(made.mongars("sleep", "now", "--phase", "light", "--wait", "--json"))
    assert cycle["phases"][0]["changes"], cycle["phases"]
    (change_id,) = cycle["phases"][0]["changes"]
    (decided,) = cycle["changes"]
    assert (decided["change_id"], decided["state"]) == (change_id, "applied"), "what it proposed is waited for"
    steps = change(admin, change_id)["steps"]
    assert [step["state"] for step in steps] == ["proposed", "evaluated", "applied"]
    assert steps[1]["measured"]
    assert becomes(lambda: any(item.get("digest") for item in found(person, "the telescope")), APPLIED_WITHIN_S)
    after = found(person, "When did Odile repair the telescope?")
    texts = " ".join(item["text"] for item in after)
    assert "3 May 2024" in texts
    assert "so kind of you" not in texts
    assert all(item["sources"] for item in after if item.get("digest"))
    made.mongars("sleep", "rollback", change_id)
    assert becomes(lambda: not any(i.get("digest") for i in found(person, "the telescope")), APPLIED_WITHIN_S)
    assert "rolled back" in made.mongars("sleep", "ledger", change_id)
    assert whole(admin)


def test_a_bad_setting_is_proposed_stopped_and_forced_by_commands(
    make_installation: Callable[..., Installation], meet: Meet
) -> None:
    made = make_installation()
    made.up()
    made.wait_whole()
    admin = as_admin(made, meet)
    weights = admin.http.get("/api/v1/settings").json()["settings"]["recall_weights"]

    def proposed(key: str, value: Any) -> str:
        told = json.loads(made.mongars("sleep", "propose", key, json.dumps(value), "--reason", "on purpose", "--json"))
        return str(told["change_id"])

    zeroed, shorter = proposed("recall_weights", dict.fromkeys(weights, 0.0)), proposed("recall_k", 4)
    assert becomes(lambda: change(admin, zeroed)["state"] == "rejected", APPLIED_WITHIN_S)
    assert becomes(lambda: change(admin, shorter)["state"] == "evaluated", APPLIED_WITHIN_S)
    assert "nothing would be found" in made.mongars("sleep", "ledger", zeroed)
    assert admin.http.get("/api/v1/settings").json()["settings"]["recall_weights"] == weights
    assert "rejected" in made.mongars("sleep", "reject", shorter)
    refused = made.run("sleep", "approve", shorter)
    assert (refused.returncode, "mongars sleep ledger" in refused.stderr) == (5, True)
    assert json.loads(made.mongars("sleep", "approve", zeroed, "--json"))["state"] == "applied"
    made.mongars("sleep", "rollback", zeroed)
    assert whole(admin)


@contextmanager
def asked_again_and_again(person: Person) -> Iterator[None]:
    """Five questions a second, each about something that was said."""
    over, questions = threading.Event(), [f"Who repaired the {thing}?" for thing in THINGS]

    def ask() -> None:
        number = 0
        while not over.wait(1 / PER_SECOND):
            body = {
                "messages": [{"role": "user", "content": questions[number % len(questions)]}],
                "model": "extractive",
            }
            person.http.post("/v1/chat/completions", json=body).raise_for_status()
            number += 1

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield
    finally:
        over.set()
        asking.join(30)


@pytest.mark.soak
def test_recall_weights_that_an_administrator_zeroed_come_back_by_themselves_within_a_minute(
    make_installation: Callable[..., Installation], meet: Meet
) -> None:
    made = make_installation()
    made.up()
    made.wait_whole()
    person, admin = meet(made, "odile"), as_admin(made, meet)
    person.http.post("/api/v1/memories/import", json={"turns": turns()}).raise_for_status()
    weights = admin.http.get("/api/v1/settings").json()["settings"]["recall_weights"]
    with asked_again_and_again(person):
        threading.Event().wait(15)  # what is usual has to be known
        zeroed = {"key": "recall_weights", "value": dict.fromkeys(weights, 0.0), "reason": "on purpose"}
        edit = admin.http.patch("/api/v1/settings", json=zeroed).raise_for_status().json()
        began = time.monotonic()
        assert becomes(lambda: change(admin, edit["change_id"])["state"] == "rolled_back", UNDONE_WITHIN_S)
        print(f"undone after {time.monotonic() - began:.1f} s")
    last = change(admin, edit["change_id"])["steps"][-1]
    assert (last["actor"], last["measured"][0]["measure"]) == ("optimizer", "recall_evidence")
    assert admin.http.get("/api/v1/settings").json()["settings"]["recall_weights"] == weights
    assert whole(admin)
