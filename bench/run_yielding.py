"""How long a training run goes on using the processor after a request has come.

A whole installation trains an encoder out of a small decoder with random weights. Requests come at moments of chance,
each a chat that is answered at once, and the processor time of the run's process is read each millisecond: from the
request's leaving here, which is before it arrives at the gateway, until the process uses no processor any more. Between
two requests the run goes on by itself; one that comes while it doesn't compute measures nothing and isn't counted.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from threading import Thread

import psutil

from bench.installing import Installation, command, installed
from bench.memory_client import Client
from bench.report import Aim, finish, table
from bench.yielding import cpu_s, nth

AIM_MS = 100.0
MODEL = "bench"
EVERY_S = 0.001
LOOKED_AT_S = 0.4
"""A run rests for longer than that after a request (0.5 s)."""
NOTHING_S = 1e-5
"""Of the processor: what is less isn't computing."""
BUSY_S = 0.05
_GIVEN_UP_S = 180.0


def make_model(models: Path) -> None:
    """A decoder with random weights, and a tokenizer of a few words, as a Hugging Face folder."""
    from bench.training.decoder import Shape, tokenizer_of, untrained

    texts = [f"word {number} and word {number + 1} are near" for number in range(400)]
    tokenizer = tokenizer_of(texts, 512)
    untrained(Shape(vocabulary=512, width=256, layers=6, heads=4), tokenizer, 0).save_pretrained(models / MODEL)
    tokenizer.save_pretrained(models / MODEL)


def begin(running: Installation, folder: Path) -> psutil.Process:
    """A run that outlasts the measurement, once it computes. Raises TimeoutError."""
    text = folder / "text.txt"
    text.write_text("\n".join(f"word {number} and word {number + 1} are near" for number in range(4000)))
    options = ("--steps", "1000000", "--batch", "32", "--block-tokens", "128", "--checkpoint-steps", "1000")
    deadline = time.monotonic() + _GIVEN_UP_S
    while True:
        try:
            command(running.environment, "train", "mntp", "--model", MODEL, "--text", str(text), *options, "--detach")
            break
        except RuntimeError:  # the trainer starts after everything else
            if time.monotonic() > deadline:
                raise
            time.sleep(1.0)
    while time.monotonic() < deadline:
        for child in psutil.process_iter(["cmdline"]):
            words = child.info["cmdline"] or []
            if "services.trainer.child" in words and any(str(running.state) in word for word in words):
                return child
        time.sleep(0.1)
    raise TimeoutError("the run did not begin")


def last_use_s(samples: Sequence[tuple[float, float]]) -> float:
    """Until when the process was seen to use the processor; ``samples``: seconds since the request, and processor
    seconds used. 0: not at all."""
    found = 0.0
    for (_, before), (at, used) in pairwise(samples):
        if used - before > NOTHING_S:
            found = at
    return found


def wait_until_busy(pid: int) -> None:
    """At a moment of chance while the run computes. Raises TimeoutError."""
    deadline = time.monotonic() + _GIVEN_UP_S
    while time.monotonic() < deadline:
        time.sleep(random.random() * 0.2)
        before = cpu_s(pid)
        time.sleep(BUSY_S)
        if cpu_s(pid) - before > BUSY_S / 10:  # of the lowest priority, beside whatever else runs
            return
    raise TimeoutError("the run does not compute")


def one(client: Client, pid: int, number: int) -> float:
    """Milliseconds."""
    samples = []
    asking = Thread(target=client.chat, args=(f"Note {number}.",))
    began = time.perf_counter()
    asking.start()
    while (now := time.perf_counter() - began) < LOOKED_AT_S:
        samples.append((now, cpu_s(pid)))
        time.sleep(EVERY_S)
    asking.join()
    return 1000 * last_use_s(samples)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="10 requests instead of 50")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    args = parser.parse_args()
    took: list[float] = []
    with tempfile.TemporaryDirectory(prefix="mongars-run-yielding-") as name:
        folder = Path(name)
        with installed(folder, MONGARS_TRAINING_THREADS="2") as running:
            make_model(running.state / "models")
            client = Client(running.url, running.key("bench", "off"))
            child = begin(running, folder)
            while len(took) < (10 if args.quick else 50):
                wait_until_busy(child.pid)
                took.append(one(client, child.pid, len(took)))
    took.sort()
    row = (len(took), statistics.median(took), nth(took, 0.95), nth(took, 0.99), took[-1])
    print(table(("requests", "p50 ms", "p95 ms", "p99 ms", "longest ms"), [row]))
    finish([Aim("no processor any more, longest", took[-1], AIM_MS, "ms")], {"milliseconds": took}, args.json)


if __name__ == "__main__":
    main()
