"""Workers as processes of the local installation's supervisor, which starts, restarts and retires them."""

from __future__ import annotations

import asyncio
import http.client
import xmlrpc.client
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from libs.shared.supervisor import called
from services.optimizer.scaling.base import Bounds, Count, NotOurs, ScalingError, owned

_TIMEOUT_S = 5.0
_BAD_NAME = 10
"""supervisord's fault for a program that it hasn't, or that can't be several."""


class SupervisedProcesses:
    """``socket``: the supervisor's, of the installation's own user."""

    def __init__(self, socket: Path, bounds: Mapping[str, Bounds]) -> None:
        self._socket = socket
        self._bounds = bounds

    async def counts(self) -> dict[str, Count]:
        found = await self._asked("mongars.workers")
        return {
            name: Count(running=found[name]["running"], wanted=found[name]["wanted"], least=own.least, most=own.most)
            for name, own in self._bounds.items()
            if name in found
        }

    async def scale(self, name: str, count: int) -> None:
        owned(self._bounds, name)
        await self._asked("mongars.scale", name, count)

    async def close(self) -> None:
        """Each question has its own connection."""

    async def _asked(self, method: str, *arguments: Any) -> Any:
        try:
            return await asyncio.to_thread(called, self._socket, method, *arguments, timeout_s=_TIMEOUT_S)
        except xmlrpc.client.Fault as fault:
            kind = NotOurs if fault.faultCode == _BAD_NAME else ScalingError
            raise kind(fault.faultString) from None
        except (OSError, http.client.HTTPException, xmlrpc.client.Error) as error:
            raise ScalingError(f"the supervisor does not answer ({type(error).__name__})") from None
