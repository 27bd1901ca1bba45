"""``mongars service install`` where systemd really runs: started with the machine, as nobody else, stopped in order."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.person import Person
from tests.support import containers
from tests.support.containers import Container, container

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(bool(containers.lacks()), reason=f"a machine with systemd: {containers.lacks()}"),
]
_UNIT = "mongars.service"
_FACT = "My sister Odile moved to Chicoutimi in May."
_START_S = 120.0
_KEY = ("keys", "create", "--user", "ada", "--name", "test", "--memory", "read-write", "--state", "/var/lib/mongars")


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Container]:
    with container(tmp_path) as made:
        made.boot()
        yield made


def until(seen: Callable[[], bool], timeout_s: float = _START_S) -> bool:
    begun = time.monotonic()
    while not seen():
        if time.monotonic() - begun > timeout_s:
            return False
        time.sleep(0.2)
    return True


def url(machine: Container) -> str:
    marker = machine.root / "var/lib/mongars/installation.json"
    return f"http://127.0.0.1:{json.loads(marker.read_text())['ports']['http']}"


def ready(machine: Container) -> bool:
    try:
        with urllib.request.urlopen(f"{url(machine)}/readyz", timeout=5) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


def started(machine: Container) -> bool:
    """Whether what systemd runs has come to the end of its start, and waits for being stopped."""
    main = machine.shown(_UNIT, "MainPID")
    said = machine.run("journalctl", "--no-pager", "--output=cat", f"_PID={main}").stdout
    return main != "0" and "monGARS " in said and ready(machine)


def journal(machine: Container) -> str:
    return machine.run("journalctl", "--unit", _UNIT, "--no-pager").stdout


def owners(machine: Container) -> set[str]:
    """Of every process that is the product's."""
    said = machine.run("ps", "-eo", "user:32=,args=").stdout.splitlines()
    return {row.split()[0] for row in said if "/opt/mongars/" in row or "postgres:" in row}


def test_a_service_starts_with_the_machine_as_its_own_user_and_leaves_when_it_is_removed(machine: Container) -> None:
    said = machine.mongars("service", "install")
    assert "it runs, and starts with the machine" in said
    assert "password" in said, "of the first start, shown here and in no journal"
    assert until(lambda: started(machine)), journal(machine)
    assert "password" not in journal(machine)
    assert owners(machine) == {"mongars"}
    ada = Person(url(machine), machine.mongars(*_KEY, user="mongars").strip())
    told = ada.say(_FACT)

    machine.halt()
    machine.boot()
    assert until(lambda: started(machine)), journal(machine)
    assert _FACT in [message["text"] for message in ada.messages(told.conversation_id)]
    ada.close()

    main = machine.shown(_UNIT, "MainPID")
    machine.run("kill", "-KILL", main)
    assert until(lambda: machine.shown(_UNIT, "MainPID") not in ("0", main) and started(machine)), journal(machine)

    for ended in (lambda: True, lambda: started(machine)):  # in the middle of a start, and after it
        assert machine.run("systemctl", "restart", _UNIT).returncode == 0
        assert until(lambda: "Preparing" in journal(machine).rpartition("Started ")[2])
        assert until(ended)
        assert machine.run("systemctl", "stop", _UNIT).returncode == 0
        assert machine.shown(_UNIT, "Result") == "success", journal(machine)
        assert not owners(machine)

    assert machine.run("systemctl", "start", _UNIT).returncode == 0
    assert until(lambda: started(machine)), journal(machine)
    machine.mongars("service", "remove")
    assert not (machine.root / "etc/systemd/system" / _UNIT).exists()
    assert (machine.root / "var/lib/mongars/installation.json").exists(), "the installation stays"
    assert not owners(machine)
    assert "There was no service" in machine.mongars("service", "remove")

    machine.mongars("service", "install")
    machine.mongars("uninstall", "--yes")
    assert not (machine.root / "etc/systemd/system" / _UNIT).exists()
    assert not (machine.root / "var/lib/mongars").exists()
    assert "mongars" not in (machine.root / "etc/passwd").read_text()


def test_a_service_of_ones_own_starts_without_a_login_and_keeps_secrets_out_of_the_journal(machine: Container) -> None:
    for command in (("useradd", "--create-home", "ada"), ("loginctl", "enable-linger", "ada")):
        assert machine.run(*command).returncode == 0
    number = machine.run("id", "-u", "ada").stdout.strip()
    bus = f"/run/user/{number}"
    assert until(lambda: machine.run("test", "-S", f"{bus}/systemd/private").returncode == 0)
    hers = (
        "runuser",
        "-u",
        "ada",
        "--",
        "env",
        f"XDG_RUNTIME_DIR={bus}",
        "HOME=/home/ada",
        containers.PYTHON,
        "-m",
        "cli",
    )
    said = machine.run(*hers, "service", "install")
    assert said.returncode == 0, said.stdout + said.stderr
    assert "password" in said.stdout

    def answers() -> bool:
        return machine.run(*hers, "status").returncode == 0

    assert until(answers)
    machine.halt()
    machine.boot()
    assert until(answers)
    logged = machine.run("journalctl", "--no-pager", f"_UID={number}").stdout
    assert "Starting PostgreSQL" in logged
    assert "password" not in logged
    assert machine.run(*hers, "service", "remove").returncode == 0
    assert not owners(machine)
