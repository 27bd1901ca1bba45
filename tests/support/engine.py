"""A real Docker engine of one's own, without networks, where one can be started here; skips where none can."""

from __future__ import annotations

import io
import os
import shutil
import socket
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import APIError

REPOSITORY, TAG = "worker", "1"
IMAGE = f"{REPOSITORY}:{TAG}"
_START_S = 60.0
WORKER = (
    "trap '/bin/busybox sleep 1; echo > /out/$HOSTNAME; exit 0' TERM; echo > /out/begun-$HOSTNAME; "
    "while :; do /bin/busybox sleep 0.1; done"
)
"""Told to end, it ends what it has begun within a second, and says so in a file."""


@dataclass(frozen=True)
class Engine:
    """``client`` speaks with it; ``out`` is every worker's ``/out``."""

    url: str
    client: Any
    out: Path

    def begin(self, project: str, service: str, number: int, **host: Any) -> str:
        """A container as compose makes it; its id."""
        labels = {
            "com.docker.compose.project": project,
            "com.docker.compose.service": service,
            "com.docker.compose.container-number": str(number),
            "com.docker.compose.oneoff": "False",
        }
        limits = self.client.create_host_config(
            network_mode="none", binds=[f"{self.out}:/out"], restart_policy={"Name": "unless-stopped"}, **host
        )
        made = self.client.create_container(
            IMAGE,
            ["/bin/busybox", "sh", "-c", WORKER],
            environment={"SAID": "the same"},
            labels=labels,
            host_config=limits,
            name=f"{project}-{service}-{number}",
        )
        self.client.start(made["Id"])
        return str(made["Id"])

    def states(self, project: str) -> dict[str, str]:
        """By name."""
        rows = self.client.containers(all=True, filters={"label": f"com.docker.compose.project={project}"})
        return {row["Names"][0].lstrip("/"): row["State"] for row in rows}

    def clear(self) -> None:
        while rows := self.client.containers(all=True):
            for row in rows:
                with suppress(APIError):  # whoever stopped it removes it at this moment
                    self.client.remove_container(row["Id"], force=True)
        for told in self.out.iterdir():
            told.unlink()


@contextmanager
def engine() -> Iterator[Engine]:
    """Started, with the image; ended afterwards with all that runs in it."""
    daemon, busybox = shutil.which("dockerd"), shutil.which("busybox")
    if daemon is None or busybox is None or os.geteuid() != 0:
        pytest.skip("a Docker engine of one's own needs root, dockerd and busybox-static")
    with tempfile.TemporaryDirectory(prefix="engine-", dir="/tmp") as folder, _daemon(daemon, Path(folder)) as url:
        client = docker.APIClient(base_url=url, version="auto")
        try:
            client.import_image_from_data(_image(Path(busybox)), repository=REPOSITORY, tag=TAG)
            out = Path(folder) / "out"
            out.mkdir()
            found = Engine(url, client, out)
            yield found
            found.clear()
        finally:
            client.close()


@contextmanager
def _daemon(program: str, folder: Path) -> Iterator[str]:
    url = f"unix://{folder}/engine.sock"
    command = [program, "-H", url, "--iptables=false", "--ip6tables=false", "--bridge=none", "--storage-driver=vfs"]
    where = ["--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec", "--pidfile", f"{folder}/pid"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, *where], stdout=log, stderr=log)
        try:
            if not _answers(url, process):
                pytest.skip("a Docker engine can't be started here")
            yield url
        finally:
            process.terminate()
            process.wait(60)


def _answers(url: str, process: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + _START_S
    while process.poll() is None and time.monotonic() < deadline:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            if probe.connect_ex(url.removeprefix("unix://")) == 0:
                return True
        time.sleep(0.2)
    return False


def _image(busybox: Path) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        archive.add(busybox, arcname="bin/busybox")
    return made.getvalue()
