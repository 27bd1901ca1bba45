"""When a run makes way: at once for a request, soon for heat and power, and never for longer than there is a reason."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from libs.shared.background import yielding
from libs.shared.background.yielding import Yielding
from libs.shared.bus.memory import MemoryBroker, MemoryBus
from libs.shared.contracts.base import Principal
from libs.shared.contracts.scheduling import PLACE_JOB, JobPlacement, PlaceJob, Preempt

LIMIT_S = 20
ROOM = JobPlacement(room=True)


def no_room(reason: str) -> JobPlacement:
    return JobPlacement(room=False, retry_after_s=0.1, reasons={reason: 1})


class Run:
    """What is held: whether it goes on, and why not."""

    def __init__(self) -> None:
        self.running = True
        self.changed = asyncio.Event()
        self.reasons: list[tuple[str, ...]] = []

    def stop(self) -> None:
        self.running = False
        self.changed.set()

    def go_on(self) -> None:
        self.running = True
        self.changed.set()

    async def becomes(self, running: bool) -> None:
        async with asyncio.timeout(LIMIT_S):
            while self.running is not running:
                self.changed.clear()
                await self.changed.wait()


class Scheduler:
    """Answers as it is told, and remembers what it was asked."""

    def __init__(self, answer: JobPlacement) -> None:
        self.answer = answer
        self.asked: list[PlaceJob] = []

    async def place(self, job: PlaceJob) -> JobPlacement:
        self.asked.append(job)
        return self.answer


async def seen(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not true():  # noqa: ASYNC110 - a scheduler that is asked sets no event
            await asyncio.sleep(0.01)


async def trainer_beside(scheduler: Scheduler | None) -> MemoryBus:
    broker = MemoryBroker()
    if scheduler is not None:
        await (await broker.connect(Principal.SCHEDULER)).serve(PLACE_JOB, scheduler.place)
    return await broker.connect(Principal.TRAINER)


@asynccontextmanager
async def held(scheduler: Scheduler | None) -> AsyncIterator[tuple[Run, Yielding]]:
    run, made = Run(), Yielding(await trainer_beside(scheduler), "here")
    holding = asyncio.create_task(made.hold(run.stop, run.go_on, run.reasons.append))
    await asyncio.sleep(0)
    try:
        yield run, made
    finally:
        holding.cancel()
        await asyncio.gather(holding, return_exceptions=True)


async def test_a_request_stops_a_run_before_anything_else_is_done() -> None:
    async with held(Scheduler(ROOM)) as (run, made):
        stopping = made.preempted(Preempt())
        with suppress(StopIteration):
            stopping.send(None)
        assert not run.running, "it took a turn of the loop"


async def test_it_goes_on_once_the_scheduler_finds_room_again() -> None:
    scheduler = Scheduler(no_room("busy"))
    async with held(scheduler) as (run, made):
        await made.preempted(Preempt())
        asked = len(scheduler.asked)
        await seen(lambda: len(scheduler.asked) >= asked + 3)
        assert not run.running
        assert ("busy",) in run.reasons
        scheduler.answer = ROOM
        await run.becomes(True)
        assert run.reasons[-1] == ()
    job = scheduler.asked[-1]
    assert (job.kind, job.node_id) == ("train", "here")
    assert job.waited_s >= yielding.HOLD_S


async def test_heat_stops_it_without_any_request() -> None:
    async with held(Scheduler(no_room("hot"))) as (run, _):
        await run.becomes(False)
        await seen(lambda: bool(run.reasons))
        assert run.reasons == [("hot",)]


async def test_a_request_that_comes_while_the_scheduler_is_slow_does_not_stop_a_run_for_ever() -> None:
    slow = asyncio.Event()
    scheduler = Scheduler(ROOM)

    async def place(job: PlaceJob) -> JobPlacement:
        scheduler.asked.append(job)
        await slow.wait()
        return ROOM

    scheduler.place = place  # type: ignore[method-assign]
    async with held(scheduler) as (run, made):
        await seen(lambda: bool(scheduler.asked))
        await made.preempted(Preempt())
        assert not run.running
        await asyncio.sleep(yielding.HOLD_S)
        slow.set()
        await run.becomes(True)


async def test_without_a_scheduler_it_goes_on_after_a_request() -> None:
    async with held(None) as (run, made):
        await made.preempted(Preempt())
        assert not run.running
        await run.becomes(True)


async def test_a_run_is_not_begun_before_there_is_room() -> None:
    scheduler = Scheduler(no_room("on_battery"))
    made, why = Yielding(await trainer_beside(scheduler), None), list[tuple[str, ...]]()
    waiting = asyncio.create_task(made.wait_for_room(why.append))
    await seen(lambda: len(why) >= 2)
    assert not waiting.done()
    scheduler.answer = ROOM
    async with asyncio.timeout(LIMIT_S):
        await waiting
    assert set(why) == {("on_battery",)}
