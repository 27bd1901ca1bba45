"""How long background work goes on using the processor after a request has come.

Long turns are said one after another, and their index jobs wait meanwhile. Then nobody says anything: they are done.
While they are, requests come at moments of chance that cost nothing themselves (an embedding of nothing, which is
refused once it was announced), and the processor time of every part is read each few milliseconds: from the request's
leaving until a part uses less than a twentieth of a core for a fifth of a second.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import Thread

from bench.installing import Installation, installed
from bench.memory_client import Client
from bench.report import Aim, finish, table

AIM_MS = 100.0
PARTS = ("inference", "cognition", "persistence")
EVERY_S = 0.003
LOOKED_AT_S = 0.7
"""Longer than a request holds background work back (0.5 s): what goes on afterwards is not counted as lateness."""
QUIET_S, QUIET_SHARE = 0.2, 0.05
BUSY_S, BUSY_SHARE = 0.012, 0.5
"""Background work is under way where inference has used so much of a core just now; a request that finds it otherwise
would measure nothing."""
WORDS = ("garden", "gate", "key", "shed", "number", "hangs", "hook", "old", "door", "near", "well", "rain", "barrel")
_GIVEN_UP_S = 10.0


def cpu_s(pid: int) -> float:
    """Seconds that the threads of a process have run, to the nanosecond."""
    total = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):
            total += int((thread / "schedstat").read_text().split()[0])
    return total / 1e9


def quiet_after_s(samples: Sequence[tuple[float, float]]) -> float | None:
    """When a part had become quiet; ``samples``: seconds since the request, and processor seconds. None: never."""
    for at, used in samples:
        later = [other for when, other in samples if when - at <= QUIET_S]
        if samples[-1][0] - at < QUIET_S:
            return None
        if later[-1] - used < QUIET_SHARE * QUIET_S:
            return at
    return None


def say(client: Client, turns: int) -> None:
    """Long turns, no two alike."""
    draw = random.Random(1)
    for number in range(turns):
        client.chat(f"Note {number}: " + " ".join(draw.choices(WORDS, k=draw.randrange(20, 180))))


def wait_until_busy(pid: int) -> bool:
    """Whether background work came under way in time; returns at a moment of chance while it is."""
    deadline = time.monotonic() + _GIVEN_UP_S
    while time.monotonic() < deadline:
        time.sleep(random.random() * 0.1)
        before = cpu_s(pid)
        time.sleep(BUSY_S)
        if cpu_s(pid) - before > BUSY_SHARE * BUSY_S:
            return True
    return False


def refused(client: Client) -> None:
    """A request that is announced, and does nothing else."""
    with suppress(RuntimeError):
        client.ask("POST", "/v1/embeddings", {"input": ""})


def nth(ordered: Sequence[float], share: float) -> float:
    """Of so many, the largest."""
    return ordered[math.ceil(share * len(ordered)) - 1]


def one(running: Installation, client: Client) -> dict[str, float | None]:
    """Milliseconds until each part was quiet, and all of them were."""
    samples: dict[str, list[tuple[float, float]]] = {part: [] for part in PARTS}
    asking = Thread(target=refused, args=(client,))
    began = time.monotonic()
    asking.start()
    while time.monotonic() - began < LOOKED_AT_S:
        for part in PARTS:
            samples[part].append((time.monotonic() - began, cpu_s(running.pids[part])))
        time.sleep(EVERY_S)
    asking.join()
    held = {part: [s for s in some if s[0] < 0.45] for part, some in samples.items()}
    return {part: None if (s := quiet_after_s(some)) is None else 1000 * s for part, some in held.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="10 requests instead of 50")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    args = parser.parse_args()
    wanted = 10 if args.quick else 50
    found: list[dict[str, float | None]] = []
    with tempfile.TemporaryDirectory(prefix="mongars-yielding-") as name, installed(Path(name)) as running:
        client = Client(running.url, running.key("bench", "read-write"))
        while len(found) < wanted:
            say(client, 10 * wanted)
            while len(found) < wanted and wait_until_busy(running.pids["inference"]):
                found.append(one(running, client))
                time.sleep(1.0)
    rows = []
    for part in PARTS:
        took = sorted(ms for each in found if (ms := each[part]) is not None)
        late = len(found) - len(took)
        rows.append((part, len(took), late, statistics.median(took), nth(took, 0.95), nth(took, 0.99)))
    print(table(("part", "became quiet", "did not", "p50 ms", "p95 ms", "p99 ms"), rows))
    aims = [Aim("inference quiet, p99", rows[0][5], AIM_MS, "ms"), Aim("never quiet", sum(r[2] for r in rows), 0)]
    finish(aims, {"milliseconds": found}, args.json)


if __name__ == "__main__":
    main()
