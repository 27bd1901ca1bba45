"""What an idle installation takes: time to start, memory, processor, and disk writes (an SD card wears out by them).

Inline runtime and no language model. Memory is the proportional set size (PSS) of every process of the installation,
written bytes are what the processes gave to the block layer (``write_bytes`` of ``/proc/PID/io``).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sysconfig
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.report import Aim, finish, table

PSS_AIM_MB = 1000.0
WARM_START_AIM_S = 8.0
SETTLE_S = 5.0


Row = tuple[str, float, float, float]
"""Part, PSS in MB, CPU ms a second, KB written a minute."""


@dataclass(frozen=True)
class Reading:
    """One process tree at one moment."""

    pss_mb: float
    cpu_s: float
    written_bytes: int


def mongars(state: Path, *arguments: str) -> str:
    """Runs the command on an installation of its own."""
    command = [str(Path(sysconfig.get_path("scripts")) / "mongars"), *arguments]
    env = os.environ | {
        "MONGARS_STATE": str(state),
        "MONGARS_INFERENCE_RUNTIME": "inline",
        "MONGARS_OLLAMA_URL": "none",
    }
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise RuntimeError(f"mongars {' '.join(arguments)}: {done.stdout}{done.stderr}")
    return done.stdout


def timed(state: Path, *arguments: str) -> float:
    begun = time.perf_counter()
    mongars(state, *arguments)
    return time.perf_counter() - begun


def parts(state: Path) -> dict[str, list[psutil.Process]]:
    """The installation's processes by part: the supervisor alone, and each of its children with all theirs."""
    supervisor = next(
        process
        for process in psutil.process_iter(["cmdline"])
        if str(state / "run" / "supervisord.conf") in (process.info["cmdline"] or [])
    )
    found = {"supervisor": [supervisor]}
    for child in supervisor.children():
        found[_name(child.cmdline())] = [child, *child.children(recursive=True)]
    return found


def _name(command: list[str]) -> str:
    if "-m" in command:
        return command[command.index("-m") + 1].removeprefix("services.")
    return Path(command[0]).name


def read(processes: list[psutil.Process]) -> Reading:
    """Their sum."""
    pss, cpu, written = 0.0, 0.0, 0
    for process in processes:
        pss += process.memory_full_info().pss / 1e6
        times = process.cpu_times()
        cpu += times.user + times.system
        written += process.io_counters().write_bytes
    return Reading(pss, cpu, written)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="watch for 10 s instead of 60")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    args = parser.parse_args()
    watched_s = 10.0 if args.quick else 60.0
    with tempfile.TemporaryDirectory(prefix="mongars-footprint-") as name:
        state = Path(name) / "state"
        first_s = timed(state, "up", "--detach")
        try:
            stop_s = timed(state, "down")
            warm_s = timed(state, "up", "--detach")
            time.sleep(SETTLE_S)
            rows = watch(state, watched_s)
        finally:
            mongars(state, "down")
    print(table(("part", "PSS MB", "CPU ms/s", "written KB/min"), [*rows, total(rows)]))
    print(f"\nfirst start {first_s:.1f} s, stop {stop_s:.1f} s, warm start {warm_s:.1f} s")
    figures = {"parts": rows, "first_start_s": first_s, "stop_s": stop_s, "warm_start_s": warm_s}
    pss = total(rows)[1]
    aims = [Aim("idle memory", pss, PSS_AIM_MB, "MB"), Aim("warm start", warm_s, WARM_START_AIM_S, "s")]
    finish(aims, figures, args.json)


def watch(state: Path, seconds: float) -> list[Row]:
    """Each part's memory, its processor time a second, and what it wrote a minute."""
    running = parts(state)
    before = {name: read(processes) for name, processes in running.items()}
    time.sleep(seconds)
    rows: list[Row] = []
    for name, processes in sorted(running.items()):
        now, then = read(processes), before[name]
        cpu = (now.cpu_s - then.cpu_s) * 1000 / seconds
        rows.append((name, now.pss_mb, cpu, (now.written_bytes - then.written_bytes) / 1000 * 60 / seconds))
    return rows


def total(rows: list[Row]) -> Row:
    return "all", sum(r[1] for r in rows), sum(r[2] for r in rows), sum(r[3] for r in rows)


if __name__ == "__main__":
    main()
