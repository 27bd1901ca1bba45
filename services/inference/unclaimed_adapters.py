"""Adapters that no model of this node takes: without a word, a slip in a model's name would be hard to find."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from libs.shared.errors import AdapterMismatched
from libs.shared.telemetry import get_logger
from services.inference.adapter_shelf import LOOK_S
from services.inference.adapters import FORMATS, fingerprint, is_for, read_adapters
from services.inference.models import ADAPTERS_FOLDER, ModelSpec

log = get_logger(__name__)


class UnclaimedAdapters:
    """``changed`` hears when there are others."""

    def __init__(self, models: Path, specs: Sequence[ModelSpec], changed: Callable[[bool], None]) -> None:
        self._models = models
        self._specs = tuple(spec for spec in specs if spec.backend in FORMATS)
        self._changed = changed
        self._seen: object = ()
        self._names: tuple[str, ...] = ()

    def troubles(self) -> tuple[str, ...]:
        """For the node's telemetry."""
        return tuple(f"{name}: {AdapterMismatched.code}" for name in self._names)

    async def follow(self) -> None:
        """Keeps up with the folder, until cancelled."""
        while True:
            try:
                await self.look()
            except Exception as error:
                # It only names what is amiss: the service doesn't end with it.
                log.error("unclaimed_adapters_not_read", exc_info=error)
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Takes in what has changed."""
        try:
            seen = await asyncio.to_thread(fingerprint, self._models / ADAPTERS_FOLDER)
            if seen == self._seen:
                return
            self._names = await asyncio.to_thread(self._read)
        except OSError:
            return  # the folder comes or goes this moment: next time
        self._seen = seen
        self._changed(True)

    def _read(self) -> tuple[str, ...]:
        """Those that say whose they are, and aren't anybody's here; in no format."""
        found: dict[str, bool] = {}
        for wanted in set(FORMATS.values()):
            specs = [spec for spec in self._specs if FORMATS[spec.backend] == wanted]
            for name, adapter in read_adapters(self._models, wanted)[0].items():
                found[name] = found.get(name, False) or any(is_for(adapter, spec) for spec in specs)
        return tuple(sorted(name for name, claimed in found.items() if not claimed))
