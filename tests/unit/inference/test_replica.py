"""One replica behind a bus in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from libs.shared.bus.memory import MemoryBroker, MemoryBus
from libs.shared.contracts.base import Principal
from libs.shared.contracts.chat import ChatMessage, ImagePart, ImageUrl, Tools
from libs.shared.contracts.common import Usage
from libs.shared.contracts.inference import GENERATE, GenerateChunk, GenerateRequest
from libs.shared.contracts.telemetry import ServedModel
from libs.shared.errors import AdapterBroken, AdapterNotFound, ModelNotFound, Overloaded, RemoteNotAllowed, Unsupported
from services.inference.replica import Identity, Replica
from tests.unit.inference.backends import MODEL, ScriptedBackend, request

USAGE = Usage(prompt_tokens=9, completion_tokens=5)
PICTURE = ImagePart(image_url=ImageUrl(url="data:image/png;base64,AA=="))
IDENTITY = Identity("node-a", "node-a-1", "boot")


class Place:
    """A replica that answers, and someone who asks."""

    def __init__(self, replica: Replica, backend: ScriptedBackend, caller: MemoryBus, changed: asyncio.Event) -> None:
        self.changed = changed
        self.replica = replica
        self.backend = backend
        self.caller = caller

    async def ask(self, question: GenerateRequest) -> list[GenerateChunk]:
        async with self.caller.stream(GENERATE, question, replica=IDENTITY.replica) as chunks:
            return [chunk async for chunk in chunks]


async def make(backend: ScriptedBackend, *, max_queue: int = 1, kind: type[Replica] = Replica) -> Place:
    broker = MemoryBroker()
    changed = asyncio.Event()
    replica = kind(IDENTITY, backend, max_queue=max_queue, changed=lambda urgent: changed.set())
    await replica.serve(await broker.connect(Principal.INFERENCE))
    return Place(replica, backend, await broker.connect(Principal.COGNITION), changed)


async def until_queued(place: Place, count: int) -> None:
    async with asyncio.timeout(5):
        while place.replica.snapshot().state.queued < count:
            place.changed.clear()
            await place.changed.wait()


async def check_that_leaving_stops_the_work(kind: type[Replica]) -> None:
    """The caller goes after the first chunk; within 100 ms the backend's generator is closed and the slot is free."""
    place = await make(ScriptedBackend(), kind=kind)
    async with place.caller.stream(GENERATE, request("gone"), replica=IDENTITY.replica) as chunks:
        async for _ in chunks:
            break
    try:
        async with asyncio.timeout(0.1):
            await place.backend.left.wait()
    except TimeoutError:
        raise AssertionError("the backend still works") from None
    assert place.replica.snapshot().state.in_flight == 0


async def test_chunks_come_as_the_backend_makes_them() -> None:
    place = await make(ScriptedBackend())
    async with place.caller.stream(GENERATE, request(), replica=IDENTITY.replica) as chunks:
        async with asyncio.timeout(5):
            first = await anext(chunks)
        assert first.text == "first"
        assert place.replica.snapshot().state.in_flight == 1
        place.backend.go.set()
        rest = [chunk async for chunk in chunks]
    assert [chunk.text for chunk in rest] == ["second", ""]
    assert rest[-1].finish_reason == "stop"
    assert place.replica.snapshot().state.in_flight == 0


async def test_what_nobody_waits_for_is_told_apart() -> None:
    place = await make(ScriptedBackend())
    reading = request().model_copy(update={"background": True})
    async with place.caller.stream(GENERATE, reading, replica=IDENTITY.replica) as chunks:
        async with asyncio.timeout(5):
            await anext(chunks)
        state = place.replica.snapshot().state
        assert (state.in_flight, state.background) == (1, 1)
        place.backend.go.set()
        assert len([chunk async for chunk in chunks]) == 2
    assert place.replica.snapshot().state.background == 0


async def test_a_caller_that_leaves_stops_the_work_within_100_ms() -> None:
    await check_that_leaving_stops_the_work(Replica)


async def test_the_check_of_leaving_notices_work_that_goes_on() -> None:
    pumps: list[asyncio.Task[None]] = []

    class Careless(Replica):
        """Works in a task of its own, which nobody tells that the caller has left."""

        async def generate(self, request: GenerateRequest) -> AsyncIterator[GenerateChunk]:
            made: asyncio.Queue[GenerateChunk] = asyncio.Queue()

            async def pump() -> None:
                async for chunk in self._backend.generate(request):
                    await made.put(chunk)

            pumps.append(asyncio.create_task(pump()))
            while True:
                yield await made.get()

    with pytest.raises(AssertionError):
        await check_that_leaving_stops_the_work(Careless)
    for task in pumps:
        task.cancel()
    await asyncio.wait(pumps)


async def test_no_more_work_at_once_than_there_are_slots() -> None:
    place = await make(ScriptedBackend(slots=2), max_queue=8)
    asked = [asyncio.create_task(place.ask(request(f"r{i}"))) for i in range(6)]
    await until_queued(place, 4)
    place.backend.go.set()
    answers = await asyncio.gather(*asked)
    assert all(answer[-1].finish_reason == "stop" for answer in answers)
    assert place.backend.most_working == 2


async def test_a_full_queue_is_told_across_the_bus() -> None:
    place = await make(ScriptedBackend(), max_queue=1)
    asked = [asyncio.create_task(place.ask(request(f"r{i}"))) for i in range(2)]
    await until_queued(place, 1)
    with pytest.raises(Overloaded) as refused:
        await place.ask(request("r3"))
    assert refused.value.data["retry_after_s"] > 0
    place.backend.go.set()
    await asyncio.gather(*asked)


async def test_a_model_that_is_not_served_is_not_found() -> None:
    place = await make(ScriptedBackend())
    with pytest.raises(ModelNotFound):
        await place.ask(request(model="another"))
    assert place.backend.begun == []


@pytest.mark.parametrize(
    ("changes", "feature"),
    [
        ({"tools": Tools(tools=({"type": "function"},))}, "tools"),
        ({"tools": Tools(response_format={"type": "json_object"})}, "response_format"),
        ({"messages": (ChatMessage(role="user", content=(PICTURE,)),)}, "images"),
    ],
)
async def test_what_a_model_cannot_do_is_refused_by_name(changes: dict[str, object], feature: str) -> None:
    place = await make(ScriptedBackend())
    with pytest.raises(Unsupported) as refused:
        await place.ask(request().model_copy(update=changes))
    assert refused.value.data["feature"] == feature


async def test_a_plain_text_format_is_no_constraint() -> None:
    place = await make(ScriptedBackend())
    place.backend.go.set()
    answer = await place.ask(request().model_copy(update={"tools": Tools(response_format={"type": "text"})}))
    assert answer[-1].finish_reason == "stop"


async def test_rates_are_told_once_they_were_measured() -> None:
    place = await make(ScriptedBackend())
    assert place.replica.snapshot().models[0].rates.prompt_tokens_per_s is None
    place.backend.go.set()
    await place.ask(request(text="x" * 400))
    told = place.replica.snapshot().models[0]
    assert told.rates.prompt_tokens_per_s is not None
    assert told.bytes_per_token == pytest.approx(4.0)


async def test_generated_tokens_are_counted() -> None:
    place = await make(ScriptedBackend())
    place.backend.go.set()
    counts = []
    for _ in range(2):
        usage = (await place.ask(request()))[-1].usage
        assert usage is not None
        counts.append(usage.completion_tokens)
    assert place.replica.snapshot().state.generated_tokens == sum(counts) > 0


async def test_a_short_prompt_teaches_nothing_about_bytes_per_token() -> None:
    place = await make(ScriptedBackend())
    place.backend.go.set()
    await place.ask(request(text="hi"))
    assert place.replica.snapshot().models[0].bytes_per_token == MODEL.bytes_per_token


async def test_models_that_come_and_go_are_told() -> None:
    place = await make(ScriptedBackend())
    place.backend.served = ()
    place.backend.changed()
    assert place.replica.snapshot().state.models == ()
    with pytest.raises(ModelNotFound):
        await place.ask(request())
    place.backend.served = (MODEL, ServedModel(name="new", backend="scripted", context_tokens=10))
    place.backend.changed()
    assert place.replica.snapshot().state.models == ("scripted", "new")


async def test_each_snapshot_is_newer_than_the_one_before() -> None:
    place = await make(ScriptedBackend())
    assert place.replica.snapshot().sequence < place.replica.snapshot().sequence


async def test_a_caller_that_does_not_know_of_a_remote_model_is_refused() -> None:
    """So nothing leaves the network that isn't marked, whatever was placed where."""
    place = await make(ScriptedBackend())
    place.backend.served = (MODEL.model_copy(update={"remote": True, "upstream": "afar"}),)
    place.backend.changed()
    with pytest.raises(RemoteNotAllowed):
        await place.ask(request())
    assert place.backend.begun == []
    place.backend.go.set()
    assert await place.ask(request().model_copy(update={"remote": True}))


async def test_thinking_in_the_text_goes_out_apart() -> None:
    class Thinking(ScriptedBackend):
        async def generate(self, request: GenerateRequest) -> AsyncIterator[GenerateChunk]:
            for piece in ("<th", "ink>a sec", "ret</think>", "\n\nBees", " live."):
                yield GenerateChunk(text=piece)
            yield GenerateChunk(text=" <", finish_reason="stop", usage=USAGE)

    place = await make(Thinking())
    chunks = await place.ask(request())
    assert "".join(chunk.text for chunk in chunks) == "Bees live. <"
    assert "".join(chunk.reasoning for chunk in chunks) == "a secret"
    assert (chunks[-1].finish_reason, chunks[-1].usage) == ("stop", USAGE)


class Adapting(ScriptedBackend):
    """Has one adapter, which is loaded when ``loaded`` is set, and another that can't be."""

    def __init__(self) -> None:
        super().__init__()
        self.served = (MODEL.model_copy(update={"adapters": ("ada", "bad")}),)
        self.loaded = asyncio.Event()
        self.loading = asyncio.Event()
        self.go.set()

    def loaded_adapters(self) -> tuple[str, ...]:
        return ("scripted:ada",) if self.loaded.is_set() else ()

    async def prepare(self, asked: GenerateRequest) -> None:
        if asked.adapter == "bad":
            raise AdapterBroken("it is")
        self.loading.set()
        await self.loaded.wait()


async def test_while_an_adapter_is_loaded_nothing_of_the_prompt_counts_as_read() -> None:
    place = await make(backend := Adapting())
    asked = asyncio.create_task(place.ask(request(text="x" * 400).model_copy(update={"adapter": "ada"})))
    async with asyncio.timeout(5):
        await backend.loading.wait()
    state = place.replica.snapshot().state
    assert (state.in_flight, state.to_read_tokens, state.adapters) == (1, 134, ())
    backend.loaded.set()
    assert (await asked)[-1].finish_reason == "stop"
    assert place.replica.snapshot().state.adapters == ("scripted:ada",)


async def test_an_adapter_that_is_unknown_or_broken_leaves_the_slot_to_the_next() -> None:
    place = await make(Adapting())
    with pytest.raises(AdapterNotFound):
        await place.ask(request("unknown").model_copy(update={"adapter": "cleo"}))
    with pytest.raises(AdapterBroken):
        await place.ask(request("broken").model_copy(update={"adapter": "bad"}))
    assert place.backend.begun == []
    assert (await place.ask(request("plain")))[-1].finish_reason == "stop"
    assert place.replica.snapshot().state.in_flight == 0
