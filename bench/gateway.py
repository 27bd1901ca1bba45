"""What one chat completion costs on its way through the installation, beside other gateways in the same run.

Whole answers of one 16-token chunk from an instant backend, inline runtime, JSON parsed and a key checked everywhere,
traces sampled at 1 %. The first table has ``store: false`` (neither recalled nor kept, as the peers do), the second
one shows what recalling and keeping add, by process. LiteLLM is measured when its ``litellm`` command is found
(``--litellm``, or on the path).
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.installing import installed
from bench.load import LoadResult
from bench.peers import litellm_config
from bench.processes import cpu_seconds, server
from bench.report import Aim, finish, table

QUESTION = [{"role": "user", "content": "Which of our boards is the quickest at answering a short question?"}]
CPU_AIM_MS = 2.0
P99_AIM_OF_LITELLM = 0.2


@dataclass(frozen=True)
class Target:
    """A gateway under load. ``pids`` names the processes whose CPU time the request costs."""

    name: str
    url: str
    key: str
    body: dict[str, Any]
    pids: dict[str, int]


@dataclass(frozen=True)
class Row:
    """One measurement; CPU in milliseconds a request, by process."""

    target: str
    load: LoadResult
    cpu_ms: dict[str, float]

    @property
    def cpu_total_ms(self) -> float:
        return sum(self.cpu_ms.values())

    def as_json(self) -> dict[str, Any]:
        return {"target": self.target, **vars(self.load), "per_second": self.load.per_second, "cpu_ms": self.cpu_ms}


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def run_load(target: Target, connections: int, seconds: float) -> LoadResult:
    """One closed loop, in a process of its own."""
    command = [sys.executable, "-m", "bench.load", "--url", target.url]
    command += ["--connections", str(connections), "--seconds", str(seconds)]
    given = json.dumps({"key": target.key, "body": target.body})
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=seconds + 120, check=True)
    return LoadResult(**json.loads(done.stdout))


def measure(target: Target, connections: int, seconds: float) -> Row:
    """Warms up, then loads the target and divides the CPU time that its processes used."""
    run_load(target, connections, min(2.0, seconds))
    before = {name: cpu_seconds(pid) for name, pid in target.pids.items()}
    load = run_load(target, connections, seconds)
    used = {name: cpu_seconds(pid) - before[name] for name, pid in target.pids.items()}
    if not load.requests:
        raise RuntimeError(f"{target.name} answered none of {load.failures} requests")
    return Row(target.name, load, {name: s * 1000 / load.requests for name, s in used.items()})


@contextmanager
def installation(folder: Path) -> Iterator[tuple[str, dict[str, str], dict[str, int]]]:
    """A running installation with the instant backend: its address, API keys by memory mode, and its processes."""
    with installed(folder) as running:
        keys = {memory: running.key("bench", memory) for memory in ("read", "read-write")}
        yield running.url, keys, running.pids


def chat_body(model: str = "instant", **more: Any) -> dict[str, Any]:
    # metadata: the same first message in quick succession is meant, and no client's retry
    return {"model": model, "messages": QUESTION, "max_tokens": 16, "metadata": {}, **more}


def measure_installation(folder: Path, connections: list[int], seconds: float) -> tuple[list[Row], list[Row]]:
    """Without memory at each concurrency, then with memory, each of its steps apart."""
    with installation(folder) as (base, keys, pids):
        url = f"{base}/v1/chat/completions"

        def rows(name: str, counts: list[int], memory: str = "read-write", **more: Any) -> list[Row]:
            target = Target(name, url, keys[memory], chat_body(**more), pids)
            return [measure(target, count, seconds) for count in counts]

        plain = rows("monGARS", connections, store=False)
        steps = rows("store: false", [1], store=False)
        steps += rows("recalled, not kept", [1], memory="read")
        steps += rows("recalled and kept", [1, connections[-1]])
        return plain, steps


def measure_peers(folder: Path, litellm: str | None, connections: list[int], seconds: float) -> list[Row]:
    """The peers, behind the same instant upstream, whose own CPU time isn't counted."""
    key = "sk-" + secrets.token_urlsafe(48)
    upstream_port, proxy_port, litellm_port = free_port(), free_port(), free_port()
    upstream_url = f"http://127.0.0.1:{upstream_port}"
    peer = [sys.executable, "-m", "bench.peers"]
    rows: list[Row] = []

    def loaded(name: str, port: int, pid: int) -> list[Row]:
        url = f"http://127.0.0.1:{port}/v1/chat/completions"
        target = Target(name, url, key, chat_body(), {"proxy": pid})
        return [measure(target, count, seconds) for count in connections]

    with server([*peer, "upstream", "--port", str(upstream_port)], upstream_url, log=folder / "upstream.log"):
        command = [*peer, "proxy", "--port", str(proxy_port), "--upstream", upstream_url, "--key", key]
        with server(command, f"http://127.0.0.1:{proxy_port}", log=folder / "proxy.log") as pid:
            rows += loaded("FastAPI + aiohttp", proxy_port, pid)
        if litellm is not None:
            config = folder / "litellm.yaml"
            config.write_text(litellm_config(upstream_url, key))
            command = [litellm, "--config", str(config), "--host", "127.0.0.1", "--port", str(litellm_port)]
            env = os.environ | {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MASTER_KEY": key}
            url = f"http://127.0.0.1:{litellm_port}/health/liveliness"
            with server(command, url, log=folder / "litellm.log", env=env) as pid:
                rows += loaded("LiteLLM", litellm_port, pid)
    return rows


def print_tables(plain: list[Row], steps: list[Row]) -> None:
    load_columns = ("connections", "requests/s", "p50 ms", "p99 ms")

    def load_cells(row: Row) -> tuple[object, ...]:
        return row.load.connections, row.load.per_second, row.load.p50_ms, row.load.p99_ms

    gateways = [(r.target, *load_cells(r), r.cpu_total_ms, r.load.failures) for r in plain]
    print(table(("gateway", *load_columns, "CPU ms/request", "failures"), gateways))
    print("\nCPU ms a request, by process:\n")
    by_process = [(r.target, *load_cells(r), *r.cpu_ms.values(), r.cpu_total_ms) for r in steps]
    print(table(("request", *load_columns, *steps[0].cpu_ms, "all"), by_process))


def aims(rows: list[Row]) -> list[Aim]:
    """The issue's aims, at each concurrency that was measured."""
    found = {(r.target, r.load.connections): r for r in rows}
    result: list[Aim] = []
    for count in sorted({r.load.connections for r in rows}):
        own, peer = found[("monGARS", count)], found.get(("LiteLLM", count))
        result.append(Aim(f"CPU a request at {count}", own.cpu_total_ms, CPU_AIM_MS, "ms"))
        ratio = own.load.p99_ms / peer.load.p99_ms if peer else None
        result.append(Aim(f"p99 of LiteLLM's at {count}", ratio, P99_AIM_OF_LITELLM, "×"))
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="3 s a measurement instead of 15")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    parser.add_argument("--litellm", default=shutil.which("litellm"), help="LiteLLM's command (default: on the path)")
    args = parser.parse_args()
    seconds, connections = (3.0 if args.quick else 15.0), [1, 32]
    with tempfile.TemporaryDirectory(prefix="mongars-bench-") as name:
        plain, steps = measure_installation(Path(name), connections, seconds)
        plain += measure_peers(Path(name), args.litellm, connections, seconds)
    print_tables(plain, steps)
    if args.litellm is None:
        print(
            "\nLiteLLM is not installed: its columns are left out (pip install 'litellm[proxy]', then --litellm PATH)"
        )
    figures = {"gateways": [r.as_json() for r in plain], "steps": [r.as_json() for r in steps]}
    finish(aims(plain), figures, args.json)


if __name__ == "__main__":
    main()
