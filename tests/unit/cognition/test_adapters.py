"""Canaries answer their share of the conversations, never fail a request, and nobody is answered by others' words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from libs.shared.bus.memory import MemoryBroker
from libs.shared.contracts.adapters import (
    ADAPTERS_CHANGED,
    LIST_ADAPTERS,
    Adapters,
    AdaptersChanged,
    ArtefactFile,
    BaseModelOf,
    KeptAdapter,
    Manifest,
    SignedManifest,
)
from libs.shared.contracts.base import Empty, Principal
from libs.shared.contracts.inference import GenerateChunk, GenerateRequest
from libs.shared.contracts.material import STANDING_CHANGED, StandingChanged
from libs.shared.contracts.runtime_settings import Canary, RuntimeSettings
from libs.shared.contracts.scheduling import Placement, PlaceRequest
from libs.shared.errors import (
    AdapterBroken,
    AdapterNotAllowed,
    AdapterNotFound,
    BackendFailed,
    NoModel,
    Overloaded,
    ServiceError,
)
from services.cognition import generation
from services.cognition.adapters import OwnedAdapters, canary_for
from tests.unit.cognition.asking import text
from tests.unit.cognition.conftest import Build, Household, request
from tests.unit.cognition.household import Scheduler, whole

ADA = Canary(model="llama:ada", share=1.0)


def test_a_conversation_keeps_its_canary_and_the_share_is_as_said() -> None:
    settings = {share: RuntimeSettings(chat_canary=Canary(model="llama:ada", share=share)) for share in (0.1, 0.3, 1.0)}
    having: dict[float, set[str]] = {
        share: {f"c{n}" for n in range(4000) if canary_for(given, None, f"c{n}")} for share, given in settings.items()
    }
    assert [len(having[share]) / 4000 for share in (0.1, 0.3, 1.0)] == pytest.approx([0.1, 0.3, 1.0], abs=0.02)
    assert having[0.1] < having[0.3] < having[1.0]
    assert all(canary_for(settings[0.3], None, one) == "llama:ada" for one in having[0.3])


def test_a_canary_is_its_roles_alone() -> None:
    chat, code = RuntimeSettings(chat_canary=ADA), RuntimeSettings(code_canary=ADA)
    asked = (None, "chat", "mongars/chat", "code", "mongars/code", "embed", "llama", "llama:bob")
    assert [canary_for(chat, model, "c") is not None for model in asked] == [True] * 5 + [False] * 3
    assert [canary_for(code, model, "c") is not None for model in asked] == [False] * 3 + [True] * 2 + [False] * 3
    own = RuntimeSettings(chat_canary=ADA, code_model="coder")
    assert canary_for(own, "code", "c") is None


@pytest.fixture
def promoted() -> list[str]:
    """The adapter that the role has, if any."""
    return []


@pytest.fixture
def refusals() -> list[ServiceError]:
    """With which an adapter isn't placed, if any."""
    return []


@pytest.fixture(autouse=True)
def serving(monkeypatch: pytest.MonkeyPatch, promoted: list[str], refusals: list[ServiceError]) -> None:
    """A scheduler that has every adapter and doesn't ask whose it is."""

    async def place(self: Scheduler, asked: PlaceRequest) -> Placement:
        self.asked.append(asked)
        adapter = (asked.model or "").partition(":")[2] or None
        if adapter and refusals:
            raise refusals[0]
        if asked.model is None and asked.adapts and promoted:
            adapter = promoted[0]
        if asked.kind == "embed":
            raise NoModel("none")
        placed = self._place([f"r{n}" for n in range(self.replicas)], asked, self.model)
        return placed.model_copy(update={"adapter": adapter})

    monkeypatch.setattr(Scheduler, "place", place)


async def says_its_adapter(asked: GenerateRequest) -> AsyncIterator[GenerateChunk]:
    yield GenerateChunk(text=asked.adapter or "none")
    async for chunk in whole(asked):
        if chunk.finish_reason:
            yield chunk


async def spoilt(asked: GenerateRequest) -> AsyncIterator[GenerateChunk]:
    if asked.adapter is not None:
        raise AdapterBroken("it can't be read")
    async for chunk in says_its_adapter(asked):
        yield chunk


async def breaks(asked: GenerateRequest) -> AsyncIterator[GenerateChunk]:
    if asked.adapter is not None:
        raise BackendFailed("out of memory", reason="broke_off")
    async for chunk in says_its_adapter(asked):
        yield chunk


async def test_a_canary_answers_and_the_answer_names_it(household: Build) -> None:
    home = await household(says_its_adapter, runtime=RuntimeSettings(chat_canary=ADA))
    chunks = await home.ask(request())
    assert (text(chunks), chunks[0].model, chunks[0].degraded) == ("ada", "llama:ada", None)


async def check_no_canary_fails_a_request(home: Household) -> None:
    chunks = await home.ask(request())
    assert (text(chunks), chunks[0].model, chunks[0].degraded) == ("none", "llama", "no-adapter")


@pytest.mark.parametrize(
    "refusal", [AdapterNotFound("nowhere"), Overloaded("busy", retry_after_s=9.0)], ids=["nowhere", "busy"]
)
async def test_a_canary_that_cannot_be_placed_leaves_the_answer_to_its_model(
    household: Build, refusals: list[ServiceError], refusal: ServiceError
) -> None:
    refusals.append(refusal)
    home = await household(says_its_adapter, runtime=RuntimeSettings(chat_canary=ADA))
    await check_no_canary_fails_a_request(home)


@pytest.mark.parametrize("answers", [spoilt, breaks])
async def test_a_canary_that_fails_leaves_the_answer_to_its_model(household: Build, answers: object) -> None:
    home = await household(answers, runtime=RuntimeSettings(chat_canary=ADA), generate_attempts=1)
    await check_no_canary_fails_a_request(home)


async def test_an_adapter_of_a_role_that_is_broken_leaves_the_answer_to_its_model(
    household: Build, promoted: list[str]
) -> None:
    promoted.append("ada")
    home = await household(spoilt)
    await check_no_canary_fails_a_request(home)


async def test_the_check_notices_a_canary_that_fails_requests(
    household: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = await household(spoilt, runtime=RuntimeSettings(chat_canary=ADA))
    monkeypatch.setattr(generation.Generation, "_without_adapter", lambda *_: False)
    with pytest.raises((AssertionError, AdapterBroken)):
        await check_no_canary_fails_a_request(home)


async def test_one_that_was_named_is_refused_for_what_it_is(household: Build) -> None:
    home = await household(spoilt)
    with pytest.raises(AdapterBroken):
        await home.ask(request(model="llama:ada"))


def kept(name: str, owners: tuple[str, ...] | None) -> KeptAdapter:
    file = ArtefactFile(name="a", size=0, sha256="0" * 64)
    manifest = Manifest(
        name=name, base=BaseModelOf(name="llama"), files=(file,), created=datetime.now(UTC), owners=owners
    )
    return KeptAdapter(name=name, signed=SignedManifest(body=""), manifest=manifest, owners=owners)


@pytest.fixture
async def owned(household: Build) -> Household:
    """Where ``ada`` is u2's."""
    home = await household(says_its_adapter)

    async def told(_: Empty) -> Adapters:
        return Adapters(adapters=(kept("ada", ("u2",)), kept("bob", None)), key="")

    await home.persistence.bus.serve(LIST_ADAPTERS, told)
    await home.adapters.look()
    return home


async def check_only_its_owner_uses_it(home: Household, promoted: list[str]) -> None:
    mine = await home.ask(request(model="llama:ada", user_id="u2"))
    assert text(mine) == "ada"
    assert home.scheduler.asked[-1].may_use == ("ada",)
    with pytest.raises(AdapterNotAllowed):
        await home.ask(request(model="llama:ada"))
    assert not home.scheduler.asked[-1].may_use
    assert text(await home.ask(request(model="llama:bob"))) == "bob"
    home.in_force = RuntimeSettings(chat_canary=ADA)
    assert text(await home.ask(request(user_id="u2"))) == "ada"
    others = await home.ask(request())
    assert (text(others), others[0].degraded) == ("none", None)
    home.in_force = RuntimeSettings()
    promoted.append("ada")
    assert text(await home.ask(request(user_id="u2"))) == "ada"
    assert text(await home.ask(request())) == "none"


async def test_only_its_owner_uses_an_adapter_named_or_tried_out_or_promoted(
    owned: Household, promoted: list[str]
) -> None:
    await check_only_its_owner_uses_it(owned, promoted)


async def test_the_check_notices_that_nobody_asks_for_the_owner(
    owned: Household, promoted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OwnedAdapters, "refused", lambda *_: False)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        await check_only_its_owner_uses_it(owned, promoted)


async def test_owners_are_heard_of_and_unknown_ones_may_use_nothing() -> None:
    broker, found = MemoryBroker(), [kept("ada", ("u2",))]
    persistence, bus = await broker.connect(Principal.PERSISTENCE), await broker.connect(Principal.COGNITION)

    async def told(_: Empty) -> Adapters:
        return Adapters(adapters=tuple(found), key="")

    adapters = OwnedAdapters(bus)
    assert adapters.may_use("u2") == ()
    await persistence.serve(LIST_ADAPTERS, told)
    following = asyncio.create_task(adapters.follow())
    async with asyncio.timeout(60):
        while adapters.may_use("u2") != ("ada",):  # noqa: ASYNC110 - told by a task of its own
            await asyncio.sleep(0.01)
        found.append(kept("eve", ("u2", "u3")))
        while adapters.may_use("u2") != ("ada", "eve"):
            await persistence.broadcast(ADAPTERS_CHANGED, AdaptersChanged(adapter="eve"))
            await asyncio.sleep(0.01)
        assert adapters.may_use("u3") == ("eve",)
        found[0] = found[0].model_copy(update={"owners": None})  # u2 lets others use it
        while adapters.refused("ada", "u3"):
            await persistence.broadcast(STANDING_CHANGED, StandingChanged(adapters=("ada",)))
            await asyncio.sleep(0.01)
        assert adapters.may_use("u3") == ("ada", "eve")
        found[0] = found[0].model_copy(update={"owners": ("u2",)})  # and takes that back
        while not adapters.refused("ada", "u3"):
            await persistence.broadcast(STANDING_CHANGED, StandingChanged(adapters=("ada",)))
            await asyncio.sleep(0.01)
    assert adapters.may_use("u3") == ("eve",)
    following.cancel()
    await bus.drain(1)
    await persistence.drain(1)
