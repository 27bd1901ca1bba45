"""A race of two replicas: one answer, the slower one stopped at once, and no failure that the other can make good."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing

import pytest

from libs.shared.contracts.inference import GenerateChunk
from libs.shared.contracts.scheduling import Placement
from libs.shared.contracts.telemetry import ServedModel
from libs.shared.errors import BackendFailed, Overloaded, Unsupported
from services.cognition import racing
from services.cognition.racing import first_to_speak

LIMIT_S = 20
LLAMA = ServedModel(name="llama", backend="llama_cpp", context_tokens=2048)
SOMEWHERE = Placement(node_id="a", replica="a-0", model=LLAMA, policy="first")


class Runner:
    """Says what it is told to; ``closed`` once it is stopped or at its end."""

    def __init__(self, say: Callable[[], AsyncIterator[str]], *, under_way: bool = True) -> None:
        self._say = say
        self.placement = SOMEWHERE if under_way else None
        self.outrun = False
        self.said = 0
        self.closed = asyncio.Event()

    async def chunks(self) -> AsyncGenerator[GenerateChunk, None]:
        try:
            async for text in self._say():
                self.said += 1
                yield GenerateChunk(text=text)
        finally:
            self.closed.set()


async def silent() -> AsyncIterator[str]:
    await asyncio.Event().wait()
    yield ""


async def nothing() -> AsyncIterator[str]:
    return
    yield ""


def saying(*texts: str, until: asyncio.Event | None = None) -> Callable[[], AsyncIterator[str]]:
    """Waits for ``until`` after the first of ``texts``."""

    async def say() -> AsyncIterator[str]:
        for place, text in enumerate(texts):
            if place == 1 and until is not None:
                await until.wait()
            yield text

    return say


def failing(error: Exception, after: asyncio.Event | None = None) -> Callable[[], AsyncIterator[str]]:
    async def say() -> AsyncIterator[str]:
        if after is not None:
            await after.wait()
        raise error
        yield ""

    return say


async def run(first: Runner, second: Runner) -> list[str]:
    async with asyncio.timeout(LIMIT_S), aclosing(first_to_speak(first, second)) as chunks:
        return [chunk.text async for chunk in chunks]


async def check_the_slower_stops() -> None:
    """The winner goes on only once the loser has been stopped."""
    slow = Runner(silent)
    quick = Runner(saying("one ", "answer", until=slow.closed))
    assert await run(slow, quick) == ["one ", "answer"]
    assert (slow.outrun, quick.outrun) == (True, False)
    slow = Runner(silent)
    quick = Runner(saying("one ", "answer", until=slow.closed))
    assert await run(quick, slow) == ["one ", "answer"]
    assert (slow.outrun, quick.outrun) == (True, False)


async def test_the_slower_is_stopped_while_the_other_goes_on() -> None:
    await check_the_slower_stops()


async def test_leaving_the_slower_at_work_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(racing, "_outrun", lambda loser, task: setattr(loser, "outrun", True))
    monkeypatch.setattr("tests.unit.cognition.test_racing.LIMIT_S", 0.3)
    with pytest.raises(TimeoutError):
        await check_the_slower_stops()


async def test_of_two_that_speak_together_one_is_heard() -> None:
    both = [Runner(saying(*"first")), Runner(saying(*"second"))]
    assert "".join(await run(*both)) in ("first", "second")
    assert sum(runner.outrun for runner in both) == 1
    assert all(runner.closed.is_set() for runner in both)


@pytest.mark.parametrize("fate", [nothing, failing(BackendFailed("second"))], ids=["not sent", "failed"])
async def test_a_second_that_comes_to_nothing_costs_nothing(fate: Callable[[], AsyncIterator[str]]) -> None:
    second = Runner(fate)

    async def patient() -> AsyncIterator[str]:
        await second.closed.wait()
        yield "answer"

    assert await run(Runner(patient), second) == ["answer"]


async def test_where_the_first_fails_the_second_answers() -> None:
    first = Runner(failing(BackendFailed("first")))
    assert await run(first, Runner(saying("answer"))) == ["answer"]


async def test_a_second_that_is_not_yet_under_way_is_not_waited_for() -> None:
    second = Runner(silent, under_way=False)
    with pytest.raises(BackendFailed):
        await run(Runner(failing(BackendFailed("first"))), second)
    assert second.closed.is_set() or second.said == 0


@pytest.mark.parametrize("first_is_earlier", [True, False])
async def test_where_both_fail_the_first_s_failure_is_told(first_is_earlier: bool) -> None:
    first, second = Runner(silent), Runner(silent)
    first._say = failing(BackendFailed("first"), None if first_is_earlier else second.closed)
    second._say = failing(Overloaded("second", retry_after_s=1.0), first.closed if first_is_earlier else None)
    with pytest.raises(BackendFailed, match="first"):
        await run(first, second)


async def test_what_is_wrong_with_the_request_itself_ends_both() -> None:
    second = Runner(silent)
    with pytest.raises(Unsupported):
        await run(Runner(failing(Unsupported("no grammar"))), second)


async def test_a_winner_that_breaks_off_is_told() -> None:
    async def breaks() -> AsyncIterator[str]:
        yield "one "
        raise BackendFailed("broke off")

    async with asyncio.timeout(LIMIT_S), aclosing(first_to_speak(Runner(breaks), Runner(silent))) as chunks:
        assert (await anext(chunks)).text == "one "
        with pytest.raises(BackendFailed, match="broke off"):
            await anext(chunks)


async def test_a_mistake_in_the_code_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        await run(Runner(failing(ZeroDivisionError())), Runner(silent))


async def test_whoever_stops_listening_stops_both() -> None:
    first, second = Runner(saying(*"endless" * 100)), Runner(silent)
    async with asyncio.timeout(LIMIT_S):
        async with aclosing(first_to_speak(first, second)) as chunks:
            await anext(chunks)
        assert first.closed.is_set()
        assert second.closed.is_set()


async def test_a_slow_reader_holds_the_replica_back() -> None:
    first = Runner(saying(*"endless" * 100))
    async with asyncio.timeout(LIMIT_S), aclosing(first_to_speak(first, Runner(silent))) as chunks:
        await anext(chunks)
        for _ in range(50):
            await asyncio.sleep(0)
        assert first.said <= 3
