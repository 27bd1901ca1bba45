"""A replica's pace before its first request: tried once, kept, begun from, and replaced by what requests show."""

from __future__ import annotations

import asyncio
import fcntl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from libs.shared.bus.memory import MemoryBroker
from libs.shared.contracts.base import Principal
from libs.shared.contracts.common import Usage
from libs.shared.contracts.inference import GENERATE, GenerateChunk, GenerateRequest
from libs.shared.contracts.telemetry import Rates
from libs.shared.errors import BackendFailed
from libs.shared.telemetry import metrics
from services.inference import first_pace, kept_rates, pace_trial, rates
from services.inference.first_pace import FRESH_S, LOCK_FILE, TRIAL_FRESH_S, FirstPace
from services.inference.giving_way import GivingWay
from services.inference.kept_rates import RatesFile
from services.inference.models import ModelSpec
from services.inference.replica import Identity, Replica
from services.inference.settings import InferenceSettings
from services.scheduler.pace import pace_of
from tests.unit.inference.backends import MODEL, ScriptedBackend, request

BEGUN = datetime(2026, 11, 30, tzinfo=UTC)
IDENTITY = Identity("node-a", "node-a-1", "boot")
WORDS = 5


class WritingBackend(ScriptedBackend):
    """Answers each question with as many words as it may have, at once."""

    async def generate(self, request: GenerateRequest) -> AsyncIterator[GenerateChunk]:
        self.begun.append(request.request_id)
        for _ in range(request.sampling.max_tokens or WORDS):
            yield GenerateChunk(text="word ")
        usage = Usage(prompt_tokens=50, completion_tokens=request.sampling.max_tokens or WORDS)
        yield GenerateChunk(finish_reason="stop", usage=usage)


class LingeringBackend(WritingBackend):
    """A trial of it is at its first word until it is stopped, and then ends only when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.stopping, self.let = asyncio.Event(), asyncio.Event()

    async def generate(self, request: GenerateRequest) -> AsyncIterator[GenerateChunk]:
        if request.request_id.startswith("trial"):
            try:
                yield GenerateChunk(text="first")
                await asyncio.Event().wait()
            finally:
                self.stopping.set()
                await self.let.wait()
        async for chunk in super().generate(request):
            yield chunk


class Clock:
    """The time of a model, which its backend alone moves on."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class PacedBackend(ScriptedBackend):
    """Reads and writes at a pace of its own, its first answer at a tenth of it."""

    READS, WRITES, OVERHEAD_S = 400.0, 40.0, 0.05

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock
        self.cold = True

    async def generate(self, request: GenerateRequest) -> AsyncIterator[GenerateChunk]:
        slower = 10.0 if self.cold else 1.0
        self.cold = False
        prompt, answer = len(request.messages[0].text) // 4 + 10, request.sampling.max_tokens or 200
        self.clock.now += slower * (self.OVERHEAD_S + prompt / self.READS)
        for word in range(answer):
            self.clock.now += slower / self.WRITES if word else 0.0
            yield GenerateChunk(text="word ")
        usage = Usage(prompt_tokens=prompt, completion_tokens=answer)
        yield GenerateChunk(finish_reason="stop", usage=usage)


class Place:
    """A node's life: a replica that serves, with its pace."""

    def __init__(self, state: Path, backend: ScriptedBackend, days: float, way: GivingWay) -> None:
        now = BEGUN + timedelta(days=days)
        settings = InferenceSettings(state=state)
        spec = ModelSpec(name=MODEL.name, backend="llama_cpp", path=state / "m.gguf")
        (state / "m.gguf").write_bytes(b"weights")
        self.settings = settings
        self.backend = backend
        self.replica = Replica(IDENTITY, backend, max_queue=1, changed=lambda urgent: None, way=way)
        self.pace = FirstPace(self.replica, spec, settings, lambda: now)

    async def begin(self) -> Place:
        broker = MemoryBroker()
        await self.pace.recall()
        await self.replica.serve(await broker.connect(Principal.INFERENCE))
        self.caller = await broker.connect(Principal.COGNITION)
        return self

    async def ask(self, text: str = "hello") -> list[GenerateChunk]:
        async with self.caller.stream(GENERATE, request("asked", text=text), replica=IDENTITY.replica) as chunks:
            return [chunk async for chunk in chunks]

    @property
    def rates(self) -> Rates:
        return self.replica.snapshot().models[0].rates


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(rates, "perf_counter", made)
    monkeypatch.setattr(pace_trial, "perf_counter", made)
    return made


async def place(
    state: Path, backend: ScriptedBackend | None = None, *, days: float = 0.0, way: GivingWay | None = None
) -> Place:
    return await Place(state, backend or WritingBackend(), days, way or GivingWay()).begin()


async def test_a_node_knows_its_pace_before_its_first_request(tmp_path: Path) -> None:
    here = await place(tmp_path)
    assert here.rates == Rates()
    await here.pace.find()
    assert here.rates.prompt_tokens_per_s
    assert here.rates.generated_tokens_per_s
    assert (here.rates.source, here.rates.measured_at) == ("trial", BEGUN)
    assert here.rates.answer_tokens is None, "a trial's answers are no usual ones"


async def check_that_the_pace_is_near_what_requests_show(state: Path, clock: Clock, *, tried: bool) -> None:
    """Within a half, in less than two seconds of a model that reads 400 tokens a second and was never used before."""
    here = await place(state, PacedBackend(clock))
    if tried:
        await here.pace.find()
    told = pace_of(here.replica.snapshot().models[0])
    assert clock.now < 5.0, "most of it is the model's cold start"
    for _ in range(10):
        await here.ask("x" * 2000)
    shown = pace_of(here.replica.snapshot().models[0])
    for before, after in ((told.s_per_prompt_token, shown.s_per_prompt_token), (told[1], shown[1])):
        assert 1 / 1.5 < before / after < 1.5


async def test_the_pace_of_a_trial_is_near_what_requests_show(tmp_path: Path, clock: Clock) -> None:
    await check_that_the_pace_is_near_what_requests_show(tmp_path, clock, tried=True)


async def test_the_check_of_the_pace_notices_a_node_that_was_not_tried(tmp_path: Path, clock: Clock) -> None:
    with pytest.raises(AssertionError):
        await check_that_the_pace_is_near_what_requests_show(tmp_path, clock, tried=False)


async def test_a_trial_is_counted_nowhere(tmp_path: Path) -> None:
    here = await place(tmp_path)
    before = _of_the_model(metrics.metrics_text())
    await here.pace.find()
    assert here.backend.begun, "it was tried"
    assert here.replica.snapshot().state.generated_tokens == 0
    assert _of_the_model(metrics.metrics_text()) == before
    await here.ask()
    assert _of_the_model(metrics.metrics_text()) != before


async def test_a_node_that_starts_again_begins_from_what_was_kept(tmp_path: Path) -> None:
    first = await place(tmp_path)
    await first.pace.find()
    again = await place(tmp_path, days=1)
    assert again.rates.source == "remembered"
    assert again.rates.measured_at == BEGUN
    assert again.rates.generated_tokens_per_s == first.rates.generated_tokens_per_s
    await again.pace.find()
    assert again.backend.begun == []


async def test_what_requests_show_counts_at_once_and_is_kept(tmp_path: Path) -> None:
    first = await place(tmp_path)
    await first.pace.find()
    await first.ask()
    shown = first.rates
    assert (shown.source, shown.measured_at) == ("requests", None)
    await first.pace.keep()
    again = await place(tmp_path, days=2)
    assert again.rates.generated_tokens_per_s == shown.generated_tokens_per_s


async def test_nothing_is_written_where_no_request_came(tmp_path: Path) -> None:
    here = await place(tmp_path)
    await here.pace.keep()
    assert not here.settings.folder.rates.exists()


async def test_what_was_kept_for_long_is_begun_from_and_tried_anew(tmp_path: Path) -> None:
    await (await place(tmp_path)).pace.find()
    for days in (TRIAL_FRESH_S / 86_400 + 1, -1):
        later = await place(tmp_path, days=days)
        assert later.rates.source == "remembered"
        await later.pace.find()
        assert later.rates.source == "trial"


async def test_what_requests_showed_stays_fresh_for_longer_than_what_a_trial_found(tmp_path: Path) -> None:
    first = await place(tmp_path)
    await first.ask()
    await first.pace.keep()
    for days, source in ((TRIAL_FRESH_S / 86_400 + 1, "remembered"), (FRESH_S / 86_400 + 1, "trial")):
        later = await place(tmp_path, days=days)
        await later.pace.find()
        assert later.rates.source == source


async def test_a_model_that_ends_the_process_when_it_is_tried_is_not_tried_again_until_it_has_answered(
    tmp_path: Path,
) -> None:
    class Killing(WritingBackend):
        """What it leaves behind is what a killed process does: nothing after it is run."""

        async def generate(self, request: GenerateRequest) -> AsyncIterator[GenerateChunk]:
            monkeypatch.setattr(RatesFile, "end_trying", lambda self: None)
            raise BackendFailed("the process is gone", reason="inference")
            yield

    with pytest.MonkeyPatch.context() as monkeypatch:
        await (await place(tmp_path, Killing())).pace.find()
    again = await place(tmp_path)
    await again.pace.find()
    assert again.backend.begun == []
    assert again.rates == Rates()
    await again.ask()
    await again.pace.keep()
    later = await place(tmp_path, days=FRESH_S / 86_400 + 1)
    await later.pace.find()
    assert later.rates.source == "trial"


async def test_a_trial_that_is_cancelled_leaves_no_mark(tmp_path: Path) -> None:
    here = await place(tmp_path, ScriptedBackend())
    trying = asyncio.create_task(here.pace.find())
    async with asyncio.timeout(5):
        while not here.backend.working:  # noqa: ASYNC110 - the backend has no event for it
            await asyncio.sleep(0)
        assert list(here.settings.folder.rates.glob("*.trying"))
        trying.cancel()
        await asyncio.wait({trying})
    assert not list(here.settings.folder.rates.glob("*.trying"))


async def test_a_machine_that_cannot_be_told_costs_the_memory_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def untold(*given: object) -> str:
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")

    monkeypatch.setattr(kept_rates, "machine", untold)
    here = await place(tmp_path)
    await here.pace.find()
    assert here.rates.source == "trial"


async def test_what_is_known_of_reading_is_kept_when_requests_show_the_writing_alone(tmp_path: Path) -> None:
    first = await place(tmp_path)
    await first.pace.find()
    reads = first.rates.prompt_tokens_per_s
    first.replica.measured(MODEL.name).generated_tokens_per_s = 7.0
    await first.pace.keep()
    again = await place(tmp_path)
    assert (again.rates.prompt_tokens_per_s, again.rates.generated_tokens_per_s) == (reads, 7.0)


async def test_what_could_not_be_kept_is_kept_later(tmp_path: Path) -> None:
    here = await place(tmp_path)
    await here.ask()
    here.settings.folder.rates.write_text("a file where the folder should be")
    await here.pace.keep()
    here.settings.folder.rates.unlink()
    await here.pace.keep()
    assert (await place(tmp_path)).rates.source == "remembered"


async def test_a_model_whose_only_answer_was_too_short_to_measure_is_not_tried(tmp_path: Path) -> None:
    here = await place(tmp_path, ScriptedBackend())
    here.backend.go.set()
    await here.ask()
    assert here.replica.measured(MODEL.name).generated_tokens_per_s is None
    await here.pace.find()
    assert here.backend.begun == ["asked"]


async def test_other_weights_under_the_same_name_are_tried_anew(tmp_path: Path) -> None:
    await (await place(tmp_path)).pace.find()
    later = Place(tmp_path, WritingBackend(), 0, GivingWay())
    (tmp_path / "m.gguf").write_bytes(b"others!")
    await later.begin()
    assert later.rates == Rates()


async def test_a_model_that_was_asked_already_is_not_tried(tmp_path: Path) -> None:
    here = await place(tmp_path)
    await here.ask()
    await here.pace.find()
    assert here.backend.begun == ["asked"]


async def check_that_a_request_is_not_held_up(state: Path, way: GivingWay, timeout_s: float = 5.0) -> None:
    """The trial stands still in the midst of its answer; a request that comes then ends it and is answered."""
    here = await place(state, ScriptedBackend(), way=way)
    trying = asyncio.create_task(here.pace.find())
    try:
        async with asyncio.timeout(5):
            while not here.backend.working:  # noqa: ASYNC110 - the backend has no event for it
                await asyncio.sleep(0)
        state_told = here.replica.snapshot().state
        assert (state_told.in_flight, state_told.queued, state_told.to_write_tokens) == (0, 0, 0)
        answering = asyncio.create_task(here.ask())
        done, _ = await asyncio.wait({trying}, timeout=timeout_s)
        assert done, "the trial goes on"
        assert len(here.backend.stopped_early) == 1
        here.backend.go.set()
        async with asyncio.timeout(5):
            assert (await answering)[-1].finish_reason == "stop"
    finally:
        here.backend.go.set()
        await asyncio.wait({trying}, timeout=5)


async def test_a_request_that_comes_during_the_trial_is_not_held_up(tmp_path: Path) -> None:
    await check_that_a_request_is_not_held_up(tmp_path, GivingWay())


async def test_the_check_notices_a_trial_that_goes_on(tmp_path: Path) -> None:
    class Stubborn(GivingWay):
        def end(self) -> None:
            return None

    with pytest.raises(AssertionError, match="goes on"):
        await check_that_a_request_is_not_held_up(tmp_path, Stubborn(), timeout_s=0.5)


async def test_a_request_is_answered_while_a_trial_whose_time_ran_out_ends(tmp_path: Path) -> None:
    backend = LingeringBackend()
    here = await place(tmp_path, backend)
    trying = asyncio.create_task(here.replica.try_out(pace_trial.question(MODEL.name, "hello", 4), 0.01))
    try:
        async with asyncio.timeout(5):
            await backend.stopping.wait()
            assert (await here.ask())[-1].usage
        measured = here.replica.measured(MODEL.name)
        assert measured.generated_tokens_per_s
        assert measured.prompt_tokens_per_s is None, "what was left of the trial held up its first token"
    finally:
        backend.let.set()
    async with asyncio.timeout(5):
        assert await trying is None
    await here.ask()
    assert measured.prompt_tokens_per_s


async def test_a_trial_gives_way_to_the_requests_of_another_model_of_the_node(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    way = GivingWay()
    other = await place(tmp_path / "other", ScriptedBackend(), way=way)
    here = await place(tmp_path / "one", ScriptedBackend(), way=way)
    trying = asyncio.create_task(here.pace.find())
    async with asyncio.timeout(5):
        while not here.backend.working:  # noqa: ASYNC110 - the backend has no event for it
            await asyncio.sleep(0)
        answering = asyncio.create_task(other.ask())
        await trying
        await here.pace.find()
        assert len(here.backend.begun) == 1, "none is begun while the other answers"
        assert here.rates == Rates()
        other.backend.go.set()
        assert (await answering)[-1].finish_reason == "stop"
        here.backend.go.set()
        await here.pace.go_on()
        assert here.rates.source == "trial"
        asked = len(here.backend.begun)
        await here.pace.go_on()
    assert len(here.backend.begun) == asked, "it is known now"


async def test_a_model_that_fails_its_trial_goes_on_serving(tmp_path: Path) -> None:
    class Failing(WritingBackend):
        def __init__(self, error: Exception) -> None:
            super().__init__()
            self.error: Exception | None = error

        async def generate(self, request: GenerateRequest) -> AsyncIterator[GenerateChunk]:
            if self.error is not None:
                raise self.error
            async for chunk in super().generate(request):
                yield chunk

    for error in (BackendFailed("torch failed", reason="inference"), RuntimeError("a plug-in's own")):
        backend = Failing(error)
        here = await place(tmp_path, backend)
        await here.pace.find()
        assert here.rates == Rates()
        backend.error = None
        assert (await here.ask())[-1].usage


async def test_replicas_of_one_machine_try_a_model_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_pace, "LOCK_LOOK_S", 0.01)
    one, other = await place(tmp_path), await place(tmp_path)
    folder = one.settings.folder.rates
    folder.mkdir()
    with (folder / LOCK_FILE).open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        waiting = asyncio.create_task(other.pace.find())
        await one.pace._try()
        await asyncio.sleep(0)
        assert not waiting.done()
    async with asyncio.timeout(5):
        await waiting
    assert other.backend.begun == []
    assert other.rates.generated_tokens_per_s == one.rates.generated_tokens_per_s


async def test_a_state_folder_that_cannot_be_written_costs_the_memory_alone(tmp_path: Path) -> None:
    here = await place(tmp_path)
    here.settings.folder.rates.write_text("a file where the folder should be")
    await here.pace.find()
    assert here.rates.source == "trial"


def _of_the_model(text: str) -> list[str]:
    """Under whatever name: of models only the first few have a label of their own in one process."""
    return [line for line in text.splitlines() if line.startswith("gen_ai_")]
