"""An installation for a measurement: in a folder of its own, with a model that answers at once, stopped at the end."""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_COMMAND_TIMEOUT_S = 300


@dataclass(frozen=True)
class Installation:
    """What runs: its address, its folder and its processes."""

    url: str
    nats_url: str
    state: Path
    pids: dict[str, int]
    environment: dict[str, str]

    def key(self, user: str, memory: str) -> str:
        """A new API key of the user, who is made when there is none of the name."""
        return command(
            self.environment, "keys", "create", "--user", user, "--name", f"bench-{memory}", "--memory", memory
        ).strip()


@contextmanager
def installed(folder: Path, **settings: str) -> Iterator[Installation]:
    """Runs in ``folder``; ``settings`` are more environment variables."""
    state = folder / "state"
    environment = os.environ | {
        "MONGARS_STATE": str(state),
        "MONGARS_INFERENCE_RUNTIME": "inline",
        "MONGARS_MODELS": json.dumps([{"name": "instant", "backend": "bench.instant:InstantBackend"}]),
        "MONGARS_TRACE_SAMPLE_RATIO": "0.01",
        "MONGARS_RATE_LIMIT_PER_MINUTE": "100000000",
        "PYTHONPATH": str(Path.cwd()),
        **settings,
    }
    command(environment, "up", "--detach")
    try:
        status: dict[str, Any] = json.loads(command(environment, "status", "--json"))
        pids = {name: service["pid"] for name, service in status["services"].items()}
        yield Installation(status["http"], status["nats"]["url"], state, pids, environment)
    finally:
        command(environment, "down")


def command(environment: dict[str, str], *arguments: str) -> str:
    """What ``mongars ARGUMENTS`` printed. Raises RuntimeError."""
    line = [str(Path(sysconfig.get_path("scripts")) / "mongars"), *arguments]
    done = subprocess.run(
        line, env=environment, capture_output=True, text=True, timeout=_COMMAND_TIMEOUT_S, check=False
    )
    if done.returncode:
        raise RuntimeError(f"mongars {' '.join(arguments)}: {done.stdout}{done.stderr}")
    return done.stdout
