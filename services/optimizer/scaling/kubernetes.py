"""Workers as replicas of this installation's own Deployments, each by its name.

Few calls of the API server, with the pod's own service account. What that has to be allowed: ``get`` and ``patch`` of
``deployments/scale`` (and ``get`` of ``deployments``) by ``resourceNames``, and ``list`` of
``horizontalpodautoscalers``; ``list`` of KEDA's ``scaledobjects`` where it is installed.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp

from services.optimizer.scaling.base import Autoscaled, Bounds, Count, NotOurs, ScalingError, owned

ATTEMPTS = 5
"""Of a change that somebody else came before."""
_TIMEOUT = aiohttp.ClientTimeout(total=10)
_APPS = "/apis/apps/v1/namespaces/{}/deployments"
_AUTOSCALERS = "/apis/autoscaling/v2/namespaces/{}/horizontalpodautoscalers"
_KEDA = "/apis/keda.sh/v1alpha1/namespaces/{}/scaledobjects"
_MERGE = {"content-type": "application/merge-patch+json"}


@dataclass(frozen=True)
class Cluster:
    """Where the API server is, and as whom it is asked."""

    url: str
    account: Path
    """The folder of the service account: ``token``, ``ca.crt``, ``namespace``."""
    namespace: str | None = None
    """None: the account's own."""
    prefix: str = ""
    """Before a name, what its deployment is called."""


class Refused(ScalingError):
    """The API server said no."""

    def __init__(self, status: int, what: str) -> None:
        super().__init__(f"{what}: the API server answered {status}")
        self.status = status


class Deployments:
    """Each name of ``bounds`` is a Deployment's, with the cluster's prefix."""

    def __init__(self, cluster: Cluster, bounds: Mapping[str, Bounds]) -> None:
        self._cluster, self._bounds = cluster, bounds
        self._session: aiohttp.ClientSession | None = None

    async def counts(self) -> dict[str, Count]:
        autoscaled = await self._autoscaled()
        found: dict[str, Count] = {}
        for name, own in self._bounds.items():
            try:
                running, wanted = await self._replicas(name)
            except Refused as error:
                if error.status != HTTPStatus.NOT_FOUND:
                    raise
                continue
            found[name] = Count(running, wanted, own.least, own.most, self._deployment(name) in autoscaled)
        return found

    async def scale(self, name: str, count: int) -> None:
        owned(self._bounds, name)
        for _ in range(ATTEMPTS):
            if self._deployment(name) in await self._autoscaled():
                raise Autoscaled(f"an autoscaler decides how many there are of {name}")
            try:
                await self._set(name, count)
                return
            except Refused as error:
                if error.status == HTTPStatus.FORBIDDEN:
                    raise NotOurs(f"this account may not scale {self._deployment(name)}") from None
                if error.status != HTTPStatus.CONFLICT:
                    raise
        raise ScalingError(f"somebody else changes {self._deployment(name)} all the time")

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    # ------------------------------------------------------------------ what is asked

    def _deployment(self, name: str) -> str:
        return self._cluster.prefix + name

    async def _replicas(self, name: str) -> tuple[int, int]:
        """That are ready, and that are wanted. Where deployments may not be read, all that there are count as ready."""
        path = f"{_APPS.format(self._namespace())}/{self._deployment(name)}"
        try:
            told = await self._asked("GET", path)
            return number(told, "status", "readyReplicas"), number(told, "spec", "replicas")
        except Refused as error:
            if error.status != HTTPStatus.FORBIDDEN:
                raise
        told = await self._asked("GET", f"{path}/scale")
        return number(told, "status", "replicas"), number(told, "spec", "replicas")

    async def _set(self, name: str, count: int) -> None:
        """As long as nobody else did since it was read."""
        path = f"{_APPS.format(self._namespace())}/{self._deployment(name)}/scale"
        told = await self._asked("GET", path)
        if number(told, "spec", "replicas") != count:
            version = str(told.get("metadata", {}).get("resourceVersion", ""))
            await self._asked("PATCH", path, {"metadata": {"resourceVersion": version}, "spec": {"replicas": count}})

    async def _autoscaled(self) -> set[str]:
        """Deployments that something else scales. Raises ScalingError where that can't be known."""
        namespace = self._namespace()
        items = (await self._asked("GET", _AUTOSCALERS.format(namespace))).get("items", [])
        try:  # KEDA makes an autoscaler for each of its own, except while it is paused
            keda = (await self._asked("GET", _KEDA.format(namespace))).get("items", [])
        except Refused as error:
            if error.status not in (HTTPStatus.NOT_FOUND, HTTPStatus.FORBIDDEN):
                raise
            keda = []
        return scaled_by(items) | scaled_by(keda)

    # ------------------------------------------------------------------ how it is asked

    def _namespace(self) -> str:
        return self._cluster.namespace or self._read("namespace")

    def _read(self, name: str) -> str:
        """Anew each time: tokens end, and are replaced in their file."""
        try:
            return (self._cluster.account / name).read_text().strip()
        except OSError as error:
            raise ScalingError(f"the service account's {name} can't be read ({type(error).__name__})") from None

    async def _asked(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Raises Refused, ScalingError."""
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=_TIMEOUT, trust_env=False)
        headers = {"authorization": f"Bearer {self._read('token')}", "accept": "application/json"}
        try:
            async with self._session.request(
                method,
                self._cluster.url + path,
                json=body,
                headers=headers | (_MERGE if body is not None else {}),
                ssl=self._tls(),
                allow_redirects=False,
            ) as reply:
                if reply.status != HTTPStatus.OK:
                    raise Refused(reply.status, f"{method} {path}")
                found: dict[str, Any] = await reply.json()
                return found
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise ScalingError(f"the API server does not answer ({type(error).__name__})") from None

    def _tls(self) -> ssl.SSLContext | bool:
        if not self._cluster.url.startswith("https"):
            return True
        authority = self._cluster.account / "ca.crt"
        try:
            return ssl.create_default_context(cafile=str(authority))
        except OSError:
            raise ScalingError("the cluster's certificate authority can't be read") from None


def number(told: Mapping[str, Any], part: str, name: str) -> int:
    """The API leaves out what is nought. Raises ScalingError for what is no number. Pure."""
    found = (told.get(part) or {}).get(name) or 0
    if not isinstance(found, int):
        raise ScalingError(f"the API server's {part}.{name} is no number")
    return found


def scaled_by(autoscalers: Sequence[Mapping[str, Any]]) -> set[str]:
    """The Deployments that they have; what is said of no kind is a Deployment to KEDA. Pure."""
    targets = [(one.get("spec") or {}).get("scaleTargetRef") or {} for one in autoscalers]
    return {str(target.get("name")) for target in targets if target.get("kind", "Deployment") == "Deployment"}
