"""Two processes can't train in one folder, and a process that was killed leaves the folder free."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from libs.shared.errors import RunUnderWay
from services.trainer.alone import alone

ROOT = Path(__file__).resolve().parents[3]
HOLDER = """
import sys
from pathlib import Path
from services.trainer.alone import alone
with alone(Path(sys.argv[1])):
    print("here", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process, which is in ``folder`` by now."""
    command = [sys.executable, "-c", HOLDER, str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "here\n"
            yield process
        finally:
            process.kill()


def test_a_second_process_is_refused_and_told_who_is_there(tmp_path: Path) -> None:
    with holder(tmp_path / "run") as other:
        with pytest.raises(RunUnderWay, match=f"process {other.pid} trains in run") as caught, alone(tmp_path / "run"):
            pytest.fail("both are in")
        assert caught.value.data == {"pid": other.pid}
        with alone(tmp_path / "another"):
            pass


def test_a_process_that_was_killed_leaves_the_folder_free(tmp_path: Path) -> None:
    with holder(tmp_path) as other:
        other.send_signal(signal.SIGKILL)
        other.wait(60)
        with alone(tmp_path):
            pass


def test_who_is_done_lets_go_also_after_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), alone(tmp_path):
        raise ZeroDivisionError
    with alone(tmp_path):
        pass
    with holder(tmp_path):
        pass


@pytest.mark.torch
def test_no_loop_trains_where_another_process_does(tmp_path: Path) -> None:
    from tests.support.training import answers, contrast, train

    with holder(tmp_path):
        for loop in (train, contrast, answers):
            with pytest.raises(RunUnderWay):
                loop(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["lock"], "nothing was begun"
