"""What cognition records of its work: operations by the GenAI conventions, and generations as ``llm.ray.*``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Literal

from libs.shared.contracts.common import Usage
from libs.shared.contracts.telemetry import ServedModel
from libs.shared.errors import ServiceError
from libs.shared.telemetry import metrics

ASKED = {"llm.ray.asked": "replica"}
CLIENT_GONE = "client_gone"
OUTRUN = "outrun"

Hedged = Literal["sent", "won", "lost", "failed", "no_budget", "no_node"]
"""``sent`` counts second copies, and the next three what became of them (a client that leaves makes it none of these);
the last two those that were not sent."""


@contextmanager
def measured(operation: str) -> Iterator[None]:
    """Records the block's duration, and the code of the error that ended it."""
    started = perf_counter()
    labels = {"gen_ai.operation.name": operation}
    try:
        yield
    except ServiceError as error:
        labels["error.type"] = error.code
        raise
    finally:
        metrics.OPERATION_DURATION.record(perf_counter() - started, labels)


class GenerationMeter:
    """One generation at one replica, from asking it to its end; every one that starts is counted once as it ends."""

    def __init__(self, model: ServedModel) -> None:
        self._started = perf_counter()
        self._model = {"gen_ai.request.model": model.name, **ASKED}
        self.labels: dict[str, str] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": model.backend,
            "gen_ai.request.model": model.name,
        }
        self._ended = False
        metrics.LLM_REQUESTS.add(1, self._model)

    def succeeded(self, usage: Usage | None) -> None:
        """The last chunk came."""
        self._ended = True
        metrics.LLM_SUCCESSES.add(1, self._model)
        metrics.LLM_LATENCY.record(perf_counter() - self._started, self._model)
        metrics.OPERATION_DURATION.record(perf_counter() - self._started, self.labels)
        if usage is not None:
            metrics.TOKEN_USAGE.record(usage.prompt_tokens, {**self.labels, "gen_ai.token.type": "input"})
            metrics.TOKEN_USAGE.record(usage.completion_tokens, {**self.labels, "gen_ai.token.type": "output"})

    def failed(self, reason: str, error_type: str) -> None:
        """It ended without its last chunk."""
        self._ended = True
        metrics.LLM_FAILURES.add(1, {**self._model, "reason": reason})
        metrics.OPERATION_DURATION.record(perf_counter() - self._started, {**self.labels, "error.type": error_type})

    def outrun(self) -> None:
        """Another replica's first token came sooner, so that it was stopped."""
        if not self._ended:
            self.failed(OUTRUN, "cancelled")

    def closed(self) -> None:
        """Nobody waits for it any more: a failure only if it hasn't ended yet."""
        if not self._ended:
            self.failed(CLIENT_GONE, "cancelled")


def fell_back(reason: str) -> None:
    """A request went to another replica, or to none, because of ``reason``."""
    metrics.LLM_FALLBACKS.add(1, {"reason": reason, **ASKED})


def hedged(what: Hedged) -> None:
    """Something befell the second copy of a request that was late."""
    metrics.LLM_HEDGES.add(1, {"llm.ray.hedge": what})
