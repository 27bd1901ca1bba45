"""As many processes as the ledger says: more and fewer under load with nothing lost, and none at all not for long."""

from __future__ import annotations

import json
import threading
import time
import xmlrpc.client
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import pytest

from cli.installation import load
from libs.shared.supervisor import called
from tests.e2e.person import Meet, Person
from tests.support.installation import Installation

SOON_S = 30.0
UNDONE_WITHIN_S = 60.0
PER_SECOND = 5
TALKERS = 4
BY_ITSELF = {"MONGARS_SCALING": "", "MONGARS_SCALING_WORKERS": "cognition=1-2"}
"""Unset, as people have it: processes, where there is a supervisor."""
DOWN_WITHIN_S = 30.0


def as_admin(made: Installation, meet: Meet) -> Person:
    key = made.mongars("keys", "create", "--user", "admin", "--name", "scaling", "--scope", "admin").strip()
    return meet(made, key=key)


def scaled(made: Installation) -> dict[str, Any]:
    """What ``mongars sleep status`` says of cognition."""
    (told,) = json.loads(made.mongars("sleep", "status", "--json"))["scaling"]
    found: dict[str, Any] = told
    return found


def workers(made: Installation) -> list[str]:
    return [name for name in made.status()["services"] if name.startswith("cognition")]


def ask_for(admin: Person, count: int) -> str:
    body = {"key": "workers", "value": {"cognition": count}, "reason": "on purpose"}
    change: dict[str, Any] = admin.http.patch("/api/v1/settings", json=body).raise_for_status().json()
    return str(change["change_id"])


def change(admin: Person, change_id: str) -> dict[str, Any]:
    told: dict[str, Any] = admin.http.get(f"/api/v1/changes/{change_id}").raise_for_status().json()
    return told


def turns_counted(admin: Person) -> float:
    """By all processes of cognition, of what they did."""
    lines = admin.http.get("/metrics").raise_for_status().text.splitlines()
    return sum(
        float(one.split()[-1]) for one in lines if one.startswith("gen_ai_client_operation_duration_seconds_count")
    )


class Talkers:
    """Several who ask without a pause, or so often a second; what was answered, and what wasn't."""

    def __init__(self, people: list[Person], every_s: float) -> None:
        self._people, self._every_s = people, every_s
        self._over = threading.Event()
        self.answered = 0
        self.lost: list[str] = []

    def talk(self, person: Person) -> None:
        while not self._over.wait(self._every_s):
            body = {"messages": [{"role": "user", "content": "Where is the kettle?"}], "model": "extractive"}
            try:
                person.http.post("/v1/chat/completions", json=body).raise_for_status()
                self.answered += 1
            except httpx.HTTPError as error:
                self.lost.append(repr(error))

    @contextmanager
    def talking(self) -> Iterator[None]:
        threads = [threading.Thread(target=self.talk, args=(person,)) for person in self._people]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join(60)


def test_cognition_grows_and_shrinks_under_load_without_losing_an_answer_and_down_ends_all(
    make_installation: Callable[..., Installation], meet: Meet
) -> None:
    made = make_installation(**BY_ITSELF)
    made.up()
    made.wait_whole()
    admin, talkers = as_admin(made, meet), Talkers([meet(made, "odile") for _ in range(TALKERS)], 0.0)
    with talkers.talking():
        ask_for(admin, 2)
        assert made.wait_until(lambda: scaled(made)["running"] == 2, SOON_S)
        assert workers(made) == ["cognition", "cognition-2"]
        assert made.wait_until(lambda: "service_started" in made.log("cognition-2"), SOON_S)
        threading.Event().wait(2)  # both are at work
        counted = [turns_counted(admin) for _ in range(8)]
        assert counted == sorted(counted), "what one process counted is never left out"
        assert counted[0] > 0
        ask_for(admin, 1)
        assert made.wait_until(lambda: workers(made) == ["cognition"], SOON_S)
        threading.Event().wait(1)
    assert not talkers.lost
    assert talkers.answered > 10 * TALKERS
    assert "service_retiring" in made.log("cognition-2")
    ask_for(admin, 2)
    assert made.wait_until(lambda: scaled(made)["running"] == 2, SOON_S)
    supervisor = load(made.state).reachable.supervisor_socket
    for name in ("persistence", "broker", "cognition-2", "nothing"):
        with pytest.raises(xmlrpc.client.Fault, match="BAD_NAME"):
            called(supervisor, "mongars.scale", name, 0, timeout_s=5)
    killed = made.kill("cognition-2")
    assert made.wait_until(lambda: made.pid("cognition-2") not in (killed, None), SOON_S), "it is started again"
    made.down()
    assert not made.processes()
    made.up()
    assert made.wait_until(lambda: workers(made) == ["cognition", "cognition-2"], SOON_S), "the ledger still says 2"


def answers_under_way_while_it_shrinks(
    make_installation: Callable[..., Installation], meet: Meet, **environment: str
) -> list[str]:
    """What became of eight answers of four seconds, of which about half were a worker's that was to go; a stop gives
    one second."""
    slow = json.dumps([{"name": "slow", "backend": "tests.support.slow_backend:SlowBackend", "options": {"slots": 8}}])
    made = make_installation(**BY_ITSELF, MONGARS_MODELS=slow, MONGARS_DRAIN_TIMEOUT_S="1", **environment)
    made.up()
    made.wait_whole()
    admin = as_admin(made, meet)
    ask_for(admin, 2)
    assert made.wait_until(lambda: "service_started" in made.log("cognition-2"), SOON_S)
    begun, people = threading.Barrier(9), [meet(made, "odile") for _ in range(8)]

    def ask(person: Person) -> str:
        body = {"messages": [{"role": "user", "content": "Hm"}], "model": "slow", "max_tokens": 40, "stream": True}
        begun.wait(30)
        with person.http.stream("POST", "/v1/chat/completions", json=body) as reply:
            return reply.read().decode().strip().rpartition("data: ")[2]

    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(ask, person) for person in people]
        begun.wait(30)
        threading.Event().wait(1.5)
        ask_for(admin, 1)
        ended = [one.result(60) for one in asked]
    assert made.wait_until(lambda: workers(made) == ["cognition"], SOON_S)
    return ended


def test_a_worker_that_goes_ends_the_answers_that_it_has_begun(
    make_installation: Callable[..., Installation], meet: Meet
) -> None:
    assert answers_under_way_while_it_shrinks(make_installation, meet) == ["[DONE]"] * 8


def test_answers_break_off_where_a_worker_that_goes_has_no_time_for_them(
    make_installation: Callable[..., Installation], meet: Meet
) -> None:
    hasty = {"MONGARS_RETIRE_TIMEOUT_S": "0.1"}
    assert answers_under_way_while_it_shrinks(make_installation, meet, **hasty) != ["[DONE]"] * 8


@pytest.mark.soak
def test_a_count_of_nought_is_refused_where_it_is_judged_and_undone_where_it_was_forced(
    make_installation: Callable[..., Installation], meet: Meet
) -> None:
    made = make_installation(**BY_ITSELF)
    made.up()
    made.wait_whole()
    admin, talkers = as_admin(made, meet), Talkers([meet(made, "odile") for _ in range(10)], 10 / PER_SECOND)
    operator = meet(
        made, key=made.mongars("keys", "create", "--user", "admin", "--name", "o", "--scope", "operator").strip()
    )
    with talkers.talking():
        threading.Event().wait(12)  # what is usual has to be known
        proposed = ask_for(operator, 0)
        assert made.wait_until(lambda: change(admin, proposed)["state"] == "rejected", SOON_S)
        assert "nothing would answer" in change(admin, proposed)["steps"][-1]["reason"]
        assert not talkers.lost
        forced = ask_for(admin, 0)
        began = time.monotonic()
        assert made.wait_until(lambda: change(admin, forced)["state"] == "rolled_back", UNDONE_WITHIN_S)
        undone_s = time.monotonic() - began
        made.wait_ready()
        print(f"undone after {undone_s:.1f} s, answered again after {time.monotonic() - began:.1f} s")
    last = change(admin, forced)["steps"][-1]
    assert (last["actor"], last["measured"][0]["measure"]) == ("optimizer", "error_share")
    assert "ended with an error" in last["reason"]
    assert admin.http.get("/api/v1/settings").json()["settings"]["workers"] == {}
    assert talkers.lost, "the guardrail saw what people saw"
    verified = admin.http.get("/api/v1/changes/verify").raise_for_status().json()
    assert verified["broken_at"] is None


def test_down_waits_for_no_worker_that_takes_its_time_to_go(
    make_installation: Callable[..., Installation], meet: Meet
) -> None:
    slow = json.dumps([{"name": "slow", "backend": "tests.support.slow_backend:SlowBackend", "options": {"slots": 8}}])
    made = make_installation(**BY_ITSELF, MONGARS_MODELS=slow, MONGARS_DRAIN_TIMEOUT_S="1")
    made.up()
    made.wait_whole()
    admin, people = as_admin(made, meet), [meet(made, "odile") for _ in range(8)]
    ask_for(admin, 2)
    assert made.wait_until(lambda: "service_started" in made.log("cognition-2"), SOON_S)

    def ask(person: Person) -> None:
        body = {"messages": [{"role": "user", "content": "Hm"}], "model": "slow", "max_tokens": 1200, "stream": True}
        with suppress(httpx.HTTPError), person.http.stream("POST", "/v1/chat/completions", json=body) as reply:
            reply.read()

    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(ask, person) for person in people]
        threading.Event().wait(1.5)
        ask_for(admin, 1)
        assert made.wait_until(lambda: "service_retiring" in made.log("cognition-2"), SOON_S)
        threading.Event().wait(0.5)
        assert made.pid("cognition-2") is not None, "it has two minutes of answers to end"
        began = time.monotonic()
        made.down()
        assert time.monotonic() - began < DOWN_WITHIN_S
        for one in asked:
            one.result(60)
