"""The embedders of one node: the built-in one always loaded, the installed ones while they are used."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from time import monotonic

from libs.shared.contracts.telemetry import ServedModel
from libs.shared.errors import BackendFailed, ModelBroken, ModelNotFound, ServiceError
from libs.shared.telemetry import get_logger
from services.inference.embedder import Embedder, prepare
from services.inference.embedder_specs import Purpose, Spec, candidates, fingerprint, read_spec

LOOK_S = 3.0
"""How often the folder is looked at: an embedder can be added while the node runs."""
IDLE_S = 1800.0
"""One that was not asked for so long is unloaded."""
BYTES_PER_TOKEN = 4.5
"""Of English and French in BERT's vocabulary."""

log = get_logger(__name__)


class Shelf:
    """One embedder, loaded when it is first asked."""

    def __init__(self, spec: Spec, threads: int, available_mib: Callable[[], float]) -> None:
        self.spec = spec
        self._threads = threads
        self._available_mib = available_mib
        self._loaded: Embedder | None = None
        self._loading = asyncio.Lock()
        self._users = 0
        self._used_at = monotonic()

    @property
    def loaded(self) -> bool:
        return self._loaded is not None and self._loaded.ready

    async def load(self) -> Embedder:
        """Once, however many ask meanwhile. Raises what Embedder.start raises."""
        async with self._loading:
            if self._loaded is None:
                embedder = Embedder(self.spec, threads=self._threads, available_mib=self._available_mib)
                try:
                    await embedder.start()
                except BaseException:
                    await embedder.close()
                    raise
                self._loaded = embedder
                log.info("embedder_loaded", embedder=self.spec.id)
            return self._loaded

    async def embed(self, texts: tuple[str, ...], purpose: Purpose, *, background: bool) -> tuple[list[bytes], int]:
        """Raises what loading raises, and Overloaded."""
        self._users += 1
        try:
            embedder = await self.load()
            return await embedder.embed(texts, purpose=purpose, background=background)
        finally:
            self._users -= 1
            self._used_at = monotonic()

    def stop_background(self) -> None:
        if self._loaded is not None:
            self._loaded.stop_background()

    def idle_s(self) -> float:
        """Seconds since it was used; 0 while it is."""
        return 0.0 if self._users else monotonic() - self._used_at

    async def unload(self, *, in_use: bool = False) -> None:
        """It is loaded again when it is asked. While somebody waits for it, it stays, unless ``in_use`` may go, too."""
        async with self._loading:
            if self._users and not in_use:
                return
            embedder, self._loaded = self._loaded, None
            if embedder is not None:
                await embedder.close()
                log.info("embedder_unloaded", embedder=self.spec.id)


class Embedders:
    """By name. ``changed`` hears when one comes or goes."""

    def __init__(
        self,
        built_in: Callable[[], Spec],
        folder: Path,
        *,
        threads: int,
        available_mib: Callable[[], float],
        changed: Callable[[bool], None],
    ) -> None:
        self._built_in = built_in
        self._folder = folder
        self._threads = threads
        self._available_mib = available_mib
        self._changed = changed
        self._default: Shelf | None = None
        self._installed: dict[str, Shelf] = {}
        self._retired: list[Shelf] = []
        self._refused: dict[str, str] = {}
        self._seen: object = None

    @property
    def ready(self) -> bool:
        """Whether the built-in one is loaded."""
        return self._default is not None and self._default.loaded

    async def start(self) -> None:
        """Loads the built-in one. Raises BackendFailed."""
        try:
            spec = self._built_in()
        except ModuleNotFoundError as error:
            raise BackendFailed(f"the embedder needs {error.name} installed", reason="not_installed") from error
        self._default = self._shelf(spec)
        await self._default.load()
        self._changed(True)

    async def follow(self) -> None:
        """Keeps up with the folder, and unloads what is idle, until cancelled."""
        while True:
            await self.look()
            await self.tidy()
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Takes in what has changed in the folder."""
        try:
            seen = await asyncio.to_thread(fingerprint, self._folder)
        except OSError:
            return  # something goes or comes this moment: next time
        if seen == self._seen:
            return
        self._seen = seen
        found: dict[str, Shelf] = {}
        refused: dict[str, str] = {}
        for folder in await asyncio.to_thread(lambda: list(candidates(self._folder))):
            try:
                shelf = await self._found(folder)
            except (ServiceError, OSError) as error:
                refused[folder.name] = error.code if isinstance(error, ServiceError) else ModelBroken.code
                log.warning("embedder_refused", embedder=folder.name, reason=refused[folder.name])
            else:
                found[folder.name] = shelf
        self._retired += [shelf for name, shelf in self._installed.items() if found.get(name) is not shelf]
        self._installed, self._refused = found, refused
        self._changed(True)

    async def tidy(self) -> None:
        """Unloads what nobody has asked for long, and what went."""
        for shelf in [s for s in self._installed.values() if s.loaded and s.idle_s() > IDLE_S]:
            await shelf.unload()
        for shelf in [s for s in self._retired if s.idle_s() > 0]:
            await shelf.unload()
            if not shelf.loaded:
                self._retired.remove(shelf)

    async def embed(
        self, name: str, texts: tuple[str, ...], purpose: Purpose, *, background: bool
    ) -> tuple[Spec, list[bytes], int]:
        """Raises ModelNotFound, what loading raises, Overloaded."""
        shelf = self._by_name(name)
        if shelf is None:
            raise ModelNotFound(f"this node has no embedder {name}")
        vectors, tokens = await shelf.embed(texts, purpose, background=background)
        return shelf.spec, vectors, tokens

    def stop_background(self) -> None:
        """All of them refuse what nobody waits for, at once and in the middle."""
        for shelf in filter(None, (self._default, *self._installed.values(), *self._retired)):
            shelf.stop_background()

    def most_tokens(self, name: str) -> int:
        """Of a text that the embedder reads."""
        shelf = self._by_name(name)
        return shelf.spec.description.max_tokens if shelf else 0

    def served(self) -> tuple[ServedModel, ...]:
        """The built-in one first, once it is loaded; the others whether they are loaded or not."""
        default = [self._default] if self._default is not None and self._default.loaded else []
        return tuple(_served(shelf.spec) for shelf in (*default, *self._installed.values()))

    def troubles(self) -> tuple[str, ...]:
        """Those that can't be used, for the node's telemetry."""
        return tuple(f"{name}: {reason}" for name, reason in sorted(self._refused.items()))

    async def close(self) -> None:
        """After the bus has drained."""
        for shelf in filter(None, (self._default, *self._installed.values(), *self._retired)):
            await shelf.unload(in_use=True)

    def _by_name(self, name: str) -> Shelf | None:
        if self._default is not None and self._default.spec.name == name:
            return self._default if self._default.loaded else None
        return self._installed.get(name)

    async def _found(self, folder: Path) -> Shelf:
        """The shelf that is there already, if it is the same embedder."""
        spec = await asyncio.to_thread(read_spec, folder)
        known = self._installed.get(folder.name)
        if known is not None and known.spec == spec:
            return known
        await prepare(spec)
        log.info("embedder_found", embedder=spec.id, dimensions=spec.dimensions)
        return self._shelf(spec)

    def _shelf(self, spec: Spec) -> Shelf:
        return Shelf(spec, self._threads, self._available_mib)


def _served(spec: Spec) -> ServedModel:
    return ServedModel(
        name=spec.name,
        backend="minilm" if spec.built_in else "onnx",
        kind="embed",
        context_tokens=spec.description.max_tokens,
        bytes_per_token=BYTES_PER_TOKEN,
        dimensions=spec.dimensions,
        embedder=spec.id,
    )
