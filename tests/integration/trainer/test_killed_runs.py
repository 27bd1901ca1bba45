"""A run that is killed in the middle ends with the weights of one that wasn't, bit by bit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.support.training import STEPS

pytestmark = pytest.mark.torch

ROOT = Path(__file__).resolve().parents[3]


class Trainer:
    """A process that trains in one folder after another, each in a child of its own that waits after every report."""

    def __init__(self, process: subprocess.Popen[str], gate: int) -> None:
        self._process = process
        self._gate = gate

    def begin(self, loop: str, folder: Path) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{loop} {folder}\n")
        self._process.stdin.flush()

    def said(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the process ended"
        found: dict[str, Any] = json.loads(line)
        return found

    def go_on(self) -> None:
        os.write(self._gate, b".")

    def finish(self) -> int:
        """Lets the child run; its exit status."""
        while "ended" not in (line := self.said()):
            self.go_on()
        return int(line["ended"])


@contextmanager
def trainer() -> Iterator[Trainer]:
    reading, gate = os.pipe()
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "tests.support.training", str(reading)]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        pass_fds=(reading,),
    ) as process:
        try:
            yield Trainer(process, gate)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            os.close(reading)
            os.close(gate)


def weights(folder: Path) -> dict[str, Any]:
    return load_file(folder / "checkpoint.safetensors")


def test_a_killed_run_resumes_bit_by_bit(tmp_path: Path) -> None:
    with trainer() as running:
        for loop in ("mntp", "sft"):
            check_that_it_resumes(running, loop, tmp_path / loop)


def check_that_it_resumes(running: Trainer, loop: str, folder: Path) -> None:
    running.begin(loop, folder / "whole")
    assert running.finish() == 0
    running.begin(loop, folder / "killed")
    while (line := running.said())["step"] < STEPS // 2:
        running.go_on()
    os.kill(line["pid"], signal.SIGKILL)
    assert running.said()["ended"] == -signal.SIGKILL
    assert len(weights(folder / "killed")["losses"]) == 4, "the last checkpoint is two steps back"
    running.begin(loop, folder / "killed")
    assert running.said()["step"] == STEPS // 2, "it goes on after the checkpoint, not from the beginning"
    running.go_on()
    assert running.finish() == 0
    whole, resumed = weights(folder / "whole"), weights(folder / "killed")
    assert len(whole["losses"]) == STEPS
    assert whole.keys() == resumed.keys()
    for name, value in whole.items():
        assert np.array_equal(value, resumed[name]), name
