"""What is recorded of each request to one endpoint of a pool: ``llm.ray.*``, told apart from those to replicas."""

from __future__ import annotations

from time import perf_counter

from libs.shared.errors import ServiceError
from libs.shared.telemetry import metrics
from services.inference.backends.rotation import reason_of

ASKED = {"llm.ray.asked": "endpoint"}
CLIENT_GONE = "client_gone"
INTERNAL = "internal"
NONE_OPEN = "breaker_open"


class EndpointMeter:
    """One request at one endpoint; every one that is sent is counted once more as it ends, however it ends."""

    def __init__(self, model: str) -> None:
        self._started = perf_counter()
        self._labels = {"gen_ai.request.model": model, **ASKED}
        self._ended = False
        metrics.LLM_REQUESTS.add(1, self._labels)

    def succeeded(self) -> None:
        """Its last chunk came."""
        self._ended = True
        metrics.LLM_SUCCESSES.add(1, self._labels)
        metrics.LLM_LATENCY.record(perf_counter() - self._started, self._labels)

    def failed(self, error: ServiceError) -> None:
        """It ended without its last chunk."""
        self._fail(reason_of(error))

    def closed(self, *, left: bool) -> None:
        """It is over: a failure if it hadn't ended yet. ``left``: since nobody waits for it any more."""
        if not self._ended:
            self._fail(CLIENT_GONE if left else INTERNAL)

    def _fail(self, reason: str) -> None:
        self._ended = True
        metrics.LLM_FAILURES.add(1, {**self._labels, "reason": reason})


def fell_back(error: ServiceError | None) -> None:
    """A request went to another endpoint, or to none, because of ``error``; None: no endpoint could be asked."""
    metrics.LLM_FALLBACKS.add(1, {"reason": reason_of(error) if error is not None else NONE_OPEN, **ASKED})
