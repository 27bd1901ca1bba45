"""A real supervisord with small programs: restarts, order, and what happens when the supervisor itself dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cli.database.owner import setpriv
from cli.errors import CommandError
from cli.logs import last_lines
from cli.supervision import orphans
from cli.supervision.client import Process, Supervisor
from cli.supervision.place import code_root
from cli.supervision.programs import LOG_BACKUPS, LOG_BYTES, Paths, Program, log_file, render

_TIMEOUT_S = 15.0
_LIVE = (sys.executable, "-S", "-c", "import signal; signal.pause()")
_DIE = ("/bin/false",)


def until(condition: Callable[[], bool], what: str, timeout_s: float = _TIMEOUT_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


@dataclass
class Supervised:
    """A running supervisord."""

    paths: Paths
    mark: str

    @property
    def client(self) -> Supervisor:
        return Supervisor(self.paths.socket)

    def process(self, name: str) -> Process:
        found = self.client.processes()
        assert found is not None
        return found[name]

    def start(self, name: str) -> int:
        self.client.start(name)
        until(lambda: self.process(name).state == "running", f"{name} does not run")
        return self.process(name).pid

    def successor(self, name: str, pid: int, *, within_s: float) -> None:
        until(lambda: self.process(name).pid not in (0, pid), f"{name} was not started again", within_s)

    @property
    def pid(self) -> int:
        return int(self.paths.pid_file.read_text())


@pytest.fixture
def supervise(tmp_path: Path) -> Iterator[Callable[..., Supervised]]:
    mark = uuid.uuid4().hex

    def begin(*programs: Program, log_bytes: int = LOG_BYTES) -> Supervised:
        paths = Paths(tmp_path / "s.sock", tmp_path / "s.pid", tmp_path, code_root())
        configuration = tmp_path / "supervisord.conf"
        marked = [Program(p.name, p.command, environment={orphans.MARK: mark}) for p in programs]
        configuration.write_text(render(marked, paths, log_bytes=log_bytes))
        subprocess.run(
            [sys.executable, "-m", "supervisor.supervisord", "-c", configuration],
            env=os.environ | {orphans.MARK: mark},
            cwd=code_root(),
            check=True,
            timeout=_TIMEOUT_S,
        )
        supervised = Supervised(paths, mark)
        until(lambda: supervised.client.processes() is not None, "supervisord does not answer")
        return supervised

    yield begin
    orphans.end(mark, patience_s=5)
    assert list(orphans.marked(mark)) == []


def test_a_killed_process_is_back_within_three_seconds_and_counted(supervise: Callable[..., Supervised]) -> None:
    supervised = supervise(Program("api", _LIVE))
    for count in (1, 2):
        killed = supervised.start("api")
        os.kill(killed, signal.SIGKILL)
        supervised.successor("api", killed, within_s=3)
        assert supervised.process("api").restarts == count


def test_a_process_that_ends_with_0_is_started_again_too(supervise: Callable[..., Supervised]) -> None:
    supervised = supervise(Program("api", _LIVE))
    ended = supervised.start("api")
    os.kill(ended, signal.SIGTERM)
    supervised.successor("api", ended, within_s=3)


def test_nothing_runs_before_it_is_started(supervise: Callable[..., Supervised]) -> None:
    supervised = supervise(Program("api", _LIVE))
    assert supervised.process("api") == Process("api", "stopped", 0, 0, "")


def test_a_process_that_cannot_stay_up_is_tried_again_and_again_and_its_problem_told(
    supervise: Callable[..., Supervised],
) -> None:
    supervised = supervise(Program("api", _DIE))
    supervised.client.start("api")
    until(lambda: supervised.process("api").restarts >= 2, "given up")
    until(lambda: supervised.process("api").state == "backoff", "no back-off")
    assert supervised.process("api").problem


def test_starting_what_runs_changes_nothing(supervise: Callable[..., Supervised]) -> None:
    supervised = supervise(Program("api", _LIVE))
    pid = supervised.start("api")
    supervised.client.start("api")
    assert supervised.process("api").pid == pid


def test_shutting_down_stops_everything_in_reverse_order(supervise: Callable[..., Supervised], tmp_path: Path) -> None:
    note = tmp_path / "order"
    script = "import signal,sys\nsignal.sigwait([signal.SIGTERM])\nopen(sys.argv[1],'a').write(sys.argv[2]+' ')"
    blocked = "import signal; signal.pthread_sigmask(signal.SIG_BLOCK,[signal.SIGTERM])\n"
    names = ("broker", "database", "api")
    supervised = supervise(
        *(Program(n, (sys.executable, "-S", "-c", (blocked + script).replace("\n", ";"), str(note), n)) for n in names)
    )
    for name in names:
        supervised.start(name)
    supervised.client.shutdown()
    until(lambda: list(orphans.marked(supervised.mark)) == [], "still running")
    assert note.read_text().split() == ["api", "database", "broker"]


def test_what_a_process_prints_is_in_its_log(supervise: Callable[..., Supervised]) -> None:
    program = (sys.executable, "-S", "-c", "import signal,sys;print('hello',file=sys.stderr,flush=True);signal.pause()")
    supervised = supervise(Program("api", program))
    supervised.start("api")
    until(lambda: "hello" in log_file(supervised.paths.logs, "api").read_text(), "nothing logged")


def test_a_supervisor_that_is_away_is_said_plainly(tmp_path: Path) -> None:
    away = Supervisor(tmp_path / "none.sock")
    assert away.processes() is None
    with pytest.raises(CommandError, match="does not answer"):
        away.start("api")


def test_processes_tied_to_their_supervisor_stop_when_it_is_killed(supervise: Callable[..., Supervised]) -> None:
    supervised = supervise(Program("api", (setpriv(), "--pdeathsig", "TERM", *_LIVE)))
    supervised.start("api")
    os.kill(supervised.pid, signal.SIGKILL)
    until(lambda: list(orphans.marked(supervised.mark)) == [], "outlived its supervisor")


def test_processes_that_outlived_their_supervisor_are_found_and_ended(supervise: Callable[..., Supervised]) -> None:
    supervised = supervise(Program("api", _LIVE), Program("other", _LIVE))
    pids = {supervised.start("api"), supervised.start("other")}
    os.kill(supervised.pid, signal.SIGKILL)
    until(lambda: set(orphans.marked(supervised.mark)) == pids, "not found")
    assert orphans.end(supervised.mark, patience_s=5) == 2
    assert list(orphans.marked(supervised.mark)) == []


def test_an_orphan_that_will_not_stop_is_killed() -> None:
    mark = uuid.uuid4().hex
    deaf = "import signal,sys;signal.signal(signal.SIGTERM,signal.SIG_IGN);print(flush=True);signal.pause()"
    with subprocess.Popen(
        [sys.executable, "-S", "-c", deaf], env={orphans.MARK: mark}, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert orphans.end(mark, patience_s=0.2) == 1
        assert process.wait(5) == -signal.SIGKILL


def test_processes_of_another_installation_are_left_alone() -> None:
    with subprocess.Popen(_LIVE, env={orphans.MARK: "one"}) as process:
        try:
            assert orphans.end("another", patience_s=0.1) == 0
            assert process.poll() is None
        finally:
            process.kill()


def test_a_part_that_prints_without_end_fills_no_disk_and_its_last_lines_are_found(
    supervise: Callable[..., Supervised], tmp_path: Path
) -> None:
    size, lines = 4096, 2000
    script = f"import signal; [print('line', n, flush=True) for n in range({lines})]; signal.pause()"
    supervised = supervise(Program("api", (sys.executable, "-S", "-c", script)), log_bytes=size)
    supervised.start("api")
    log = log_file(tmp_path, "api")
    until(lambda: last_lines(log, 1) == [f"line {lines - 1}"], "the last line was not found")
    kept = list(tmp_path.glob("api.log*"))
    assert len(kept) == 1 + LOG_BACKUPS
    assert sum(path.stat().st_size for path in kept) <= len(kept) * (size + 1024)
    found = last_lines(log, 600)
    assert found == [f"line {number}" for number in range(lines - 600, lines)]
