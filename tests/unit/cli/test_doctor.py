"""The doctor's judgement of facts that no test machine has: heat, a clock that jumped, another Python, certificates."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cli.doctor.examination import judge
from cli.doctor.facts import Disk, Facts, FileFact, Files, Machine, Models, Parts
from cli.doctor.findings import KINDS, Severity
from cli.probes import Readiness
from cli.supervision.client import Process

NOW = 1_800_000_000.0
MIB = 2**20
NAMES = ("broker", "database", "persistence", "scheduler", "inference", "cognition", "api", "caretaker")
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


def test_a_model_that_is_broken_on_disk_is_said_once() -> None:
    degraded = Readiness(True, {}, ("small: model_broken", "no-model"))
    facts = replace(HEALTHY, parts=replace(RUNS, readiness=degraded), models=Models({"small": "cut-short"}))
    assert codes(facts) == ["model-cut-short"]


def test_the_worst_is_said_first() -> None:
    facts = replace(HEALTHY, machine=replace(WELL, throttled=True, python=(3, 9)))
    assert [finding.severity for finding in judge(facts)] == [Severity.ERROR, Severity.WARNING]


def test_codes_are_words_with_dashes() -> None:
    assert all(code == code.lower() and "_" not in code and " " not in code for code in KINDS)
