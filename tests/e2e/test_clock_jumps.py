"""The machine's clock is set while an installation runs: two hours ahead, as after a wrong time server, and back again.

Real processes see it: the supervisor, the services and the caretaker, by libfaketime. The broker makes its own system
calls and the database is started with an environment of its own: both keep the old time, and differ from the services.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.person import Person, log_in_first
from tests.support import clocks, faults
from tests.support.clocks import WallClock
from tests.support.installation import Installation, installation

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(clocks.LIBRARY is None, reason="libfaketime is not installed here (Debian: faketime)"),
]

_TWO_HOURS_S = 7200
_SERVICES = ("persistence", "scheduler", "inference", "cognition", "api", "trainer", "optimizer")
_FACTS = {
    0: "My sister Odile moved to Chicoutimi in May.",
    _TWO_HOURS_S: "The barn behind the house is painted ochre.",
    -_TWO_HOURS_S: "Grandmother's clock stands in the hallway.",
}
_QUESTIONS = {
    0: "Where does my sister Odile live?",
    _TWO_HOURS_S: "Which colour has the barn?",
    -_TWO_HOURS_S: "Where does grandmother's clock stand?",
}


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> WallClock:
    return WallClock(tmp_path_factory.mktemp("clock"))


@pytest.fixture(scope="module")
def set_clock(clock: WallClock, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installation(tmp_path_factory.mktemp("clock") / "state", clock.environment) as made:
        made.up()
        made.wait_whole()
        yield made


@pytest.fixture
def http(set_clock: Installation) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=set_clock.url, timeout=30) as made:
        yield made


class Session:
    """Somebody who logged in, as the console does it: a short access token, and one to refresh it with."""

    def __init__(self, installed: Installation, http: httpx.Client) -> None:
        assert installed.admin is not None
        self._http = http
        name, first = installed.admin["name"], installed.admin["one_time_password"]
        log_in_first(installed.url, name, first, "a longer password for the clock").close()
        self._form = {"username": name, "password": "a longer password for the clock"}
        self._take(self._http.post("/api/v1/auth/token", data=self._form))

    def _take(self, response: httpx.Response) -> None:
        response.raise_for_status()
        self._told: dict[str, Any] = response.json()

    def refresh(self) -> None:
        """Raises httpx.HTTPStatusError for somebody who is logged out."""
        self._take(self._http.post("/api/v1/auth/refresh", json={"refresh_token": self._told["refresh_token"]}))

    def log_in(self) -> None:
        """Raises httpx.HTTPStatusError for somebody who is locked out."""
        self._take(self._http.post("/api/v1/auth/token", data=self._form))

    def status(self) -> int:
        headers = {"authorization": f"Bearer {self._told['access_token']}"}
        return self._http.get("/api/v1/users/me", headers=headers).status_code


def finds(person: Person, question: str, fact: str) -> bool:
    found = person.http.get("/api/v1/memories", params={"q": question})
    return found.status_code == 200 and fact in found.text


def troubles(of: Installation) -> list[str]:
    """What ``/readyz`` complains of: what is degraded, and dependencies that aren't well."""
    said = httpx.get(f"{of.url}/readyz", timeout=10).json()
    unwell = [f"{name}: {row}" for name, row in said["dependencies"].items() if not row["ok"]]
    return [*said["degraded"], *unwell]


def parts(of: Installation) -> dict[str, tuple[int, int]]:
    """By part: process id, restarts."""
    return {name: (row["pid"], row["restarts"]) for name, row in of.status()["services"].items()}


def reached(of: Installation) -> set[str]:
    """The parts that see the clock that the test sets."""
    pids = {name: pid for name, (pid, _) in parts(of).items()}
    pids["supervisor"] = int((of.state / "run" / "supervisor.pid").read_text())
    return {name for name, pid in pids.items() if "libfaketime" in Path(f"/proc/{pid}/maps").read_text()}


def comes_back_from_a_crash_loop(of: Installation, clock: WallClock, jump_s: int) -> bool:
    """The clock is set while the supervisor waits before it tries again: until a moment of that clock."""
    putting = faults.written("run/nats.conf", b"jetstream {{{ nonsense")(of)
    next(putting)
    of.kill("broker")
    assert of.wait_until(lambda: of.status()["services"]["broker"]["state"] == "backoff", 60)
    clock.set(jump_s)
    assert next(putting, None) is None
    return of.wait_until(lambda: of.pid("broker") is not None and of.ready(), 60)


def test_two_hours_forward_and_back_lose_nothing_and_lock_nobody_out(
    set_clock: Installation, clock: WallClock, meet: Callable[..., Person], http: httpx.Client
) -> None:
    installed = set_clock
    assert reached(installed) >= {*_SERVICES, "supervisor"}
    ada, session = meet(installed, "ada"), Session(installed, http)
    told = ada.say(_FACTS[0])
    assert installed.wait_until(lambda: finds(ada, _QUESTIONS[0], _FACTS[0]), 60)
    before = parts(installed)
    known = [0]
    for jump_s in (_TWO_HOURS_S, -_TWO_HOURS_S):
        clock.set(max(0, jump_s))
        assert session.status() in (200, 401), "an access token may end early"
        session.refresh()
        assert session.status() == 200
        session.log_in()
        assert session.status() == 200
        ada.say(_FACTS[jump_s], conversation_id=told.conversation_id)
        known.append(jump_s)
        found = installed.wait_until(lambda: all(finds(ada, _QUESTIONS[fact], _FACTS[fact]) for fact in known), 60)
        assert found, [(fact, finds(ada, _QUESTIONS[fact], _FACTS[fact])) for fact in known]
        assert installed.wait_until(lambda: troubles(installed) == ["no-model"], 30), troubles(installed)
    assert parts(installed) == before, "nothing was restarted by it"
    said = [row for row in ada.messages(told.conversation_id) if row["speaker"] == "user"]
    assert [row["text"] for row in said] == [_FACTS[jump_s] for jump_s in known], "in the order in which it was said"
    at = [datetime.fromisoformat(row["at"]) for row in said]
    assert at[1] - at[0] > timedelta(seconds=_TWO_HOURS_S - 60), "the services saw it"
    assert at[2] < at[1]


def test_the_supervisor_starts_again_what_ends_while_the_clock_is_set(
    set_clock: Installation, clock: WallClock
) -> None:
    for jump_s in (_TWO_HOURS_S, 0):
        assert comes_back_from_a_crash_loop(set_clock, clock, jump_s)
