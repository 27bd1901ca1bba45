"""The adapters of one served model, kept up with the folder while it answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from libs.shared.errors import AdapterBroken, AdapterNotFound, ModelDoesNotFit, ServiceError
from libs.shared.telemetry import get_logger
from services.inference.adapters import FORMATS, Adapter, fingerprint, is_for, read_adapters
from services.inference.models import ADAPTERS_FOLDER, ModelSpec
from services.inference.unfinished_loads import MOST_TRIES, UnfinishedLoads

LOOK_S = 2.0
"""How often the folder is looked at: an adapter can be brought, changed and taken away while the node runs."""

log = get_logger(__name__)

Check = Callable[[Adapter], None]
"""Whether the model can take it, by its files alone. Raises ServiceError."""


class AdapterShelf:
    """By name. What can't be used is refused by name, and the model answers as before."""

    def __init__(self, models: Path, spec: ModelSpec, check: Check, unfinished: UnfinishedLoads) -> None:
        self._models = models
        self._spec = spec
        self._check = check
        self.unfinished = unfinished
        self._found: dict[str, Adapter] = {}
        self._refused: dict[str, str] = {}
        self._useless: dict[Adapter, str] = {}
        """Those that a load has shown to be of no use."""
        self._seen: object = None
        self._following: asyncio.Task[None] | None = None

    @property
    def adapters(self) -> dict[str, Adapter]:
        """Those that the model can answer with."""
        return self._found

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self._found))

    @property
    def restricted(self) -> tuple[str, ...]:
        """Those that not everybody may use."""
        return tuple(name for name in self.names if self._found[name].restricted)

    def troubles(self) -> tuple[str, ...]:
        """Words for telemetry's ``degraded``."""
        return tuple(f"{name}: {code}" for name, code in sorted(self._refused.items()))

    def get(self, name: str | None) -> Adapter | None:
        """None for none. Raises AdapterNotFound."""
        if name is None:
            return None
        if (adapter := self._found.get(name)) is None:
            raise AdapterNotFound(f"this node has no adapter {name} for {self._spec.name}")
        return adapter

    def refuse(self, adapter: Adapter, error: ServiceError) -> None:
        """It turned out to be of no use: it is not offered any more until its files change, or, where it only found no
        room, until something in the folder does."""
        log.warning("adapter_refused", model=self._spec.name, adapter=adapter.name, code=error.code)
        if self._found.get(adapter.name) == adapter:
            self._found = {name: one for name, one in self._found.items() if name != adapter.name}
            self._refused[adapter.name] = error.code
            if not isinstance(error, ModelDoesNotFit):
                self._useless[adapter] = error.code

    def begin(self, changed: Callable[[], Awaitable[None]]) -> None:
        """From now on it keeps up, until it is closed; ``changed`` is awaited after every change, and at once where
        some are still to be tried alone."""
        self._following = asyncio.create_task(self._follow(changed))

    async def close(self) -> None:
        if self._following is not None:
            self._following.cancel()
            with suppress(asyncio.CancelledError):
                await self._following
        self.unfinished.end()

    async def look(self) -> bool:
        """Takes in what has changed in the folder; whether anything had."""
        try:
            seen = await asyncio.to_thread(fingerprint, self._models / ADAPTERS_FOLDER)
            if seen == self._seen:
                return False
            self._found, self._refused = await asyncio.to_thread(self._read)
        except OSError:
            return False  # the folder comes or goes this moment: next time
        self._seen = seen
        log.info("adapters_found", model=self._spec.name, adapters=len(self._found), refused=len(self._refused))
        return True

    async def _follow(self, changed: Callable[[], Awaitable[None]]) -> None:
        new = any(self.unfinished.tries(adapter) for adapter in self._found.values())
        while True:
            try:
                if new or await self.look():
                    new = False
                    await changed()
            except Exception as error:
                # The model goes on with what it has, and what changes next is still seen.
                log.error("adapters_not_taken", model=self._spec.name, exc_info=error)
            await asyncio.sleep(LOOK_S)

    def _read(self) -> tuple[dict[str, Adapter], dict[str, str]]:
        found, refused = read_adapters(self._models, FORMATS[self._spec.backend])
        mine: dict[str, Adapter] = {}
        for name, adapter in found.items():
            if not is_for(adapter, self._spec):
                continue
            if (code := self._useless.get(adapter)) is not None:
                refused[name] = code
                continue
            try:
                self._check_tries(adapter)
                self._check(adapter)
            except ServiceError as error:
                refused[name] = error.code
            except Exception as error:
                # Whatever a library makes of a damaged file, it is the file's fault.
                log.warning("adapter_unreadable", adapter=name, exc_info=error)
                refused[name] = AdapterBroken.code
            else:
                mine[name] = adapter
        return mine, refused

    def _check_tries(self, adapter: Adapter) -> None:
        if (tries := self.unfinished.tries(adapter)) >= MOST_TRIES:
            raise AdapterBroken(f"{adapter.name} ended the process {tries} times while it was loaded")
