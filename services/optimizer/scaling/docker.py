"""Workers as containers of one compose project: another like the first is started, the last is stopped.

By the labels that compose itself gives: nothing else of the engine is touched, or looked at.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import docker
import requests
from docker.errors import DockerException

from libs.shared.telemetry import get_logger
from services.optimizer.scaling.base import Bounds, Count, NotOurs, ScalingError, owned

PROJECT = "com.docker.compose.project"
SERVICE = "com.docker.compose.service"
NUMBER = "com.docker.compose.container-number"
ONE_OFF = "com.docker.compose.oneoff"
MADE = "org.mongars.scaled"
"""On those that were made here, which are removed once they have stopped."""
STOP_WAIT_S = 700
"""What a container has, after SIGTERM, to end what it has begun, before it is killed."""
_TIMEOUT_S = 20
_UP = frozenset({"running", "restarting"})

log = get_logger(__name__)


class Containers:
    """``url``: the engine's. Each name of ``bounds``, with ``prefix``, is a compose service of ``project``."""

    def __init__(self, url: str, project: str, bounds: Mapping[str, Bounds], prefix: str = "") -> None:
        self._url, self._project, self._bounds, self._prefix = url, project, bounds, prefix
        self._engine: Any = None
        self._leaving: set[str] = set()

    async def counts(self) -> dict[str, Count]:
        found: dict[str, Count] = await self._done(self._counted)
        return found

    async def scale(self, name: str, count: int) -> None:
        owned(self._bounds, name)
        await self._done(self._scaled, name, count)

    async def close(self) -> None:
        if self._engine is not None:
            self._engine.close()

    async def _done(self, what: Any, *arguments: Any) -> Any:
        """In a thread: the library waits. Raises ScalingError."""
        try:
            return await asyncio.to_thread(what, *arguments)
        except (DockerException, requests.RequestException) as error:
            raise ScalingError(f"the Docker engine refused, or doesn't answer ({type(error).__name__})") from None

    # ------------------------------------------------------------------ in a thread

    def _counted(self) -> dict[str, Count]:
        found = {}
        for name, own in self._bounds.items():
            there = self._containers(name)
            if there:
                up = [one for one in there if one["State"] in _UP and one["Id"] not in self._leaving]
                running = sum(one["State"] == "running" for one in up)
                found[name] = Count(running, len(up), own.least, own.most)
        return found

    def _containers(self, name: str) -> list[dict[str, Any]]:
        """Of the service, the lowest number first."""
        labels = [f"{PROJECT}={self._project}", f"{SERVICE}={self._prefix}{name}", f"{ONE_OFF}=False"]
        found: list[dict[str, Any]] = self._asked.containers(all=True, filters={"label": labels})
        return sorted(found, key=lambda one: int(one["Labels"].get(NUMBER, "1")))

    @property
    def _asked(self) -> Any:
        if self._engine is None:
            path = self._url.removeprefix("unix://")
            if path != self._url and not Path(path).exists():  # the library leaves a socket open where nobody listens
                raise ScalingError(f"there is no Docker engine at {path}")
            self._engine = docker.APIClient(base_url=self._url, version="auto", timeout=_TIMEOUT_S)
        return self._engine

    def _scaled(self, name: str, count: int) -> None:
        there = self._containers(name)
        if not there:
            raise NotOurs(f"the project {self._project} has no container of {self._prefix}{name}")
        up = [one for one in there if one["State"] in _UP and one["Id"] not in self._leaving]
        for one in up[count:][::-1]:
            self._stop(one)
        resting = [one for one in there if one["State"] in ("exited", "created")]
        for _ in range(count - len(up)):
            if resting:
                self._asked.start(resting.pop(0)["Id"])
            else:
                self._start_another(there)
                there = self._containers(name)

    def _start_another(self, there: list[dict[str, Any]]) -> None:
        """As the first is: image, command, environment, volumes, limits, networks."""
        like = self._asked.inspect_container(there[0]["Id"])
        if any((like["HostConfig"].get("PortBindings") or {}).values()):
            raise ScalingError(f"{like['Name']} has a port of this machine, of which there is one")
        numbers = {int(one["Labels"].get(NUMBER, "1")) for one in there}
        number = next(n for n in range(1, len(numbers) + 2) if n not in numbers)
        config = copied(like, number)
        service = config["Labels"][SERVICE]
        networks = config.pop("NetworkingConfig")
        first = dict(list(networks.items())[:1])
        made = self._asked.create_container_from_config(
            config | {"NetworkingConfig": {"EndpointsConfig": first}}, f"{self._project}-{service}-{number}"
        )
        for network, endpoint in list(networks.items())[1:]:
            self._asked.connect_container_to_network(made["Id"], network, aliases=endpoint.get("Aliases"))
        self._asked.start(made["Id"])

    def _stop(self, one: dict[str, Any]) -> None:
        """Returns at once; a thread waits for as long as it takes, and ends with the process if need be."""
        self._leaving.add(one["Id"])
        threading.Thread(target=self._stopped, args=(one,), daemon=True).start()

    def _stopped(self, one: dict[str, Any]) -> None:
        engine = docker.APIClient(base_url=self._url, version="auto", timeout=STOP_WAIT_S + _TIMEOUT_S)
        try:
            engine.stop(one["Id"], timeout=STOP_WAIT_S)
            if one["Labels"].get(MADE):
                engine.remove_container(one["Id"])
        except (DockerException, requests.RequestException) as error:
            log.warning("container_not_stopped", reason=type(error).__name__)
        finally:
            self._leaving.discard(one["Id"])
            engine.close()


def copied(like: Mapping[str, Any], number: int) -> dict[str, Any]:
    """What makes another container like the one that was looked at. ``NetworkingConfig``: by network. Pure."""
    config = {name: value for name, value in like["Config"].items() if name not in ("Hostname", "Domainname")}
    labels = {**config.get("Labels", {}), NUMBER: str(number), MADE: "1"}
    own = like["Id"][:12]
    networks = {
        network: {"Aliases": [alias for alias in endpoint.get("Aliases") or () if alias != own]}
        for network, endpoint in (like.get("NetworkSettings", {}).get("Networks") or {}).items()
    }
    return {
        **config,
        "Image": like["Image"],
        "Labels": labels,
        "HostConfig": like["HostConfig"],
        "NetworkingConfig": networks,
    }
