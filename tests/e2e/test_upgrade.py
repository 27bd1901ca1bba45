"""From the release before to this one: with everything, or not at all."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.upgrade.upgrading import installed_code
from cli.upgrade.versions import Age, Written, judge
from tests.support import previous_release
from tests.support.installation import Installation, installation

pytestmark = pytest.mark.timeout(900)
"""Of two versions, each is started several times."""
_SAID = ("My sister Odile moved to Chicoutimi in May.", "I work at the town library.")
_NOTE = "The spare key hangs in the barn."
_KEPT = ("broker", "database", "keys", "slots", "installation.json")


@pytest.fixture(scope="module")
def old_code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return previous_release.unpack(tmp_path_factory.mktemp("code") / "mongars")


@pytest.fixture(scope="module")
def old_state(tmp_path_factory: pytest.TempPathFactory, old_code: Path) -> tuple[Path, dict[str, Any], str]:
    """A stopped state folder that the release before made and filled; what it knew then; a key."""
    state = tmp_path_factory.mktemp("before") / "state"
    with installation(state) as made:
        made.code = old_code
        made.up()
        for text in _SAID:
            made.mongars("chat", "--user", "ada", "--message", text)
        made.mongars("memory", "add", _NOTE, "--user", "ada")
        assert made.wait_until(lambda: len(known(made)["fact"]) > 0, 60), "no fact was drawn"
        key, before = made.key("ada"), known(made)
        made.down()

    return state, before, key


@pytest.fixture
def stopped(old_state: tuple[Path, dict[str, Any], str], tmp_path: Path) -> Iterator[Installation]:
    """A copy of it, under today's command."""
    with installation(tmp_path / "state") as made:
        subprocess.run(["cp", "-a", str(old_state[0]), str(made.state)], check=True)
        yield made


def known(of: Installation) -> dict[str, Any]:
    """What is remembered, by kind, and what an answer would recall."""
    kinds = ("note", "message", "fact")
    listed = {
        kind: json.loads(of.mongars("memory", "list", "--kind", kind, "--user", "ada", "--json")) for kind in kinds
    }
    return {kind: sorted(row["text"] for row in rows) for kind, rows in listed.items()}


def recalled(of: Installation) -> bool:
    return "Chicoutimi" in of.mongars("chat", "--user", "ada", "--message", "Where does Odile live?")


def kept(state: Path) -> dict[str, str]:
    """Everything that an upgrade might change, by its content."""
    paths = (path for name in _KEPT for path in (state / name, *(state / name).rglob("*")) if path.is_file())
    return {str(path.relative_to(state)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def test_this_version_is_newer_than_the_release_before() -> None:
    age, _ = judge(Written(previous_release.VERSION, None), installed_code())
    assert age is Age.OLDER, "raise the version in pyproject.toml, and run: make install"


def test_an_upgrade_keeps_everything_and_leaves_nothing_lying(
    stopped: Installation, old_state: tuple[Path, dict[str, Any], str]
) -> None:
    said = stopped.up()
    assert "admin" not in said
    assert stopped.status()["version"] == installed_code().version
    assert not (stopped.state / "upgrade").exists()
    assert json.loads(stopped.mongars("upgrade", "--json"))["upgraded"] is False
    assert known(stopped) == old_state[1]
    assert recalled(stopped)


def test_an_upgrade_that_fails_is_undone_and_the_version_before_runs_on(
    stopped: Installation, old_state: tuple[Path, dict[str, Any], str], old_code: Path
) -> None:
    before = kept(stopped.state)
    broken = Installation(stopped.state, {**stopped.environment, "MONGARS_DATABASE_POOL_SIZE": "0"})
    ran = broken.run("up", "--detach")
    assert ran.returncode == 1
    assert "everything is as it was before" in ran.stderr
    assert "git checkout v0.1.0 && make install" in ran.stderr
    assert kept(stopped.state) == before
    assert stopped.processes() == []
    again = stopped.run("up", "--detach")
    assert again.returncode == 1
    assert "failed before" in again.stderr, "a service that restarts would copy and fail for ever"
    assert kept(stopped.state) == before
    earlier = Installation(stopped.state, stopped.environment, code=old_code)
    earlier.up()
    assert known(earlier) == old_state[1]
    earlier.down()
    said = json.loads(stopped.mongars("upgrade", "--json"))
    assert said == {"upgraded": True, "from": "0.1.0", "to": installed_code().version, "running": False}
    assert stopped.processes() == []


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param("Copying", marks=pytest.mark.soak),
        pytest.param("Starting the broker", marks=pytest.mark.soak),
        pytest.param("Preparing streams", marks=pytest.mark.soak),
    ],
)
def test_an_upgrade_that_was_killed_is_undone_and_done_by_the_next_start(
    stopped: Installation, old_state: tuple[Path, dict[str, Any], str], moment: str
) -> None:
    with subprocess.Popen(
        stopped.command("upgrade"), env=stopped.shell, stderr=subprocess.PIPE, text=True, cwd=stopped.code
    ) as upgrading:
        assert upgrading.stderr is not None
        assert any(moment in line for line in iter(upgrading.stderr.readline, ""))
        upgrading.kill()
    stopped.up()
    assert stopped.status()["version"] == installed_code().version
    assert not (stopped.state / "upgrade").exists()
    assert known(stopped) == old_state[1]


@pytest.mark.parametrize("command", [("up", "--detach"), ("upgrade",)])
def test_what_a_newer_version_wrote_is_left_alone(stopped: Installation, command: tuple[str, ...]) -> None:
    path = stopped.state / "installation.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"product_version": "9.9.9", "commit": "abc"}))
    before = kept(stopped.state)
    ran = stopped.run(*command)
    assert ran.returncode == 5
    assert "9.9.9" in ran.stderr
    assert "git checkout abc" in ran.stderr
    assert kept(stopped.state) == before


def test_data_of_an_older_postgresql_is_refused_with_what_to_install(stopped: Installation) -> None:
    (stopped.state / "database" / "data" / "PG_VERSION").write_text("17\n")
    before = kept(stopped.state)
    ran = stopped.run("upgrade")
    assert ran.returncode == 1
    assert "apt-get install postgresql-17-pgvector" in ran.stderr
    assert "--old-binaries" in ran.stderr
    assert kept(stopped.state) == before
