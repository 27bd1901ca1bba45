"""An installation on a PostgreSQL that somebody else runs: a second real server stands in for theirs."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from cli.database import inspection
from cli.database.external import parse
from cli.errors import CommandError
from tests.support.database import Cluster, running_cluster
from tests.support.installation import Installation, installation

_PASSWORD = "tr@b:ajo/1"


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    """Asks for passwords, over a socket and over TCP alike."""
    with running_cluster() as cluster:
        cluster.sql(f"CREATE ROLE ada LOGIN PASSWORD '{_PASSWORD}'")
        cluster.sql(f"CREATE ROLE bob LOGIN PASSWORD '{_PASSWORD}'")
        hba = cluster.folder / "data" / "pg_hba.conf"
        hba.write_text("local all mongars trust\nlocal all all scram-sha-256\n")
        cluster.sql("SELECT pg_reload_conf()")
        yield cluster


def database(server: Cluster, *, vector: bool = True, owner: str = "ada") -> str:
    name = server.copy_of("template0")
    server.sql(f"ALTER DATABASE {name} OWNER TO {owner}")
    if vector:
        server.sql("CREATE EXTENSION vector", name)
    return name


def url(server: Cluster, name: str, *, user: str = "ada", password: str = _PASSWORD) -> str:
    secret = f":{quote(password, safe='')}" if password else ""
    return f"postgresql://{user}{secret}@/{name}?host={server.folder / 'run'}"


def on(made: Installation, address: str) -> Installation:
    """The same installation, for whoever has ``MONGARS_DATABASE_URL`` in the shell."""
    return Installation(made.state, {**made.environment, "MONGARS_DATABASE_URL": address})


def refused(ran: subprocess.CompletedProcess[str]) -> str:
    assert ran.returncode not in (0, 130), ran.stdout
    assert "Traceback" not in ran.stderr
    assert "  remedy: " in ran.stderr
    assert _PASSWORD not in ran.stderr
    assert quote(_PASSWORD, safe="") not in ran.stderr
    return ran.stderr


@pytest.fixture(scope="module")
def name(server: Cluster) -> str:
    return database(server)


@pytest.fixture(scope="module")
def one(server: Cluster, name: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installation(tmp_path_factory.mktemp("external") / "state") as made:
        on(made, url(server, name)).up()
        yield made


def holding(folder: Path, secret: str) -> list[str]:
    """The files that have ``secret`` in them."""
    spellings = (secret.encode(), quote(secret, safe="").encode())
    files = (path for path in folder.rglob("*") if path.is_file())
    return [path.name for path in files if any(spelling in path.read_bytes() for spelling in spellings)]


def test_it_keeps_its_data_there_and_has_no_database_of_its_own(one: Installation, server: Cluster, name: str) -> None:
    said = one.status()
    assert said["ready"] is True
    assert said["database"] == {"url": url(server, name, password=""), "external": True}
    assert "database" not in said["services"]
    assert not (one.state / "database").exists()
    one.key("grace")
    assert server.sql("SELECT name FROM users WHERE name = 'grace'", name) == "grace"


def test_the_password_lies_in_one_private_file_and_in_no_process(one: Installation) -> None:
    assert holding(one.state, _PASSWORD) == ["database.password"]
    assert (one.state / "keys" / "database.password").stat().st_mode & 0o777 == 0o600
    for pid in one.processes():
        environment = Path(f"/proc/{pid}/environ").read_bytes() + Path(f"/proc/{pid}/cmdline").read_bytes()
        assert quote(_PASSWORD, safe="").encode() not in environment


def test_later_starts_need_no_variable_and_remember(one: Installation) -> None:
    one.mongars("chat", "--user", "hedy", "--message", "My boat is called Grapefruit.")
    one.down()
    one.up()
    assert one.status()["database"]["external"] is True
    said = json.loads(one.mongars("chat", "--user", "hedy", "--message", "What is my boat called?", "--json"))
    assert "Grapefruit" in said["answer"]


def test_status_shows_it_to_people_too(one: Installation, server: Cluster, name: str) -> None:
    assert url(server, name, password="") in one.mongars("status")


def test_another_address_is_refused_whether_it_runs_or_not(one: Installation, server: Cluster) -> None:
    elsewhere = on(one, url(server, database(server)))
    assert "keeps its data in postgresql://" in refused(elsewhere.run("up", "--detach"))
    assert one.ready()


def test_a_changed_password_is_taken_over(one: Installation, server: Cluster, name: str) -> None:
    one.down()
    server.sql("ALTER ROLE ada PASSWORD 'another'")
    try:
        assert "password authentication failed" in refused(one.run("up", "--detach"))
        on(one, url(server, name, password="another")).up()
        assert (one.state / "keys" / "database.password").read_text() == "another"
    finally:
        server.sql(f"ALTER ROLE ada PASSWORD '{_PASSWORD}'")
    on(one, url(server, name)).up()  # it runs already, and still takes the password for its next connections
    assert (one.state / "keys" / "database.password").read_text() == _PASSWORD


def test_a_second_installation_on_the_same_database_is_refused_and_makes_nothing(
    one: Installation, server: Cluster, name: str, tmp_path: Path
) -> None:
    second = Installation(tmp_path / "state", {**one.environment, "MONGARS_DATABASE_URL": url(server, name)})
    assert "holds another installation" in refused(second.run("up", "--detach"))
    assert not second.state.exists()


@pytest.mark.parametrize("kind", ["no extension", "no right", "wrong password", "not there", "nobody listens"])
def test_a_database_that_will_not_do_is_refused_with_what_to_do_and_nothing_is_made(
    server: Cluster, tmp_path: Path, kind: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    address, words = {
        "no extension": (url(server, database(server, vector=False)), "CREATE EXTENSION vector SCHEMA public;"),
        "no right": (url(server, database(server), user="bob"), "GRANT CREATE ON SCHEMA public TO bob;"),
        "wrong password": (url(server, database(server), password="x"), "password authentication failed"),
        "not there": (url(server, "nothing"), "does not exist"),
        "nobody listens": (f"postgresql://ada@127.0.0.1:{port}/mongars", "Connection refused"),
    }[kind]
    fresh = Installation(tmp_path / "state", {"MONGARS_DATABASE_URL": address})
    assert words in refused(fresh.run("up", "--detach"))
    assert not fresh.state.exists()


def test_a_user_who_may_makes_the_extension(server: Cluster) -> None:
    name = database(server, vector=False)
    given = parse(f"postgresql://mongars@/{name}?host={server.folder / 'run'}")
    inspection.inspect(given, new=True, patience_s=0)
    assert server.sql("SELECT extnamespace::regnamespace FROM pg_extension WHERE extname = 'vector'", name) == "public"


def test_without_the_look_an_occupied_database_would_be_taken(
    one: Installation, server: Cluster, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = parse(url(server, name))
    with pytest.raises(CommandError, match="holds another installation"):
        inspection.inspect(given, new=True, patience_s=0)

    async def blind(*_arguments: object) -> None:
        return None

    monkeypatch.setattr(inspection, "_refuse_occupied", blind)
    inspection.inspect(given, new=True, patience_s=0)


def test_a_database_that_went_away_is_named_and_nothing_is_left_running(
    one: Installation, server: Cluster, name: str
) -> None:
    one.down()
    server.stop()
    try:
        assert url(server, name, password="") in refused(one.run("up", "--detach"))
        assert one.processes() == []
    finally:
        server.start()


def test_a_backup_lives_again_in_another_empty_database_and_in_no_other(
    one: Installation, server: Cluster, name: str, tmp_path: Path
) -> None:
    if not one.ready():
        one.up()
    key = json.loads(one.mongars("backup", "recovery-key", "--replace", "--json"))["recovery_key"]
    (tmp_path / "key").write_text(key)
    made = json.loads(one.mongars("backup", "--to", str(tmp_path), "--json"))
    elsewhere = on(Installation(tmp_path / "new", one.environment), url(server, database(server)))
    users = int(server.sql("SELECT count(*) FROM users", name))
    words = ("restore", made["file"], "--recovery-key-file", str(tmp_path / "key"), "--json", "--state")
    assert json.loads(elsewhere.mongars(*words, str(tmp_path / "new")))["users"] == users
    assert holding(tmp_path / "new", _PASSWORD) == ["database.password"]
    assert "holds another installation" in refused(elsewhere.run(*words, str(tmp_path / "again")))
    assert not (tmp_path / "again").exists()
