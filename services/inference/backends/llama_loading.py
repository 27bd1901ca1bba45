"""Brings a GGUF model into memory with its adapters (xllamacpp), and once more when others come."""

from __future__ import annotations

import json
import secrets
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from libs.shared.errors import AdapterMismatched, AdapterNotFound, ModelBroken, ModelDoesNotFit, ServiceError
from libs.shared.gguf import Header, read_header
from services.inference import gguf
from services.inference.adapter_shelf import AdapterShelf
from services.inference.adapters import Adapter
from services.inference.backends.slots import Slots
from services.inference.fit import Needs, Shape, check_fit
from services.inference.models import ModelSpec

BATCH_TOKENS = 128
"""A prompt is read in steps of so many tokens, and a cancellation is heard between two."""


@dataclass(frozen=True)
class Loaded:
    """A model in memory with its adapters, each known there by its place, and its slots."""

    server: Any
    adapters: tuple[Adapter, ...]
    slots: Slots

    def chosen(self, wanted: Adapter | None) -> dict[str, Any]:
        """For a request: each adapter's share, since what isn't said stays as it was for the one before. One whose
        files have changed since is taken as it was.

        Raises AdapterNotFound.
        """
        name = wanted.name if wanted is not None else None
        if name is not None and all(one.name != name for one in self.adapters):
            raise AdapterNotFound(f"{name} is not in memory")
        if not self.adapters:
            return {}
        return {"lora": [{"id": at, "scale": float(one.name == name)} for at, one in enumerate(self.adapters)]}


class Loading:
    """Of one model. llama.cpp's own HTTP side can't be switched off: it gets a socket that nobody else can reach."""

    def __init__(
        self,
        spec: ModelSpec,
        shelf: AdapterShelf,
        *,
        slots: int,
        threads: int,
        available_mib: Callable[[], float],
    ) -> None:
        assert spec.path is not None
        self._spec = spec
        self._path = spec.path
        self._shelf = shelf
        self._slots = slots
        self._threads = threads
        self._available_mib = available_mib
        self._shape: Shape | None = None

    def measure(self, wanted_context: int) -> tuple[Header, Shape]:
        """What the file says of itself. Raises ModelBroken, ModelDoesNotFit."""
        header = read_header(self._path)
        self._shape = gguf.shape(self._path, header, wanted_context, self._slots)
        check_fit(self._spec.name, self._shape.needs, self._available_mib())
        return header, self._shape

    def begin(self) -> Loaded:
        """The model with every adapter that it can take; those that it can't are refused, and it goes on without them,
        as it does for now without those that were being loaded when the process ended. Raises ModelBroken."""
        wanted = tuple(adapter for adapter in self._wanted() if not self._shelf.unfinished.tries(adapter))
        if wanted and (full := self.find_no_room(wanted, first=True)) is not None:
            self._refuse(wanted, full)
            wanted = ()
        if wanted and (loaded := self._try(wanted)) is not None:
            return loaded
        wanted = tuple(adapter for adapter in wanted if self._takes(adapter))
        return Loaded(self.start(wanted), wanted, Slots(self._slots))

    def renew(self, before: Loaded) -> Loaded | None:
        """The model once more, for adapters that came. Where that can't be done they are refused, and the one that
        answers goes on with those that it has: None."""
        wanted = self._wanted()
        came = tuple(adapter for adapter in wanted if adapter not in before.adapters)
        if not came:
            return None
        if (full := self.find_no_room(wanted)) is not None:
            self._refuse(came, full)
            return None
        suspects = tuple(adapter for adapter in came if self._shelf.unfinished.tries(adapter))
        came = tuple(adapter for adapter in came if adapter not in suspects or self._takes(adapter))
        if not came:
            return None
        if (loaded := self._try(_among(wanted, before, came))) is not None:
            return loaded
        if came := self._sift(came):
            loaded = self._try(_among(wanted, before, came))
        if loaded is None:
            self._refuse(came, ModelDoesNotFit(f"{self._spec.name} can't be loaded a second time beside itself"))
        return loaded

    def find_no_room(self, adapters: tuple[Adapter, ...], *, first: bool = False) -> ModelDoesNotFit | None:
        """Beside what is in memory already; weights are mapped from their file, and shared."""
        assert self._shape is not None
        weights = sum(adapter.size for adapter in adapters)
        if first:
            weights += self._shape.needs.weights
        try:
            check_fit(self._spec.name, Needs(weights, self._shape.needs.cache), self._available_mib())
        except ModelDoesNotFit as error:
            return error
        return None

    def _sift(self, came: tuple[Adapter, ...]) -> tuple[Adapter, ...]:
        """Those that the model takes, each tried alone; all, where it isn't their fault that they can't be loaded."""
        if self._try(()) is None:
            return came
        return tuple(adapter for adapter in came if self._takes(adapter))

    def _wanted(self) -> tuple[Adapter, ...]:
        found = self._shelf.adapters
        return tuple(found[name] for name in sorted(found))

    def _refuse(self, adapters: tuple[Adapter, ...], error: ServiceError) -> None:
        for adapter in adapters:
            self._shelf.refuse(adapter, error)

    def _takes(self, adapter: Adapter) -> bool:
        """Whether the model loads with this one, and makes a token."""
        if self._try((adapter,)) is None:
            self._shelf.refuse(adapter, AdapterMismatched(f"llama.cpp can't load {adapter.name} with this model"))
            return False
        return True

    def _try(self, adapters: tuple[Adapter, ...]) -> Loaded | None:
        """The model with these, after a token with each: one that is ended before its first request may never end.
        None if it can't be loaded. What llama.cpp doesn't survive leaves its mark."""
        try:
            with self._shelf.unfinished.marked(adapters):
                loaded = Loaded(self.start(adapters), adapters, Slots(self._slots))
                for adapter in adapters or (None,):
                    trial = {"prompt": "a", "n_predict": 1, **loaded.chosen(adapter)}
                    loaded.server.handle_completions(json.dumps(trial), lambda event: False)
        except (ModelBroken, RuntimeError):
            return None
        return loaded

    def start(self, adapters: tuple[Adapter, ...]) -> Any:
        """The server, with those in their order. Raises ModelBroken."""
        import xllamacpp

        with tempfile.TemporaryDirectory(prefix="mongars-llama-") as folder:
            params = self._params(xllamacpp, Path(folder))
            params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(one.path), 0.0) for one in adapters]
            params.lora_init_without_apply = True
            try:
                return xllamacpp.Server(params)
            except RuntimeError as error:
                raise ModelBroken(f"llama.cpp can't load {self._path.name}") from error

    def _params(self, xllamacpp: Any, folder: Path) -> Any:
        assert self._shape is not None
        params = xllamacpp.CommonParams()
        params.model.path = str(self._path)
        params.n_ctx = self._shape.context_tokens * self._slots
        params.n_parallel = self._slots
        params.n_batch = params.n_ubatch = BATCH_TOKENS
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = self._threads
        params.n_gpu_layers = int(self._spec.options.get("gpu_layers", -1))
        if (reads_images := projector(self._spec)) is not None:
            params.mmproj.path = str(reads_images)
        params.hostnames = [str(folder / "llama.sock")]
        params.api_keys = [secrets.token_hex(32)]
        params.n_threads_http = 1
        params.ui = params.warmup = params.fit_params = params.endpoint_slots = False
        params.cache_ram_mib = 0
        params.verbosity = -1
        return params


def _among(wanted: tuple[Adapter, ...], before: Loaded, came: tuple[Adapter, ...]) -> tuple[Adapter, ...]:
    return tuple(adapter for adapter in wanted if adapter in before.adapters or adapter in came)


def projector(spec: ModelSpec) -> Path | None:
    """The half of a vision model that reads images."""
    stated = spec.options.get("mmproj")
    return (spec.path.parent / str(stated)).resolve() if stated and spec.path else None
