"""The life of an installation through the command alone: up, again, Ctrl-C, down, and what gets in the way."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.support import faults
from tests.support.installation import Installation, installation

_TIMEOUT_S = 60.0
TRAINER_BYTES = 90e6


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """The installation of this file; tests take it as ``running`` or as ``stopped``, whichever they begin with."""
    with installation(tmp_path_factory.mktemp("life") / "state") as made:
        made.up()
        made.wait_whole()
        yield made


@pytest.fixture
def running(one: Installation) -> Installation:
    if not one.ready():
        one.up()
        one.wait_whole()
    return one


@pytest.fixture
def stopped(one: Installation) -> Installation:
    one.down()
    return one


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def change_marker(of: Installation, **changes: object) -> None:
    path = of.state / "installation.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def logs_in(of: Installation, name: str, password: str) -> bool:
    form = urllib.parse.urlencode({"username": name, "password": password, "grant_type": "password"}).encode()
    try:
        with urllib.request.urlopen(f"{of.url}/api/v1/auth/token", data=form, timeout=10) as reply:
            return bool(json.load(reply)["access_token"])
    except urllib.error.HTTPError:
        return False


def refused(ran: subprocess.CompletedProcess[str]) -> str:
    """What a command that failed said: one line with the problem, one with the remedy, no traceback."""
    assert ran.returncode not in (0, 130), ran.stdout
    assert "Traceback" not in ran.stderr
    assert re.search(r"^mongars: .+", ran.stderr, re.MULTILINE), ran.stderr
    assert re.search(r"^  remedy: .+", ran.stderr, re.MULTILINE), ran.stderr
    return ran.stderr


def test_the_administrators_password_is_shown_at_the_first_start_and_works(running: Installation) -> None:
    assert running.admin is not None
    assert logs_in(running, running.admin["name"], running.admin["one_time_password"])
    assert not logs_in(running, running.admin["name"], "wrong")


def test_starting_again_changes_nothing_and_shows_no_password(running: Installation) -> None:
    before = running.status()["services"]
    said = running.up()
    assert said["already_running"] is True
    assert "admin" not in said
    assert running.status()["services"] == before


def test_a_password_that_was_never_shown_is_replaced_by_another(running: Installation) -> None:
    assert running.admin is not None
    old = dict(running.admin)
    change_marker(running, admin_announced=False)  # as a start leaves it that was killed before it printed
    said = running.up()
    assert said["admin"]["one_time_password"] != old["one_time_password"]
    assert not logs_in(running, "admin", old["one_time_password"])
    assert logs_in(running, "admin", said["admin"]["one_time_password"])


def test_status_names_every_part_with_its_process(running: Installation) -> None:
    said = running.status()
    assert list(said["services"]) == [
        *("broker", "database", "persistence", "scheduler", "inference", "cognition", "api", "trainer", "optimizer"),
    ]
    for row in said["services"].values():
        assert row["state"] == "running"
        os.kill(row["pid"], 0)
    assert said["ready"] is True
    assert said["degraded"] == ["no-model"]
    assert Path(said["nats"]["operator_nkey"]).read_text().startswith("SU")
    assert said["state"] == str(running.state)


def test_the_caretaker_runs_small_and_tells_of_its_duties(running: Installation) -> None:
    told = running.status()["caretaker"]
    assert told["state"] == "running"
    assert psutil.Process(told["pid"]).memory_info().rss < 40e6
    assert running.wait_until(lambda: bool(running.status()["caretaker"]["duties"]), timeout_s=15)
    assert all(duty["ok"] for duty in running.status()["caretaker"]["duties"].values())


def test_the_trainer_waits_small_without_its_libraries(running: Installation) -> None:
    process = psutil.Process(running.status()["services"]["trainer"]["pid"])
    loaded = " ".join(mapped.path for mapped in process.memory_maps())
    assert "torch" not in loaded
    assert "numpy" not in loaded
    assert process.memory_info().rss < TRAINER_BYTES


def test_the_optimizer_waits_small_without_what_its_nights_need(running: Installation) -> None:
    process = psutil.Process(running.status()["services"]["optimizer"]["pid"])
    loaded = " ".join(mapped.path for mapped in process.memory_maps())
    for library in ("numpy", "scipy", "torch"):
        assert library not in loaded
    assert process.memory_info().rss < TRAINER_BYTES


def test_an_installation_is_ready_without_its_trainer_and_the_next_up_starts_it(running: Installation) -> None:
    faults.ask(running, "stopProcess", "trainer")
    said = running.status()
    assert said["ready"] is True
    assert said["services"]["trainer"]["state"] == "stopped"
    assert said["dependencies"]["trainer"]["ok"] is False
    assert running.up()["already_running"] is True
    running.wait_whole()


def test_status_costs_little_more_than_its_libraries(running: Installation) -> None:
    def cpu_s(run: Callable[[], object]) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        run()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    libraries = [sys.executable, "-c", "import asyncio, pydantic, rich.console, typer"]
    bare = cpu_s(lambda: subprocess.run(libraries, check=True))
    assert cpu_s(lambda: running.mongars("status", "--json")) < 4 * bare


@pytest.mark.alone
def test_a_killed_service_is_back_within_five_seconds_and_counted(running: Installation) -> None:
    before = running.status()["services"]["api"]["restarts"]
    assert running.kill_and_wait("api") < 5
    assert running.status()["services"]["api"]["restarts"] == before + 1


def test_a_key_is_printed_alone_and_opens_the_gateway(running: Installation) -> None:
    key = running.key("ada")
    assert re.fullmatch(r"mgk_[A-Za-z0-9_-]{43}", key)
    request = urllib.request.Request(f"{running.url}/v1/models", headers={"authorization": f"Bearer {key}"})
    with urllib.request.urlopen(request, timeout=10) as reply:
        assert reply.status == 200


def test_keys_are_listed_without_their_secret_and_end_when_revoked(running: Installation) -> None:
    key = running.key("grace", memory="read")
    (row,) = json.loads(running.mongars("keys", "list", "--user", "grace", "--json"))
    assert row["memory"] == "read"
    assert key.startswith(row["prefix"])
    assert key not in json.dumps(row)
    running.mongars("keys", "revoke", row["key_id"], "--user", "grace")
    assert json.loads(running.mongars("keys", "list", "--user", "grace", "--json")) == []


def status_of(of: Installation, path: str, key: str) -> int:
    request = urllib.request.Request(f"{of.url}{path}", headers={"authorization": f"Bearer {key}"})
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_a_keys_scopes_decide_what_it_opens(running: Installation) -> None:
    running.mongars("users", "create", "operative", "--role", "operator", "--no-password")

    def opened(*scopes: str) -> tuple[int, int, int]:
        options = [part for scope in scopes for part in ("--scope", scope)]
        key = running.mongars("keys", "create", "--user", "operative", "--name", "x", *options).strip()
        models, nodes, metrics = (status_of(running, path, key) for path in ("/v1/models", "/api/v1/nodes", "/metrics"))
        return models, nodes, metrics

    assert opened() == (200, 403, 403)
    assert opened("metrics") == (403, 403, 200)
    assert opened("operator") == (200, 200, 200)
    assert opened("user", "metrics", "user") == (200, 403, 200)
    listed = json.loads(running.mongars("keys", "list", "--user", "operative", "--json"))
    assert [row["scopes"] for row in listed] == [["user", "metrics"], ["operator"], ["metrics"], []]


def test_a_key_that_is_refused_makes_no_account(running: Installation) -> None:
    refused(running.run("keys", "create", "--user", "nobody", "--name", "x", "--scope", "operator"))
    assert "nobody" not in {user["name"] for user in json.loads(running.mongars("users", "list", "--json"))}


def test_lists_for_people_line_up_and_cut_nothing_off(running: Installation) -> None:
    running.mongars("keys", "create", "--user", "lister", "--name", "n" * 64, "--scope", "user")
    (row,) = json.loads(running.mongars("keys", "list", "--user", "lister", "--json"))
    titles, shown = running.mongars("keys", "list", "--user", "lister").splitlines()
    assert shown.startswith(row["key_id"])
    assert "n" * 64 in shown
    assert shown[titles.index("scopes") :].startswith("user ")
    assert running.mongars("keys", "list", "--user", "lister").count("\n") == 2


def test_a_new_user_logs_in_with_the_password_that_was_printed(running: Installation) -> None:
    said = json.loads(running.mongars("users", "create", "edsger", "--json"))
    assert said["must_change_password"] is True
    assert logs_in(running, "edsger", said["one_time_password"])
    assert {"admin", "edsger"} <= {user["name"] for user in json.loads(running.mongars("users", "list", "--json"))}


def tokens_of(of: Installation, path: str, body: bytes, kind: str) -> dict[str, str]:
    request = urllib.request.Request(f"{of.url}/api/v1/auth/{path}", data=body, headers={"content-type": kind})
    with urllib.request.urlopen(request, timeout=10) as reply:
        return dict(json.load(reply))


def test_a_reset_password_lets_a_locked_out_person_in_and_ends_what_was_open(running: Installation) -> None:
    old = json.loads(running.mongars("users", "create", "niklaus", "--json"))["one_time_password"]
    form = urllib.parse.urlencode({"username": "niklaus", "password": old}).encode()
    session = tokens_of(running, "token", form, "application/x-www-form-urlencoded")
    key = running.key("niklaus")
    assert status_of(running, "/api/v1/users/me", session["access_token"]) == 403, "a password has to be chosen"
    for _ in range(6):
        assert not logs_in(running, "niklaus", "wrong")
    assert not logs_in(running, "niklaus", old), "six wrong passwords were to lock the account"
    said = json.loads(running.mongars("users", "reset-password", "niklaus", "--json"))
    assert not logs_in(running, "niklaus", old)
    assert logs_in(running, "niklaus", said["one_time_password"])
    assert status_of(running, "/api/v1/users/me", session["access_token"]) == 401
    with pytest.raises(urllib.error.HTTPError, match="401"):
        tokens_of(
            running, "refresh", json.dumps({"refresh_token": session["refresh_token"]}).encode(), "application/json"
        )
    assert status_of(running, "/v1/models", key) == 200, "API keys stay"


@pytest.mark.parametrize(
    "arguments",
    [
        ("users", "create", "admin"),
        ("users", "create", "two words"),
        ("users", "create", "x", "--role", "king"),
        ("keys", "create", "--user", "ada", "--name", "x", "--memory", "some"),
        ("keys", "create", "--user", "ada", "--name", "x", "--expires", "yesterday"),
        ("keys", "create", "--user", "ada", "--name", ""),
        ("keys", "create", "--user", "two words", "--name", "x"),
        ("keys", "create", "--user", "ada", "--name", "x", "--scope", "king"),
        ("keys", "create", "--user", "nobody", "--name", "x", "--scope", "operator"),
        ("users", "create", "x" * 65),
        ("users", "reset-password", "nobody"),
        ("keys", "list", "--user", "nobody"),
        ("keys", "revoke", "two words", "--user", "admin"),
        ("keys", "revoke", "unknown", "--user", "admin"),
        ("chat", "--user", "ada", "--message", " "),
        ("logs", "nothing"),
        ("up", "--detach", "--port", "1"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_remedy(running: Installation, arguments: tuple[str, ...]) -> None:
    refused(running.run(*arguments))


def test_a_fact_told_in_one_chat_is_quoted_in_the_next(running: Installation) -> None:
    running.mongars("chat", "--user", "lovelace", "--message", "My dog is called Pascaline.")

    def quoted() -> bool:
        said = json.loads(
            running.mongars("chat", "--user", "lovelace", "--message", "What is my dog called?", "--json")
        )
        assert said["degraded"] == "no-model"
        return "Pascaline" in said["answer"]

    until(quoted, "not recalled")
    assert (
        json.loads(running.mongars("keys", "list", "--user", "lovelace", "--json")) == []
    )  # a chat's key ends with it


def test_an_installation_with_its_own_database_is_not_moved_to_another(running: Installation) -> None:
    elsewhere = Installation(
        running.state, {**running.environment, "MONGARS_DATABASE_URL": "postgresql://ada:s3cret@db/mongars"}
    )
    said = refused(elsewhere.run("up", "--detach"))
    assert "a PostgreSQL of its own" in said
    assert "unset MONGARS_DATABASE_URL" in said
    assert "s3cret" not in said
    assert running.ready()


def test_a_supervisor_that_was_killed_leaves_nothing_in_the_way_of_the_next_start(running: Installation) -> None:
    supervisor = int((running.state / "run" / "supervisor.pid").read_text())
    before = {row["pid"] for row in running.status()["services"].values()}
    os.kill(supervisor, signal.SIGKILL)
    running.up()
    running.wait_whole()
    after = {row["pid"] for row in running.status()["services"].values()}
    assert not before & after
    assert not before & set(running.processes())


def test_down_leaves_no_process_and_says_so_the_second_time(running: Installation) -> None:
    assert running.processes()
    assert json.loads(running.mongars("down", "--json")) == {"stopped": True}
    assert running.processes() == []
    assert json.loads(running.mongars("down", "--json")) == {"stopped": False}


def test_what_is_stopped_says_so(stopped: Installation) -> None:
    ran = stopped.run("status", "--json")
    assert ran.returncode == 3
    assert json.loads(ran.stdout)["running"] is False
    refused(stopped.run("keys", "create", "--user", "ada", "--name", "x"))
    refused(stopped.run("chat", "--message", "hello"))
    assert "mongars up" in refused(stopped.run("users", "reset-password", "admin"))


def test_a_folder_of_a_newer_version_is_refused_and_left_alone(stopped: Installation) -> None:
    marker = (stopped.state / "installation.json").read_text()
    try:
        change_marker(stopped, format=99, product_version="9.9.9")
        assert "9.9.9" in refused(stopped.run("up", "--detach"))
    finally:
        (stopped.state / "installation.json").write_text(marker)


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [("MONGARS_MAX_QUEUE", "-1", "max_queue"), ("MONGARS_DATABASE_POOL_SIZE", "0", "database_pool_size")],
)
def test_a_part_that_cannot_start_is_named_with_its_last_words_and_everything_stops(
    stopped: Installation, setting: str, value: str, words: str
) -> None:
    broken = Installation(stopped.state, {**stopped.environment, setting: value})
    assert words in refused(broken.run("up", "--detach"))
    assert stopped.processes() == []


def test_a_taken_port_is_named_and_nothing_is_left_running(stopped: Installation) -> None:
    port = urllib.parse.urlsplit(stopped.url).port
    with socket.create_server(("127.0.0.1", port or 0)):
        said = refused(stopped.run("up", "--detach"))
    assert f"port {port}" in said
    assert "--port" in said
    assert stopped.processes() == []


def test_an_interrupted_start_stops_what_it_had_started(stopped: Installation) -> None:
    with subprocess.Popen(stopped.command("up"), env=stopped.shell, stderr=subprocess.PIPE, text=True) as starting:
        assert starting.stderr is not None
        assert any("PostgreSQL" in line for line in iter(starting.stderr.readline, ""))
        starting.send_signal(signal.SIGINT)
        starting.stderr.read()
        assert starting.wait(_TIMEOUT_S) == 130
    assert stopped.processes() == []


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_in_the_foreground_a_signal_drains_and_stops_everything(stopped: Installation, sent: signal.Signals) -> None:
    with subprocess.Popen(stopped.command("up"), env=stopped.shell, stdout=subprocess.PIPE, text=True) as foreground:
        assert foreground.stdout is not None
        assert any("Ctrl-C" in line for line in iter(foreground.stdout.readline, ""))
        foreground.send_signal(sent)
        assert "Stopped." in foreground.stdout.read()
        assert foreground.wait(_TIMEOUT_S) == 0
    assert stopped.processes() == []
    assert "service_stopped" in stopped.log("api").splitlines()[-1]


def test_a_start_that_was_killed_is_finished_by_the_next(stopped: Installation) -> None:
    with subprocess.Popen(stopped.command("up"), env=stopped.shell, stderr=subprocess.PIPE, text=True) as starting:
        assert starting.stderr is not None
        assert any("broker" in line for line in iter(starting.stderr.readline, ""))
        starting.kill()
    stopped.up()
    assert stopped.ready()


def test_a_taken_brokers_port_is_changed_quietly(stopped: Installation) -> None:
    port = urllib.parse.urlsplit(stopped.status()["nats"]["url"]).port
    with socket.create_server(("127.0.0.1", port or 0)):
        stopped.up()
    assert stopped.status()["nats"]["url"] != f"nats://127.0.0.1:{port}"


def test_a_taken_port_at_the_first_start_makes_nothing(tmp_path: Path) -> None:
    fresh = Installation(tmp_path / "state")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refused(fresh.run("up", "--detach", "--port", str(port)))
    assert f"port {port}" in said
    assert not fresh.state.exists()


def test_two_installations_with_deep_paths_run_side_by_side(running: Installation, tmp_path: Path) -> None:
    with installation(tmp_path / ("d" * 50) / ("e" * 50) / "state") as second:
        second.up()
        assert second.url != running.url
        assert running.ready()
        assert second.ready()
        second.down()
        assert second.processes() == []
        assert running.ready()
