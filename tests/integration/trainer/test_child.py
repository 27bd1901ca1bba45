"""A run's process ends with whoever began it, whatever it is at, and lets everything else pass."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from time import monotonic, sleep

import psutil

from services.trainer.telling import UNDER_WAY

ROOT = Path(__file__).resolve().parents[3]
LIMIT_S = 60
CHILD = """
import json, os, psutil, sys, time
from libs.shared.parent import end_with
from libs.shared.background.aside import step_aside
end_with(int(sys.argv[1]))
step_aside()
kind = psutil.Process().ionice().ioclass
print(json.dumps({"pid": os.getpid(), "nice": os.nice(0), "io": int(kind)}), flush=True)
time.sleep(600)
"""
PARENT = """
import os, subprocess, sys
subprocess.run([sys.executable, "-c", sys.argv[1], str(os.getpid())], check=True)
"""


def gone(pid: int) -> bool:
    until = monotonic() + LIMIT_S
    while monotonic() < until:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        sleep(0.01)
    return False


def test_a_child_whose_parent_is_killed_ends_at_once_even_while_it_is_stopped() -> None:
    command = [sys.executable, "-c", PARENT, CHILD]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        about = json.loads(parent.stdout.readline())
        assert (about["nice"], about["io"]) == (19, int(psutil.IOPRIO_CLASS_IDLE))
        os.kill(about["pid"], signal.SIGSTOP)
        parent.kill()
    assert gone(about["pid"])


def test_a_child_whose_parent_ended_before_it_could_say_so_ends(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "services.trainer.child", str(tmp_path), str(os.getpid() + 1)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=LIMIT_S, check=False)
    assert (ran.returncode, ran.stdout) == (UNDER_WAY, b"")
    assert list(tmp_path.iterdir()) == []
