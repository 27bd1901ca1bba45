"""The doctor's judgement of facts that no test machine has: heat, a clock that jumped, another Python, certificates."""

from __future__ import annotations

import subprocess
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from cli.doctor.examination import judge
from cli.doctor.facts import Disk, Facts, FileFact, Files, Machine, Models, Parts
from cli.doctor.findings import KINDS, Severity
from cli.doctor.looking.backups import Backups, certificate_days
from cli.doctor.looking.backups import look as look_at_backups
from cli.doctor.looking.machine import look as look_at_machine
from cli.probes import Readiness
from cli.supervision.client import Process
from libs.shared import training_libraries
from libs.shared.layout import StateFolder

NOW = 1_800_000_000.0
MIB = 2**20
NAMES = (
    "broker",
    "database",
    "persistence",
    "scheduler",
    "inference",
    "cognition",
    "api",
    "trainer",
    "optimizer",
    "caretaker",
)
WELL = Machine(
    now_s=NOW,
    python=(3, 11),
    version="0.1.0",
    disks=(Disk("/s", 50_000 * MIB, 100_000 * MIB),),
    memory_total_mib=8000,
    memory_available_mib=4000,
    open_files=1024,
    temperature_c=50.0,
    throttled=False,
    board="Raspberry Pi 5",
)
RUNS = Parts(
    supervisor="answers",
    processes={name: Process(name, "running", 100, 0, "") for name in NAMES},
    up_s=dict.fromkeys(NAMES, 1000.0),
    broker_answers=True,
    readiness=Readiness(True, {"database": {"ok": True}, "cognition": {"ok": True}}, ("no-model",)),
    duties={"space": {"at": NOW - 30, "ok": True, "detail": ""}},
)
HEALTHY = Facts(WELL, Files("/s", "ok", has_run=True, slots="whole"), parts=RUNS, models=Models())


def codes(facts: Facts) -> list[str]:
    return [finding.code for finding in judge(facts)]


def on(**machine: object) -> list[str]:
    return codes(replace(HEALTHY, machine=replace(WELL, **machine)))  # type: ignore[arg-type]


def running(**parts: object) -> list[str]:
    return codes(replace(HEALTHY, parts=replace(RUNS, **parts)))  # type: ignore[arg-type]


def process(name: str, state: str, restarts: int = 0) -> dict[str, Process]:
    return {**RUNS.processes, name: Process(name, state, 100 if state == "running" else 0, restarts, "")}


def test_nothing_is_said_of_a_healthy_machine() -> None:
    assert codes(HEALTHY) == []


@pytest.mark.parametrize(
    ("machine", "code"),
    [
        ({"temperature_c": 91.0}, "overheated"),
        ({"throttled": True}, "throttled"),
        ({"memory_available_mib": 60.0}, "memory-low"),
        ({"python": (3, 14)}, "python-unfit"),
        ({"packages_missing": ("aiohttp",)}, "package-missing"),
        ({"programs_missing": ("nats-server",)}, "program-missing"),
        ({"disks": (Disk("/s", 10 * MIB, 1000 * MIB),)}, "disk-full"),
        ({"disks": (Disk("/s", 4000 * MIB, 100_000 * MIB),)}, "disk-nearly-full"),
        ({"disks": (Disk("/s", 50_000 * MIB, 100_000 * MIB, free_inodes=3),)}, "inodes-gone"),
    ],
)
def test_what_ails_the_machine_is_named(machine: dict[str, object], code: str) -> None:
    assert on(**machine) == [code]


def test_a_large_disk_with_room_for_months_is_not_nearly_full() -> None:
    assert on(disks=(Disk("/s", 6000 * MIB, 8_000_000 * MIB),)) == []


def test_a_clock_that_jumped_two_hours_ahead_is_told_by_what_happens_every_minute() -> None:
    assert running(duties={"space": {"at": NOW - 7200, "ok": True}}) == ["clock-ahead"]


def test_a_clock_two_hours_behind_is_told_by_the_files() -> None:
    later = FileFact("keys/tokens.key", False, True, 0o600, 0, 32, NOW + 7200, True)
    assert codes(replace(HEALTHY, files=replace(HEALTHY.files, files=(later,)))) == ["clock-behind"]


def test_a_service_that_ends_again_and_again_is_named_with_what_it_ended_with() -> None:
    parts = replace(RUNS, processes=process("cognition", "backoff", restarts=5), failures={"cognition": "KeyError"})
    (finding,) = judge(replace(HEALTHY, parts=parts))
    assert finding.code == "service-crashing"
    assert "KeyError" in finding.what
    assert finding.remedy == "see: mongars logs cognition"


def test_a_service_that_recovered_long_ago_is_not_named() -> None:
    assert running(processes=process("cognition", "running", restarts=9)) == []


def test_an_entrance_is_no_fault_once_it_was_closed_and_one_when_it_stopped() -> None:
    assert running(processes=process("entrance", "closed", restarts=9)) == []
    assert running(processes=process("entrance", "stopped")) == ["service-stopped"]


def test_without_the_broker_only_the_broker_is_named() -> None:
    silent = {name: {"ok": False, "detail": "does not answer"} for name in NAMES}
    crashing = {name: Process(name, "backoff", 0, 9, "") for name in NAMES[2:]}
    processes = {**process("broker", "stopped"), **crashing}
    assert running(processes=processes, broker_answers=False, readiness=Readiness(False, silent, ())) == [
        "broker-stopped"
    ]


@pytest.mark.parametrize(
    ("days", "found"), [(-2.0, ["certificate-expired"]), (5.0, ["certificate-expiring"]), (90.0, [])]
)
def test_certificates_are_named_in_time(days: float, found: list[str]) -> None:
    assert running(certificate_days=days) == found


def test_a_failed_duty_is_named() -> None:
    failed = {"backup": {"at": NOW - 60, "ok": False, "detail": "the disk is full"}}
    assert running(duties=failed) == ["duty-failed"]


def test_a_failed_and_an_overdue_backup_are_named() -> None:
    assert running(backups=Backups("the disk is full", 3.0)) == ["backup-failed"]
    assert running(backups=Backups(overdue_days=3.0)) == ["backup-overdue"]
    assert running(backups=Backups(overdue_days=1.0)) == []


def test_backups_are_read_as_they_were_noted(tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    (folder / "schedule.json").write_text('{"since": "2026-01-01T00:00:00+00:00"}')
    now = datetime(2026, 1, 11, tzinfo=UTC).timestamp()
    assert look_at_backups(StateFolder(tmp_path), now) == Backups(overdue_days=10.0)
    (folder / "last.json").write_text(
        '{"success": {"at": "2026-01-10T00:00:00+00:00"},'
        ' "failure": {"at": "2026-01-10T12:00:00+00:00", "problem": "no room"}}'
    )
    assert look_at_backups(StateFolder(tmp_path), now) == Backups("no room", 1.0)


def test_the_life_of_a_certificate_is_read_from_it(tmp_path: Path) -> None:
    (tmp_path / "keys" / "tls").mkdir(parents=True)
    pem = tmp_path / "keys" / "tls" / "gateway.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    key = ["-keyout", str(tmp_path / "key"), "-out", str(pem), "-days", "9", "-subj", "/CN=x"]
    subprocess.run([*command, *key], check=True, capture_output=True)
    days = certificate_days(StateFolder(tmp_path), time.time())
    assert days is not None
    assert 8.9 < days < 9.1
    pem.write_text("nonsense")
    assert certificate_days(StateFolder(tmp_path), time.time()) is None


def laid_out(board: str, root: Path) -> Path:
    """The files of a recorded machine."""
    recorded = Path(__file__).parents[2] / "data" / "boards" / f"{board}.yaml"
    for name, text in yaml.safe_load(recorded.read_text()).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_a_board_short_of_power_is_named(tmp_path: Path) -> None:
    root = laid_out("raspberry-pi-4", tmp_path)
    at_rest = look_at_machine(StateFolder(tmp_path), root=root)
    assert (at_rest.throttled, "Raspberry Pi 4" in at_rest.board) == (False, True)
    (word,) = (root / "sys" / "devices" / "platform").glob("soc*/*firmware/get_throttled")
    word.write_text("50005\n")
    seen = look_at_machine(StateFolder(tmp_path), root=root)
    assert on(throttled=seen.throttled) == ["throttled"]


def test_a_model_that_is_broken_on_disk_is_said_once() -> None:
    degraded = Readiness(True, {}, ("small: model_broken", "no-model"))
    facts = replace(HEALTHY, parts=replace(RUNS, readiness=degraded), models=Models({"small": "cut-short"}))
    assert codes(facts) == ["model-cut-short"]


@pytest.mark.parametrize("reason", ["gpu-idle", "gpu-without-driver"])
def test_a_gpu_that_lies_idle_is_named_with_what_mends_it(reason: str) -> None:
    served = replace(RUNS, readiness=Readiness(True, {}, (f"RTX 4090: {reason}",)))
    (finding,) = judge(replace(HEALTHY, parts=served))
    assert (finding.code, finding.subject) == ("gpu-idle", "RTX 4090")
    assert "Ollama" in finding.what


def test_the_worst_is_said_first() -> None:
    facts = replace(HEALTHY, machine=replace(WELL, throttled=True, python=(3, 9)))
    assert [finding.severity for finding in judge(facts)] == [Severity.ERROR, Severity.WARNING]


def test_what_training_lacks_is_a_note_with_what_brings_it() -> None:
    (finding,) = judge(replace(HEALTHY, machine=replace(WELL, training_missing=("torch", "peft"))))
    assert (finding.code, finding.severity) == ("training-not-installed", Severity.NOTE)
    assert "torch, peft" in finding.what
    assert "make install EXTRAS=trainer" in finding.remedy


def test_what_training_lacks_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_libraries, "find_spec", lambda name: None if name == "peft" else object())
    assert look_at_machine(StateFolder(tmp_path)).training_missing == ("peft",)


@pytest.mark.parametrize("state", ["fatal", "stopped"])
def test_a_trainer_that_does_not_run_is_named(state: str) -> None:
    assert running(processes=process("trainer", state)) == ["service-stopped"]


def test_codes_are_words_with_dashes() -> None:
    assert all(code == code.lower() and "_" not in code and " " not in code for code in KINDS)
