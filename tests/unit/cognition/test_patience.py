"""Asking a service that restarts: again for a moment, and never for ever."""

from __future__ import annotations

import pytest

from libs.shared.bus.base import Bus
from libs.shared.contracts.base import Empty, Message, Rpc
from libs.shared.contracts.scheduling import LIST_MODELS, Models
from libs.shared.errors import NotYetApplied, ServiceError, TimedOut, Unavailable
from services.cognition import patience
from services.cognition.patience import ask

REPLY = Models(models=(), default_chat=None, default_embed=None)


class Server(Bus):
    """Fails in the given ways, then answers; remembers how long it was given."""

    def __init__(self, *failures: ServiceError) -> None:
        self.failures = list(failures)
        self.given: list[float | None] = []

    async def request(  # type: ignore[override] # the reply's type is of no matter here
        self, rpc: Rpc[Message, Message], message: Message, *, timeout_s: float | None = None, **where: str
    ) -> Message:
        self.given.append(timeout_s)
        if self.failures:
            raise self.failures.pop(0)
        return REPLY


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PAUSE_S", 0.0)


async def test_an_absent_server_is_asked_until_it_is_there() -> None:
    server = Server(Unavailable(), Unavailable())  # type: ignore[abstract]
    assert await ask(server, LIST_MODELS, Empty(), patience_s=5.0) == REPLY


async def test_a_silence_is_asked_once_more_with_the_whole_time() -> None:
    server = Server(TimedOut())  # type: ignore[abstract]
    assert await ask(server, LIST_MODELS, Empty(), patience_s=5.0) == REPLY
    assert server.given == [patience.FIRST_TRY_S, LIST_MODELS.timeout_s]


async def test_a_second_silence_is_believed() -> None:
    with pytest.raises(TimedOut):
        await ask(Server(TimedOut(), TimedOut()), LIST_MODELS, Empty(), patience_s=5.0)  # type: ignore[abstract]


async def test_without_patience_it_is_asked_once() -> None:
    server = Server(Unavailable())  # type: ignore[abstract]
    with pytest.raises(Unavailable):
        await ask(server, LIST_MODELS, Empty(), patience_s=0.0)
    assert server.given == [LIST_MODELS.timeout_s]


async def test_a_refusal_is_an_answer() -> None:
    server = Server(NotYetApplied())  # type: ignore[abstract]
    with pytest.raises(NotYetApplied):
        await ask(server, LIST_MODELS, Empty(), patience_s=5.0)
    assert len(server.given) == 1
