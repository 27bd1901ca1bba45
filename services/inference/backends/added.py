"""The upstreams that were added by command: follows their file, and asks each through a backend of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

from libs.shared import upstreams
from libs.shared.contracts.inference import GenerateChunk, GenerateRequest
from libs.shared.contracts.telemetry import ServedModel
from libs.shared.errors import BackendFailed, ServiceError
from libs.shared.layout import StateFolder
from libs.shared.telemetry import get_logger
from libs.shared.upstreams import AddedUpstream
from services.inference.backends.base import Backend, Changed
from services.inference.models import ModelSpec

LOOK_S = 1.0
"""How often the file is looked at."""
SLOTS = 64
"""Of all upstreams together; each has a queue of its own."""
UNREADABLE = "upstreams.json: unreadable-configuration"

log = get_logger(__name__)

Mark = tuple[AddedUpstream, int]
"""What an upstream was made from; the number changes with its key."""


class AddedUpstreams:
    """All of them. What is under way at one that is removed ends."""

    name = "upstreams"
    slots = SLOTS

    def __init__(self, folder: StateFolder, make: Callable[[ModelSpec], Backend]) -> None:
        self._folder = folder
        self._make = make
        self._backends: dict[Mark, Backend] = {}
        self._refused: dict[str, str] = {}
        self._seen: object = None
        self._following: asyncio.Task[None] | None = None
        self._changed: Changed = lambda: None

    async def load(self, changed: Changed) -> None:
        self._changed = changed
        await self._look()
        self._following = asyncio.create_task(self._follow(), name="added-upstreams")

    def models(self) -> tuple[ServedModel, ...]:
        """Each name once: of two servers that have it, the one that was added first answers."""
        found: dict[str, ServedModel] = {}
        for backend in self._backends.values():
            for model in backend.models():
                found.setdefault(model.name, model)
        return tuple(found.values())

    def troubles(self) -> tuple[str, ...]:
        words = [f"{name}: {reason}" if reason else name for name, reason in sorted(self._refused.items())]
        return (*words, *(word for backend in self._backends.values() for word in backend.troubles()))

    def generate(self, request: GenerateRequest) -> AsyncIterator[GenerateChunk]:
        for backend in self._backends.values():
            if any(model.name == request.model for model in backend.models()):
                return backend.generate(request)
        raise BackendFailed("the upstream went away", reason="unreachable")

    async def close(self) -> None:
        if self._following is not None:
            self._following.cancel()
            with suppress(asyncio.CancelledError):
                await self._following
        for backend in self._backends.values():
            await backend.close()

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            await self._look()

    async def _look(self) -> None:
        """Takes in what has changed in the file, and in the keys."""
        try:
            wanted = {(one, self._key_version(one)): one for one in upstreams.read(self._folder.upstreams)}
        except (OSError, ValueError):
            self._refused[UNREADABLE] = ""  # what was read before goes on
            return
        seen = tuple(wanted)
        if seen == self._seen:
            return
        self._seen = seen
        self._refused = {}
        for mark in self._backends.keys() - wanted.keys():
            log.info("upstream_removed", upstream=mark[0].name)
            await self._backends.pop(mark).close()
        fresh = [mark for mark in wanted if mark not in self._backends]
        await asyncio.gather(*(self._begin(mark) for mark in fresh))
        self._backends = {mark: self._backends[mark] for mark in wanted if mark in self._backends}
        self._changed()

    async def _begin(self, mark: Mark) -> None:
        added, _ = mark
        spec = ModelSpec(
            backend=added.backend,
            url=added.url,
            upstream=added.name,
            models=added.models,
            api_key_file=self._folder.upstream_key(added.name) if added.key else None,
        )
        try:
            backend = self._make(spec)
            await backend.load(lambda: self._changed())
        except ServiceError as error:
            self._refused[added.name] = error.code
            log.warning("upstream_refused", upstream=added.name, code=error.code, reason=error.data.get("reason"))
            return
        self._backends[mark] = backend
        log.info("upstream_loaded", upstream=added.name, models=len(backend.models()))

    def _key_version(self, added: AddedUpstream) -> int:
        try:
            return self._folder.upstream_key(added.name).stat().st_mtime_ns if added.key else 0
        except OSError:
            return -1
