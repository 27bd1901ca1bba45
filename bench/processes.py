"""CPU time of whole process trees, and servers that are stopped again."""

from __future__ import annotations

import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil


def cpu_seconds(pid: int) -> float:
    """User plus system time of a process and all that it started, its ended children included."""
    total = 0.0
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                times = one.cpu_times()
                total += times.user + times.system
    return total


def wait_for_http(url: str, process: subprocess.Popen[bytes], timeout_s: float) -> None:
    """Returns once anything answers at ``url``. Raises TimeoutError, or RuntimeError when the process ended."""
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
        try:
            urllib.request.urlopen(url, timeout=2)
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(url)


@contextmanager
def server(
    command: list[str], url: str, *, log: Path, env: dict[str, str] | None = None, timeout_s: float = 120.0
) -> Iterator[int]:
    """Starts a server, waits until it answers, gives its process id, and ends it with its children."""
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=env)
        try:
            wait_for_http(url, process, timeout_s)
            yield process.pid
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    family = [process.pid]
    with suppress(psutil.NoSuchProcess):
        family += [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(timeout=10)
    for pid in family[1:]:
        with suppress(psutil.NoSuchProcess):
            psutil.Process(pid).kill()
