"""OpenAI-compatible servers and Ollama, over real connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from libs.shared.contracts.chat import ChatMessage, ImagePart, ImageUrl, TextPart, Tools
from libs.shared.contracts.inference import GenerateChunk, GenerateRequest
from libs.shared.errors import BackendFailed, ContextExceeded, ModelNotFound, Overloaded, ServiceError
from services.inference.backends import upstream as upstream_backend
from services.inference.backends.base import Backend
from services.inference.backends.choose import Node, make_backend
from services.inference.models import ModelSpec
from tests.integration.inference.conftest import ask
from tests.integration.inference.upstreams import WORDS, FakeOllama, FakeOpenAI, FakeUpstream, running_upstream


@dataclass
class Pair:
    """An upstream and the backend that asks it."""

    upstream: FakeUpstream
    backend: Backend
    model: str
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, request: GenerateRequest | None = None) -> list[GenerateChunk]:
        async with asyncio.timeout(10):
            return [chunk async for chunk in self.backend.generate(request or ask(self.model, max_tokens=9))]


@pytest.fixture(params=["openai", "ollama"])
async def pair(request: pytest.FixtureRequest, node: Node, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Pair]:
    monkeypatch.setattr(upstream_backend, "PROBE_OK_S", 0.05)
    monkeypatch.setattr(upstream_backend, "PROBE_FIRST_S", 0.02)
    openai = request.param == "openai"
    async with running_upstream(FakeOpenAI() if openai else FakeOllama()) as upstream:
        url = upstream.url + ("/v1" if openai else "")
        backend = make_backend(ModelSpec(backend=request.param, url=url), node)
        pair = Pair(upstream, backend, "big" if openai else "llama")
        await backend.load(pair.changed.set)
        yield pair
        await backend.close()


async def test_words_come_one_by_one_with_the_upstream_s_own_counts(pair: Pair) -> None:
    chunks = await pair.answer()
    assert tuple(chunk.text for chunk in chunks if chunk.text) == WORDS
    assert chunks[-1].finish_reason == "stop"
    assert chunks[-1].usage is not None
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (11, 5)


async def test_the_first_word_does_not_wait_for_the_second(pair: Pair) -> None:
    pair.upstream.pause.clear()
    async with aclosing(pair.backend.generate(ask(pair.model))) as chunks:  # type: ignore[type-var]
        async with asyncio.timeout(5):
            assert (await anext(chunks)).text == WORDS[0]


async def check_that_leaving_reaches_the_upstream(pair: Pair, backend: Backend) -> None:
    pair.upstream.pause.clear()
    async with aclosing(backend.generate(ask(pair.model))) as chunks:  # type: ignore[type-var]
        await anext(chunks)
    try:
        async with asyncio.timeout(0.1):
            await pair.upstream.left.wait()
    except TimeoutError:
        raise AssertionError("the upstream still generates") from None


async def test_leaving_stops_the_upstream_within_100_ms(pair: Pair) -> None:
    await check_that_leaving_reaches_the_upstream(pair, pair.backend)


async def test_the_check_of_leaving_notices_a_connection_kept_open(pair: Pair) -> None:
    kept: list[AsyncIterator[GenerateChunk]] = []

    class Holding:
        def generate(self, request: GenerateRequest) -> AsyncIterator[GenerateChunk]:
            kept.append(chunks := pair.backend.generate(request))

            async def forward() -> AsyncIterator[GenerateChunk]:
                yield await anext(chunks)
                yield await anext(chunks)

            return forward()

    with pytest.raises(AssertionError):
        await check_that_leaving_reaches_the_upstream(pair, Holding())  # type: ignore[arg-type]
    for chunks in kept:
        await chunks.aclose()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("status", "error", "data"),
    [
        (500, BackendFailed, {"reason": "upstream_error"}),
        (422, BackendFailed, {"reason": "upstream_refused"}),
        (401, BackendFailed, {"reason": "unauthorized"}),
        (404, ModelNotFound, {}),
        (429, Overloaded, {"retry_after_s": 7.0}),
    ],
)
async def test_a_refusal_is_told_by_what_it_means(
    pair: Pair, status: int, error: type[ServiceError], data: dict[str, object]
) -> None:
    pair.upstream.status = status
    pair.upstream.retry_after = "7" if status == 429 else None
    pair.upstream.refusal = {"error": {"message": "your prompt was: the secret"}}
    with pytest.raises(error) as refused:
        await pair.answer()
    assert refused.value.data == data
    assert "secret" not in refused.value.detail


async def test_a_prompt_the_upstream_finds_too_long_is_told_as_such(pair: Pair) -> None:
    pair.upstream.status = 400
    pair.upstream.refusal = {"error": {"message": "maximum context length is 4096 tokens", "type": "invalid_request"}}
    with pytest.raises(ContextExceeded) as refused:
        await pair.answer()
    assert refused.value.data["prompt_tokens"] > refused.value.data["context_tokens"]


async def test_an_upstream_that_breaks_off_has_failed(pair: Pair) -> None:
    pair.upstream.break_off = True
    with pytest.raises(BackendFailed) as failed:
        await pair.answer()
    assert failed.value.data["reason"] == "broke_off"


async def test_models_are_offered_only_while_the_upstream_is_there(pair: Pair) -> None:
    assert pair.model in {model.name for model in pair.backend.models()}
    pair.changed.clear()
    await pair.upstream.stop()
    async with asyncio.timeout(5):
        await pair.changed.wait()
    assert pair.backend.models() == ()
    assert pair.backend.troubles() == (f"{pair.backend.name}-unreachable",)
    pair.changed.clear()
    await pair.upstream.start()
    async with asyncio.timeout(5):
        await pair.changed.wait()
    assert pair.model in {model.name for model in pair.backend.models()}


async def test_ollama_offers_local_models_that_can_chat_alone(node: Node) -> None:
    async with running_upstream(FakeOllama()) as upstream:
        backend = make_backend(ModelSpec(backend="ollama", url=upstream.url), node)
        await backend.load(lambda: None)
        (model,) = backend.models()
        assert (model.name, model.context_tokens, model.tools, model.remote) == ("llama", 2048, True, False)
        chunks = [chunk async for chunk in backend.generate(ask("llama", max_tokens=9))]
        assert chunks[-1].usage
        assert upstream.asked[0]["options"] == {"num_predict": 9, "num_ctx": 2048}
        assert upstream.asked[0]["truncate"] is False
        with pytest.raises(ContextExceeded):
            await anext(backend.generate(ask("llama", text="word " * 4000)))
        assert len(upstream.asked) == 1
        await backend.close()


async def test_an_ollama_that_was_never_there_is_no_trouble(node: Node) -> None:
    backend = make_backend(ModelSpec(backend="ollama", url=FakeOllama().url), node)
    await backend.load(lambda: None)
    assert (backend.models(), backend.troubles()) == ((), ())
    await backend.close()


async def test_a_configured_upstream_model_is_asked_with_its_key_and_its_own_name(node: Node, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sk-test\n")
    async with running_upstream(FakeOpenAI()) as upstream:
        spec = ModelSpec(
            name="house",
            backend="openai",
            url=f"{upstream.url}/v1/",
            api_key_file=tmp_path / "key",
            options={"model": "big"},
        )
        backend = make_backend(spec, node)
        await backend.load(lambda: None)
        (model,) = backend.models()
        assert (model.name, model.context_tokens) == ("house", 4096)
        picture = ImagePart(image_url=ImageUrl(url="data:image/png;base64,AA=="))
        message = ChatMessage(role="user", content=(TextPart(text="what is this"), picture))
        request = ask("house").model_copy(
            update={"messages": (message,), "tools": Tools(tools=({"type": "function"},), tool_choice="auto")}
        )
        async for _ in backend.generate(request):
            pass
        asked = upstream.asked[0]
        assert asked["headers"]["Authorization"] == "Bearer sk-test"
        assert (asked["model"], asked["tool_choice"]) == ("big", "auto")
        assert asked["messages"][0]["content"][1]["image_url"]["url"].startswith("data:image/png")
        await backend.close()
