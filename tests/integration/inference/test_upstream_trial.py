"""Trying a server before it is kept: what it is, and why it is no use."""

from __future__ import annotations

import pytest

from libs.shared.errors import RemoteNotAllowed, ServiceError
from services.inference.upstream_trial import Trial, candidates, tried
from tests.integration.inference.upstreams import FakeOllama, FakeOpenAI, running_upstream


async def reason(url: str, **how: object) -> str:
    with pytest.raises(ServiceError) as failed:
        await tried(Trial(url=url, name="shed", **how))  # type: ignore[arg-type]
    return str(failed.value.data.get("reason") or failed.value.code)


@pytest.mark.parametrize("path", ["", "/v1", "/"])
async def test_an_openai_server_is_known_by_its_models_and_answers(path: str) -> None:
    async with running_upstream(FakeOpenAI()) as upstream:
        found = await tried(Trial(url=upstream.url + path, name="shed"))
        assert (found.backend, found.url, found.remote) == ("openai", f"{upstream.url}/v1", False)
        assert (found.models, found.answered) == (("big", "small"), "big")
        assert upstream.asked[0]["max_tokens"] <= 16


@pytest.mark.parametrize("path", ["", "/v1"])
async def test_an_ollama_is_known_by_its_own_api(path: str) -> None:
    async with running_upstream(FakeOllama()) as upstream:
        found = await tried(Trial(url=upstream.url + path, name="shed"))
        assert (found.backend, found.url, found.models) == ("ollama", upstream.url, ("llama",))


async def test_a_server_that_is_no_use_says_why() -> None:
    async with running_upstream(FakeOpenAI()) as upstream:
        assert await reason(upstream.url, models=("tiny",)) == "model"
        assert await reason(f"https://127.0.0.1:{upstream.port}") == "tls"
        assert await reason(f"{upstream.url}/elsewhere") == "protocol"
        upstream.status = 500
        assert await reason(upstream.url) == "answer"
        upstream.key = "another"
        assert await reason(upstream.url) == "unauthorized"
    assert await reason(upstream.url) == "unreachable"
    assert await reason("http://nowhere.invalid") == "no_such_host"


async def test_a_remote_server_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(RemoteNotAllowed):
        await tried(Trial(url="http://203.0.113.7/v1", name="afar"))


def test_a_server_that_is_known_is_tried_as_what_it_is() -> None:
    assert candidates(Trial(url="http://a/v1", name="a", backend="openai")) == [("openai", "http://a/v1")]
