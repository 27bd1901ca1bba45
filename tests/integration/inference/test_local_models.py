"""The tiny language model through llama.cpp and through transformers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from libs.shared.contracts.chat import ChatMessage, Tools
from libs.shared.contracts.common import Usage
from libs.shared.contracts.inference import GenerateChunk, GenerateRequest
from libs.shared.errors import BackendFailed, ContextExceeded, ModelBroken, ModelDoesNotFit
from services.inference.backends import transformers as torch_backend
from services.inference.backends.base import Backend
from services.inference.backends.choose import Node, make_backend
from services.inference.backends.prefix_cache import PrefixCache
from services.inference.models import ModelSpec
from tests.integration.inference.conftest import ask
from tests.support import language_model

PATHS = {"llama_cpp": language_model.GGUF_FILE, "transformers": language_model.FOLDER}


@pytest.fixture(params=["llama_cpp", pytest.param("transformers", marks=pytest.mark.torch)])
async def backend(request: pytest.FixtureRequest, models: Path, node: Node) -> AsyncIterator[Backend]:
    made = make_backend(ModelSpec(name="tiny", backend=request.param, path=models / PATHS[request.param]), node)
    await made.load(lambda: None)
    yield made
    await made.close()


async def answer(backend: Backend, request: GenerateRequest) -> list[GenerateChunk]:
    async with asyncio.timeout(60):
        return [chunk async for chunk in backend.generate(request)]


async def test_tokens_stream_one_by_one_and_are_counted(backend: Backend) -> None:
    chunks = await answer(backend, ask("tiny", max_tokens=12, temperature=0.0))
    pieces = [chunk.text for chunk in chunks if chunk.text]
    assert len(pieces) >= 10
    assert all(len(piece.split()) <= 1 for piece in pieces)
    last = chunks[-1]
    assert last.usage is not None
    assert last.usage.completion_tokens == 12
    assert last.usage.prompt_tokens > 5
    assert last.finish_reason == "length"


async def test_greedy_answers_are_what_the_model_was_taught(backend: Backend) -> None:
    text = "".join(c.text for c in await answer(backend, ask("tiny", max_tokens=16, temperature=0.0)))
    assert any(text.strip().startswith(sentence[:8]) for sentence in language_model.SENTENCES)


async def test_the_same_seed_gives_the_same_answer(backend: Backend) -> None:
    request = ask("tiny", max_tokens=12, temperature=1.0, seed=7)
    assert await answer(backend, request) == await answer(backend, request)


async def test_a_stop_string_ends_the_answer_before_it(backend: Backend) -> None:
    chunks = await answer(backend, ask("tiny", max_tokens=60, temperature=0.0, stop=(" the",)))
    assert " the" not in "".join(chunk.text for chunk in chunks)
    assert chunks[-1].finish_reason == "stop"


async def test_a_prompt_that_is_too_long_is_refused_with_figures(backend: Backend) -> None:
    with pytest.raises(ContextExceeded) as refused:
        await answer(backend, ask("tiny", text="the cat sat on the mat " * 400))
    assert refused.value.data["prompt_tokens"] > refused.value.data["context_tokens"] == 512


async def test_characters_of_many_bytes_come_whole(backend: Backend) -> None:
    chunks = await answer(backend, ask("tiny", text="été 🌙 naïve", max_tokens=40, temperature=1.5, seed=1))
    for chunk in chunks:
        chunk.text.encode()
    assert chunks[-1].usage is not None


async def check_that_closing_frees_the_worker(backend: Backend) -> None:
    """The answer of 400 tokens is left after the first; within 100 ms the worker thread is free for the next."""
    async with aclosing(backend.generate(ask("tiny", max_tokens=400))) as chunks:  # type: ignore[type-var]
        await anext(chunks)
    worker: Any = getattr(backend, "_worker", None) or getattr(backend, "_workers", None)
    free = Event()
    worker.submit(free.set)
    if not await asyncio.to_thread(free.wait, 0.1):
        raise AssertionError("the model still generates")


@pytest.mark.alone
async def test_leaving_an_answer_stops_the_model_within_100_ms(backend: Backend) -> None:
    await check_that_closing_frees_the_worker(backend)


@pytest.mark.torch
async def test_the_check_of_leaving_notices_a_model_that_goes_on(
    models: Path, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    made = make_backend(ModelSpec(name="tiny", backend="transformers", path=models / "tiny"), node)
    await made.load(lambda: None)
    monkeypatch.setattr(torch_backend, "_stops", lambda ids, cancelled: torch.zeros(ids.shape[0], dtype=torch.bool))
    with pytest.raises(AssertionError):
        await check_that_closing_frees_the_worker(made)
    await made.close()


def conversation(*said: str, session: str | None = "ada", **sampling: Any) -> GenerateRequest:
    """Said in turns, the user first."""
    messages = tuple(ChatMessage(role="assistant" if n % 2 else "user", content=text) for n, text in enumerate(said))
    asked = ask("tiny", **{"max_tokens": 12, "temperature": 0.0} | sampling)
    return asked.model_copy(update={"messages": messages, "session": session})


STORY = " ".join(language_model.SENTENCES)


async def told(backend: Backend, request: GenerateRequest) -> tuple[str, Usage]:
    """The answer's text, and what was counted."""
    chunks = await answer(backend, request)
    usage = chunks[-1].usage
    assert usage is not None
    return "".join(chunk.text for chunk in chunks), usage


async def check_that_a_conversation_is_gone_on_from(backend: Backend) -> None:
    first, begun = await told(backend, conversation(STORY))
    assert begun.cached_tokens == 0
    follow = (STORY, first, "what is the name of the dog")
    second, gone_on = await told(backend, conversation(*follow))
    assert gone_on.cached_tokens is not None
    assert begun.prompt_tokens <= gone_on.cached_tokens < gone_on.prompt_tokens
    whole, anew = await told(backend, conversation(*follow, session="grace"))
    assert anew.cached_tokens == 0
    assert second == whole


async def test_a_conversation_is_read_from_where_it_goes_on_and_answered_as_if_read_whole(backend: Backend) -> None:
    await check_that_a_conversation_is_gone_on_from(backend)
    assert [model.caches_prefix for model in backend.models()] == [True]


@pytest.mark.parametrize(
    ("session", "sampling"), [("grace", {}), (None, {}), ("ada", {"seed": 1})], ids=["another's", "no", "seeded"]
)
async def test_what_a_session_said_is_read_anew_for_any_other(
    backend: Backend, session: str | None, sampling: dict[str, int]
) -> None:
    await told(backend, conversation(STORY))
    _, usage = await told(backend, conversation(STORY, session=session, **sampling))
    assert usage.cached_tokens == 0


@pytest.mark.torch
async def test_a_chore_between_two_turns_leaves_the_conversation_where_it_was(models: Path, node: Node) -> None:
    told_of: list[bool] = []
    made = make_backend(ModelSpec(name="tiny", backend="transformers", path=models / "tiny"), node)
    await made.load(lambda: told_of.append(made.models()[0].caches_prefix))
    await told(made, conversation(STORY))
    assert told_of == [True], "the replica learns what the first answer showed"
    await told(made, conversation("a title for this, please", session=None))
    _, usage = await told(made, conversation(STORY))
    assert usage.cached_tokens == usage.prompt_tokens - 1
    await made.close()


@pytest.mark.torch
async def test_after_an_answer_that_failed_the_next_is_read_whole(
    models: Path, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_backend(ModelSpec(name="tiny", backend="transformers", path=models / "tiny"), node)
    await made.load(lambda: None)
    expected, _ = await told(made, conversation(STORY))
    with monkeypatch.context() as broken:
        broken.setattr(torch_backend, "_choice", lambda request, prompt_tokens: {"logits_processor": [None]})
        with pytest.raises(BackendFailed):
            await told(made, conversation(STORY))
    again, usage = await told(made, conversation(STORY))
    assert (again, usage.cached_tokens) == (expected, 0)
    await made.close()


async def test_an_answer_that_was_left_is_gone_on_from(backend: Backend) -> None:
    async with aclosing(backend.generate(conversation(STORY))) as chunks:  # type: ignore[type-var]
        await anext(chunks)
    after, _ = await told(backend, conversation(STORY))
    whole, _ = await told(backend, conversation(STORY, session="grace"))
    assert after == whole


@pytest.mark.torch
async def test_a_cache_that_is_not_shortened_to_what_is_shared_would_be_noticed(
    models: Path, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_backend(ModelSpec(name="tiny", backend="transformers", path=models / "tiny"), node)
    await made.load(lambda: None)
    taken = PrefixCache.take

    def spoilt(cache: PrefixCache, session: str, ids: Sequence[int], adapter: None) -> tuple[Any, int]:
        found, same = taken(cache, session, ids)
        for layer in found.layers if found is not None else ():
            layer.keys = layer.keys.flip(2)
        return found, same

    monkeypatch.setattr(PrefixCache, "take", spoilt)
    with pytest.raises(AssertionError):
        await check_that_a_conversation_is_gone_on_from(made)
    await made.close()


async def test_several_requests_share_one_model(models: Path, node: Node) -> None:
    spec = ModelSpec(name="tiny", backend="llama_cpp", path=models / "tiny.gguf", options={"slots": 3})
    backend = make_backend(spec, node)
    await backend.load(lambda: None)
    answers = await asyncio.gather(*(answer(backend, ask("tiny", max_tokens=20)) for _ in range(6)))
    assert all(chunks[-1].usage for chunks in answers)
    await backend.close()


async def test_llama_cpp_keeps_to_a_json_schema(models: Path, node: Node) -> None:
    backend = make_backend(ModelSpec(name="tiny", backend="llama_cpp", path=models / "tiny.gguf"), node)
    await backend.load(lambda: None)
    schema = {"type": "object", "properties": {"bees": {"type": "integer", "maximum": 9}}, "required": ["bees"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    request = ask("tiny", max_tokens=80).model_copy(update={"tools": Tools(response_format=wanted)})
    text = "".join(chunk.text for chunk in await answer(backend, request))
    assert isinstance(json.loads(text)["bees"], int)
    await backend.close()


@pytest.mark.parametrize("kind", ["llama_cpp", pytest.param("transformers", marks=pytest.mark.torch)])
async def test_a_model_that_does_not_fit_is_never_loaded(kind: str, models: Path, node: Node) -> None:
    small = Node(**{**vars(node), "available_mib": lambda: 300.0})
    backend = make_backend(ModelSpec(name="tiny", backend=kind, path=models / PATHS[kind]), small)
    with pytest.raises(ModelDoesNotFit):
        await backend.load(lambda: None)
    assert backend.models() == ()


async def test_weights_cut_short_are_broken_not_fatal(models: Path, node: Node, tmp_path: Path) -> None:
    whole = (models / "tiny.gguf").read_bytes()
    (tmp_path / "cut.gguf").write_bytes(whole[: len(whole) * 3 // 4])
    backend = make_backend(ModelSpec(name="cut", backend="llama_cpp", path=tmp_path / "cut.gguf"), node)
    with pytest.raises(ModelBroken):
        await backend.load(lambda: None)


@pytest.mark.torch
async def test_a_folder_with_spoilt_weights_is_broken_not_fatal(models: Path, node: Node, tmp_path: Path) -> None:
    for file in (models / "tiny").iterdir():
        kept = file.read_bytes()[: 2000 if file.suffix == ".safetensors" else None]
        (tmp_path / file.name).write_bytes(kept)
    backend = make_backend(ModelSpec(name="cut", backend="transformers", path=tmp_path), node)
    with pytest.raises(ModelBroken):
        await backend.load(lambda: None)
