"""A pool of endpoints that somebody else runs, such as a Ray cluster elsewhere: one backend that goes round them.

Each has a circuit breaker of its own and is left alone for as long as it asks with ``Retry-After``. A request that
fails before its first token goes to another endpoint, never after it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import aclosing
from time import monotonic

from libs.shared.contracts.inference import GENERATE, GenerateChunk, GenerateRequest
from libs.shared.contracts.telemetry import ServedModel
from libs.shared.errors import BackendFailed, Overloaded, ServiceError
from libs.shared.telemetry import get_logger
from services.inference.backends import rotation
from services.inference.backends.base import Backend, Changed
from services.inference.backends.rotation import Standing
from services.inference.backends.upstream import READ_TIMEOUT_S
from services.inference.measuring import EndpointMeter, fell_back
from services.inference.models import ModelSpec

SLOTS = 8
"""Requests at the same time at each endpoint, unless its specification says otherwise."""
PATIENCE_S = 30.0
"""Longest wait for an endpoint's first token."""
TOOLS_PATIENCE_S = GENERATE.first_timeout_s - 10.0
"""The same for a request with tools, whose whole answer may come at once: less than its caller waits, so that another
endpoint can still be asked, and the one that hangs is found out."""
LONGEST_S = 600.0
"""Longest that one answer may take."""
ATTEMPTS = 3
"""Endpoints that one request is sent to at most."""

log = get_logger(__name__)


class EndpointPool:
    """Its models are those that any endpoint lists; its slots are those of the endpoints that may be asked now."""

    name = "openai"

    def __init__(self, spec: ModelSpec, make: Callable[[ModelSpec], Backend]) -> None:
        self._label = spec.server
        self._patience_s = float(spec.options.get("patience_s", PATIENCE_S))
        self._longest_s = float(spec.options.get("longest_s", LONGEST_S))
        self._endpoints = {number: make(one) for number, one in enumerate(endpoints_of(spec), 1)}
        slots = spec.slots(SLOTS)
        self._standings = {number: Standing(slots) for number in self._endpoints}
        self._offers: dict[str, dict[int, ServedModel]] = {}
        self._last = 0
        self._changed: Changed = lambda: None
        self._told_slots = 0
        self._waking: asyncio.TimerHandle | None = None

    @property
    def slots(self) -> int:
        """Those of the endpoints that are there and may be asked."""
        return rotation.capacity(self._there(), monotonic())

    async def load(self, changed: Changed) -> None:
        self._changed = changed
        try:
            await asyncio.gather(*(endpoint.load(self._take_offers) for endpoint in self._endpoints.values()))
        except BaseException:
            await self.close()  # those that did load go on asking their servers
            raise
        self._take_offers()

    def models(self) -> tuple[ServedModel, ...]:
        return tuple(self._merged(name, tuple(offers.values())) for name, offers in self._offers.items())

    def troubles(self) -> tuple[str, ...]:
        now = monotonic()
        resting = [f"{self._label}-{n}: resting" for n, one in self._there().items() if not one.open_at(now)]
        return (*resting, *(word for endpoint in self._endpoints.values() for word in endpoint.troubles()))

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[GenerateChunk, None]:
        """Raises the last endpoint's failure, or Overloaded with the time until one of them may be asked again."""
        if request.model not in self._offers:
            raise BackendFailed("every endpoint of the model went away", reason="unreachable")
        tried: dict[int, ServiceError] = {}
        while len(tried) < ATTEMPTS and (number := self._next(request.model, tried)) is not None:
            begun = False
            try:
                async with aclosing(self._at(number, request)) as chunks:
                    async for chunk in chunks:
                        begun = True
                        yield chunk
                return
            except ServiceError as error:
                if begun or not rotation.is_of_the_endpoint(error):
                    raise
                fell_back(error)
                tried[number] = error
        if not tried:
            fell_back(None)
        raise self._refusal(request.model, list(tried.values()))

    async def close(self) -> None:
        if self._waking is not None:
            self._waking.cancel()
        for endpoint in self._endpoints.values():
            await endpoint.close()

    def _next(self, model: str, tried: Collection[int]) -> int | None:
        offering = self._offers.get(model, {})
        standings = {number: self._standings[number] for number in offering if number not in tried}
        found = rotation.order(standings, self._last, monotonic())
        if not found:
            return None
        self._last = found[0]
        return found[0]

    async def _at(self, number: int, request: GenerateRequest) -> AsyncGenerator[GenerateChunk, None]:
        """One endpoint's answer, counted and taken note of."""
        theirs = request.model_copy(update={"model": self._offers[request.model][number].name})
        meter, left = EndpointMeter(request.model), True
        self._stand(number, rotation.begun(self._standings[number], monotonic()))
        try:
            async with aclosing(self._patiently(self._endpoints[number], theirs)) as chunks:
                async for chunk in chunks:
                    if chunk.finish_reason is not None:
                        meter.succeeded()
                        self._stand(number, rotation.succeeded(self._standings[number]))
                    yield chunk
        except ServiceError as error:
            meter.failed(error)
            self._stand(number, rotation.failed(self._standings[number], error, monotonic()))
            log.info("endpoint_failed", endpoint=f"{self._label}-{number}", reason=rotation.reason_of(error))
            raise
        except Exception:
            left = False
            raise
        finally:
            meter.closed(left=left)
            self._stand(number, rotation.ended(self._standings[number]))

    async def _patiently(self, endpoint: Backend, request: GenerateRequest) -> AsyncGenerator[GenerateChunk, None]:
        """As the endpoint's own; raises BackendFailed (``timeout``) when a chunk is waited for too long.

        An answer of tool calls comes in one piece at its end, so its first chunk is waited for as any other is.
        """
        ends = monotonic() + self._longest_s
        patience_s = max(TOOLS_PATIENCE_S, self._patience_s) if request.tools.tools else self._patience_s
        async with aclosing(endpoint.generate(request)) as chunks:  # type: ignore[type-var]
            while True:
                try:
                    async with asyncio.timeout(min(patience_s, ends - monotonic())):
                        chunk = await anext(chunks)
                except StopAsyncIteration:
                    return
                except TimeoutError as error:
                    raise BackendFailed("the endpoint did not answer in time", reason="timeout") from error
                except ValueError as error:
                    raise BackendFailed("the endpoint's answer can't be read", reason="protocol") from error
                yield chunk
                patience_s = READ_TIMEOUT_S

    def _refusal(self, model: str, failures: list[ServiceError]) -> ServiceError:
        """The last failure says most; but where some endpoint only asks for time, so is the caller."""
        if failures and not any(isinstance(failure, Overloaded) for failure in failures):
            return failures[-1]
        standings = {number: self._standings[number] for number in self._offers.get(model, {})}
        wait_s = rotation.wait_s(standings or self._standings, monotonic())
        return Overloaded("no endpoint of this model takes requests now", retry_after_s=round(wait_s, 1))

    def _there(self) -> dict[int, Standing]:
        return {n: standing for n, standing in self._standings.items() if self._endpoints[n].models()}

    def _stand(self, number: int, standing: Standing) -> None:
        self._standings[number] = standing
        self._tell_capacity()

    def _tell_capacity(self) -> None:
        """Tells of a change of ``slots`` as it comes about, by an outcome or by the clock."""
        now = monotonic()
        standings = self._there()
        if self._waking is not None:
            self._waking.cancel()
            self._waking = None
        if (at := rotation.next_change(standings, now)) is not None:
            self._waking = asyncio.get_running_loop().call_later(at - now, self._tell_capacity)
        if (slots := rotation.capacity(standings, now)) != self._told_slots:
            self._told_slots = slots
            self._changed()

    def _take_offers(self) -> None:
        """An endpoint's models changed."""
        offers: dict[str, dict[int, ServedModel]] = {}
        for number, endpoint in self._endpoints.items():
            for model in endpoint.models():
                offers.setdefault(self._our_name(number, model), {})[number] = model
        if offers != self._offers:
            self._offers = offers
            self._told_slots = 0
        self._tell_capacity()

    def _our_name(self, number: int, model: ServedModel) -> str:
        """A remote model is named after the pool, so that it never passes for one of this network."""
        if not model.remote:
            return model.name
        return f"{self._label}/{model.name.removeprefix(f'{self._label}-{number}/')}"

    def _merged(self, name: str, offers: tuple[ServedModel, ...]) -> ServedModel:
        """What every endpoint that lists the model can do."""
        return offers[0].model_copy(
            update={
                "name": name,
                "context_tokens": min(offer.context_tokens for offer in offers),
                "upstream": self._label,
            }
        )


def endpoints_of(spec: ModelSpec) -> list[ModelSpec]:
    """One upstream for each address: ``NAME-1``, ``NAME-2`` … where something is said of it."""
    options = {key: value for key, value in spec.options.items() if key not in ("patience_s", "longest_s")}
    return [
        ModelSpec(
            backend="openai",
            url=url,
            upstream=f"{spec.server}-{number}",
            models=spec.models,
            context_tokens=spec.context_tokens,
            api_key_file=spec.api_key_file,
            options=options,
        )
        for number, url in enumerate(spec.urls, 1)
    ]
