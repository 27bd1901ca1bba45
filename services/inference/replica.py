"""One place that answers requests: a backend behind a bounded queue, which measures itself and tells of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from time import monotonic

from libs.shared.bus.base import Bus
from libs.shared.contracts.inference import GENERATE, GenerateChunk, GenerateRequest
from libs.shared.contracts.telemetry import Replica as ReplicaState
from libs.shared.contracts.telemetry import ReplicaTelemetry, ServedModel
from libs.shared.errors import AdapterNotFound, ModelNotFound, RemoteNotAllowed
from libs.shared.telemetry import metrics
from services.inference.admission import Admission
from services.inference.ahead import Ahead, Work
from services.inference.backends.base import Backend, TakesAdapters, prompt_bytes, refuse_unsupported
from services.inference.giving_way import GivingWay
from services.inference.rates import Clock, Known, Measured
from services.inference.thinking import Apart

Changed = Callable[[bool], None]
"""Told of a change of what the replica would tell of itself; True when it can't wait."""


@dataclass(frozen=True)
class Identity:
    """Who a replica is: ``boot_id`` tells one life of its process from the next."""

    node_id: str
    replica: str
    boot_id: str


class Replica:
    """Serves GENERATE on its own subject."""

    def __init__(
        self, identity: Identity, backend: Backend, *, max_queue: int, changed: Changed, way: GivingWay | None = None
    ) -> None:
        """``way`` is shared with the replicas that compute in the same process."""
        self.identity = identity
        self._backend = backend
        self._admission = Admission(backend.slots, max_queue, changed)
        self._changed = changed
        self._measured: dict[str, Measured] = {}
        self._models: dict[str, ServedModel] = {}
        self._sequence = 0
        self._generated_tokens = 0
        self._ahead = Ahead()
        self._background = 0
        self._way = way or GivingWay()

    async def serve(self, bus: Bus) -> None:
        """Loads the backend and begins to answer. Raises what loading raises."""
        await self._backend.load(self._take_models)
        self._take_models()
        await bus.serve_stream(GENERATE, self.generate, replica=self.identity.replica)

    async def generate(self, request: GenerateRequest) -> AsyncIterator[GenerateChunk]:
        """Raises as GenerateRequest says; closing the iterator stops the backend's work at once."""
        self._ahead.see(request.ticket)
        model = self._models.get(request.model)
        if model is None:
            raise ModelNotFound(f"replica {self.identity.replica} does not serve this model")
        if model.remote and not request.remote:
            raise RemoteNotAllowed("the model answers on a remote server, which the caller did not know")
        refuse_unsupported(request, model)
        if request.adapter is not None and request.adapter not in model.adapters:
            raise AdapterNotFound(f"replica {self.identity.replica} does not have this adapter for this model")
        size = prompt_bytes(request)
        tokens = self._estimate(size, model)
        work = self._take(request, tokens)
        try:
            ticket = await self._admission.enter(tokens)
            clock, held_up = Clock(), self._way.trying
            try:
                await self._prepare(request)
                work.begun = monotonic()
                clock.begin()
                thoughts = Apart(request)
                async with aclosing(self._backend.generate(request)) as chunks:  # type: ignore[type-var]
                    work.waits(monotonic())
                    async for chunk in chunks:
                        clock.chunk(chunk)
                        work.chunk(monotonic())
                        for told in thoughts.read(chunk):
                            yield told
                        work.waits(monotonic())
            finally:
                self._admission.leave(ticket, clock.duration_s)
                self._note(request.model, size, clock, held_up=held_up)
        finally:
            self._give_back(request, work)

    async def try_out(self, request: GenerateRequest, limit_s: float) -> Clock | None:
        """Asks the model as ``generate`` does, for nobody: neither admitted nor counted, ended at once when a request
        comes and not begun while there is one (None). After ``limit_s`` seconds it is left where it is. Raises as
        GenerateRequest says."""
        clock = Clock()

        async def ask() -> None:
            async with aclosing(self._backend.generate(request)) as chunks:  # type: ignore[type-var]
                async for chunk in chunks:
                    clock.chunk(chunk)

        return clock if await self._way.trial(ask, limit_s) else None

    def begin_from(self, model: str, known: Known) -> None:
        """What is told of a model's speed until its first request."""
        self.measured(model).known = known
        self._changed(True)

    def measured(self, model: str) -> Measured:
        """How fast it was so far."""
        found = self._measured.get(model)
        if found is None:
            found = self._measured[model] = Measured()
        return found

    async def _prepare(self, request: GenerateRequest) -> None:
        if request.adapter is not None and isinstance(self._backend, TakesAdapters):
            await self._backend.prepare(request)

    def _take(self, request: GenerateRequest, tokens: int) -> Work:
        """Counts a request among those that the replica has; ``_give_back`` has to follow."""
        work = Work(
            request.model,
            tokens,
            request.sampling.max_tokens,
            chunk_tokens=self._measured[request.model].chunk_tokens or 1.0,
            gives_way=request.background,
            paced=not request.tools.tools,
        )
        self._ahead.add(work)
        self._background += request.background
        self._way.request_begins()
        return work

    def _give_back(self, request: GenerateRequest, work: Work) -> None:
        self._way.request_ended()
        self._background -= request.background
        self._ahead.drop(work)

    def snapshot(self, *, stopped: bool = False) -> ReplicaTelemetry:
        """The replica's state; each has a higher sequence than the one before."""
        self._sequence += 1
        admission, now = self._admission, monotonic()
        reading = {name: measured.reads for name, measured in self._measured.items()}
        lengths = {name: measured.lengths for name, measured in self._measured.items()}
        return ReplicaTelemetry(
            node_id=self.identity.node_id,
            sequence=self._sequence,
            boot_id=self.identity.boot_id,
            state=ReplicaState(
                replica=self.identity.replica,
                models=tuple(self._models),
                adapters=self._backend.loaded_adapters() if isinstance(self._backend, TakesAdapters) else (),
                in_flight=admission.in_flight,
                queued=admission.queued,
                background=self._background,
                in_flight_tokens=admission.in_flight_tokens,
                queued_tokens=admission.queued_tokens,
                to_read_tokens=self._ahead.to_read(now, reading),
                to_write_tokens=self._ahead.to_write(lengths),
                seen=dict(self._ahead.seen),
                slots=admission.slots,
                generated_tokens=self._generated_tokens,
            ),
            models=tuple(self._with_rates(model, now) for model in self._models.values()),
            degraded=self._backend.troubles(),
            stopped=stopped,
        )

    def models(self) -> tuple[ServedModel, ...]:
        """What it answers with now."""
        return tuple(self._models.values())

    def troubles(self) -> tuple[str, ...]:
        """What the backend should serve and can't."""
        return self._backend.troubles()

    async def close(self) -> None:
        """After the bus has drained: nothing is in flight any more."""
        await self._backend.close()

    def _take_models(self) -> None:
        self._models = {model.name: model for model in self._backend.models()}
        for name in self._models.keys() - self._measured.keys():
            self._measured[name] = Measured()
        self._admission.resize(self._backend.slots)
        self._changed(True)

    def _with_rates(self, model: ServedModel, now: float) -> ServedModel:
        measured = self._measured[model.name]
        changes: dict[str, object] = {"rates": measured.rates(self._ahead.pace(model.name, now))}
        if measured.bytes_per_token is not None:
            changes["bytes_per_token"] = round(measured.bytes_per_token, 3)
        return model.model_copy(update=changes)

    def _estimate(self, size: int, model: ServedModel) -> int:
        return int(size / (self._measured[model.name].bytes_per_token or model.bytes_per_token)) + 1

    def _note(self, model: str, size: int, clock: Clock, *, held_up: bool) -> None:
        """``held_up``: it began while a trial was ending, so that its first token says nothing of reading."""
        if clock.first_s is None:
            return
        labels = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": self._backend.name,
            "gen_ai.request.model": model,
        }
        metrics.TIME_TO_FIRST_TOKEN.record(clock.first_s, labels)
        usage = clock.usage
        if usage is None:
            return
        self._generated_tokens += usage.completion_tokens
        if usage.completion_tokens > 1 and clock.rest_s > 0:
            metrics.TIME_PER_OUTPUT_TOKEN.record(clock.rest_s / (usage.completion_tokens - 1), labels)
        self.measured(model).note(
            size=size,
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            first_token_s=None if held_up else clock.first_s,
            rest_s=clock.rest_s,
            chunks=clock.chunks,
            cached_tokens=usage.cached_tokens or 0,
        )
