"""OpenAI's official client, unchanged, on a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from libs.shared.errors import BackendFailed
from tests.unit.api.house import Api, served, whole_turn

ASK: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]


@pytest.fixture
async def client(api: Api) -> AsyncIterator[openai.AsyncOpenAI]:
    secret = api.key()["Authorization"].removeprefix("Bearer ")
    async with served(api) as (host, port):
        base = f"http://{host}:{port}/v1"
        async with openai.AsyncOpenAI(base_url=base, api_key=secret, max_retries=0, timeout=10) as client:
            yield client


async def test_it_reads_whole_answers_and_models(client: openai.AsyncOpenAI) -> None:
    whole = await client.chat.completions.create(model="tiny", messages=ASK)
    assert whole.choices[0].message.content == "Hello, wörld"
    assert whole.usage is not None
    assert whole.usage.total_tokens == 9
    assert whole._request_id is not None
    assert [model.id async for model in client.models.list()] == [
        "tiny",
        "minilm",
        "mongars/chat",
        "mongars/embed",
    ]


async def test_it_reads_streams_with_usage(client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model="tiny",
        messages=ASK,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "Hello, wörld"
    assert chunks[-1].usage is not None


async def test_it_reads_embeddings(client: openai.AsyncOpenAI) -> None:
    got = await client.embeddings.create(model="minilm", input=["a", "four"])
    assert [item.embedding for item in got.data] == [[0.5, 1.0, -1.0], [0.5, 4.0, -1.0]]


async def test_it_raises_what_broke_a_stream_off(api: Api, client: openai.AsyncOpenAI) -> None:
    api.house.answer = lambda request: whole_turn(request)[:1]
    stream = await client.chat.completions.create(model="tiny", messages=ASK, stream=True)
    with pytest.raises(openai.APIError, match="ended before it was complete"):
        [chunk async for chunk in stream]


async def test_it_knows_our_refusals_as_its_own(api: Api, client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="max_tokens"):
        await client.chat.completions.create(model="tiny", messages=ASK, max_tokens=-1)
    with pytest.raises(openai.NotFoundError):
        await client.embeddings.create(model="none", input="a")
    with pytest.raises(openai.AuthenticationError):
        await client.with_options(api_key="sk-not-a-key").models.retrieve("tiny")
    api.house.answer = lambda _: BackendFailed("broke")
    with pytest.raises(openai.InternalServerError):
        await client.chat.completions.create(model="tiny", messages=ASK)
