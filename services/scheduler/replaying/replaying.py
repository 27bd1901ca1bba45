"""REPLAY_PLACEMENTS: in a process of its own, which stands still from each placement until a quiet moment later."""

from __future__ import annotations

import asyncio
import os
import sys

from libs.shared.background.process import HeldProcess, environment
from libs.shared.contracts.replaying_placements import PlacementsReplayed, ReplayPlacements
from libs.shared.telemetry import get_logger
from services.scheduler.registry import Registry
from services.scheduler.replaying.blocks import in_blocks
from services.scheduler.replaying.exchange import Replayed, ReplayJob
from services.scheduler.replaying.trace import Trace, server_of

QUIET_S = 1.0
LIMIT_S = 150.0
"""Standing still counts: what isn't done by then is done another night."""

log = get_logger(__name__)


class _Process(HeldProcess):
    async def answer(self, payload: bytes) -> bytes | None:
        """None where it ended otherwise than well."""
        said, _ = await self._process.communicate(payload)
        return said if self._process.returncode == 0 else None


class PlacementReplayer:
    """One replay at a time. Belongs to one event loop."""

    def __init__(self, registry: Registry, trace: Trace) -> None:
        self._registry = registry
        self._trace = trace
        self._one = asyncio.Lock()
        self._process: _Process | None = None
        self._later: asyncio.TimerHandle | None = None

    def make_way(self) -> None:
        """Somebody's request is placed now."""
        if self._process is None:
            return
        self._process.pause()
        if self._later is not None:
            self._later.cancel()
        self._later = asyncio.get_running_loop().call_later(QUIET_S, self._process.go_on)

    async def replay(self, request: ReplayPlacements) -> PlacementsReplayed:
        """What the requests of late would have waited."""
        async with self._one:
            job = self._job(request)
            nodes = len({server.node for server in job.servers})
            if nodes < 2:
                return PlacementsReplayed(nodes=nodes, reason="there is one node to choose from, or none")
            found = await self._computed(job)
        if found is None:
            return PlacementsReplayed(nodes=nodes, reason="it was not done in time")
        return await asyncio.to_thread(in_blocks, found, nodes)

    async def close(self) -> None:
        """Ends what is under way."""
        if self._process is not None:
            await self._process.end(0)

    def _job(self, request: ReplayPlacements) -> ReplayJob:
        arrivals = self._trace.arrivals
        asked = {one.model for one in arrivals}
        known = self._registry.snapshot().candidates
        servers = [server_of(one) for model in sorted(asked & known.keys()) for one in known[model]]
        return ReplayJob(arrivals=arrivals, servers=tuple(servers), ways=request.ways)

    async def _computed(self, job: ReplayJob) -> Replayed | None:
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "services.scheduler.replaying.child",
            str(os.getpid()),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=environment(1),
            start_new_session=True,
        )
        process = self._process = _Process(child)
        try:
            async with asyncio.timeout(LIMIT_S):
                said = await process.answer(job.model_dump_json().encode())
        except TimeoutError:
            said = None
        finally:
            self._process = None
            if self._later is not None:
                self._later.cancel()
                self._later = None
            await process.end(0)
        if said is None:
            log.info("placements_not_replayed", requests=len(job.arrivals))
            return None
        return Replayed.model_validate_json(said)
