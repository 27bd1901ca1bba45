"""Keeps the Ray host running: starts it, hears of its progress, starts it again when it ends."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress

from libs.shared.telemetry import get_logger
from services.inference.models import ModelSpec

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
WELL_S = 60.0
"""After running so long, the next pause is the first one again."""
STOP_TIMEOUT_S = 20.0

log = get_logger(__name__)


class RayRuntime:
    """``run`` until cancelled. ``changed`` is told whenever ``started``, ``loading`` or ``failed`` may differ."""

    def __init__(self, specs: Sequence[ModelSpec], changed: Callable[[], None]) -> None:
        self._specs = specs
        self._changed = changed
        self.started = False
        self.loading = {spec.name for spec in specs}
        self.failed: set[str] = set()

    async def run(self) -> None:
        """Each life of the host, with growing pauses between short ones."""
        loop = asyncio.get_running_loop()
        pause_s = FIRST_PAUSE_S
        while True:
            begun = loop.time()
            await self._live()
            if loop.time() - begun > WELL_S:
                pause_s = FIRST_PAUSE_S
            log.warning("ray_host_ended", restart_in_s=pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _live(self) -> None:
        self._reset()
        host = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "services.inference.ray_host",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            # In its own session: Ctrl-C at the terminal is for the service, which stops the host in order.
            start_new_session=True,
        )
        try:
            await self._listen(host)
        finally:
            await asyncio.shield(_stop(host))
            self._reset()

    async def _listen(self, host: asyncio.subprocess.Process) -> None:
        assert host.stdin is not None
        assert host.stdout is not None
        specs = [spec.model_dump(mode="json") for spec in self._specs]
        host.stdin.write(json.dumps(specs).encode() + b"\n")
        with suppress(ConnectionError):
            await host.stdin.drain()
        async for line in host.stdout:
            self._hear(line)

    def _hear(self, line: bytes) -> None:
        """Other lines are Ray's own words, which stand in its log too."""
        try:
            event = json.loads(line)
        except ValueError:
            return
        if not isinstance(event, dict):
            return
        if event.get("started"):
            self.started = True
            log.info("ray_started")
        if name := event.get("model"):
            self.loading.discard(name)
            if not event.get("ok"):
                self.failed.add(name)
        self._changed()

    def _reset(self) -> None:
        self.started = False
        self.loading = {spec.name for spec in self._specs}
        self.failed = set()
        self._changed()


async def _stop(host: asyncio.subprocess.Process) -> None:
    """In order when there is time, else at once: with its input closed the host ends everything it started."""
    assert host.stdin is not None
    if host.returncode is None:
        with suppress(ConnectionError):
            host.stdin.write(b"stop\n")
            await host.stdin.drain()
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await host.wait()
    host.stdin.close()
    if host.returncode is None:
        host.kill()
        await host.wait()
