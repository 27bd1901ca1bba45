"""Servers beyond this network: never asked without an admin's leave, and marked with it.

A server of this machine is taken for a remote one by its address: nothing is ever sent anywhere else.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace

import pytest

from libs.shared.contracts.telemetry import ServedModel
from libs.shared.errors import BackendFailed, RemoteNotAllowed
from services.inference.backends import ollama, openai
from services.inference.backends import upstream as upstream_backend
from services.inference.backends.choose import Node, make_backend
from services.inference.backends.upstream import Upstream
from services.inference.consent import Consent
from services.inference.models import ModelSpec
from tests.integration.inference.conftest import ask
from tests.integration.inference.upstreams import FakeOllama, FakeOpenAI, FakeUpstream, running_upstream

FAR = "127.0.0.99"
"""An address of this machine that stands for a remote one."""


@pytest.fixture(autouse=True)
def _far_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream_backend, "is_remote", lambda address: address == FAR)


@pytest.fixture
async def far() -> AsyncIterator[FakeUpstream]:
    upstream = FakeOpenAI()
    upstream.host = FAR
    async with running_upstream(upstream):
        yield upstream


def spec(upstream: FakeUpstream, backend: str = "openai") -> ModelSpec:
    path = "/v1" if backend == "openai" else ""
    return ModelSpec(backend=backend, url=upstream.url + path, upstream="afar")


async def check_that_nothing_is_asked(far: FakeUpstream, node: Node) -> None:
    backend = make_backend(spec(far), node)
    await backend.load(lambda: None)
    try:
        assert backend.models() == ()
        assert backend.troubles() == ("afar: remote-not-allowed",)
        with pytest.raises((RemoteNotAllowed, BackendFailed)):
            await anext(backend.generate(ask("afar/big")))
    finally:
        await backend.close()
    assert far.connections == 0


async def test_without_leave_a_remote_server_is_not_even_connected_to(far: FakeUpstream, node: Node) -> None:
    await check_that_nothing_is_asked(far, node)


async def test_the_check_of_remote_servers_notices_one_that_is_asked(far: FakeUpstream, node: Node) -> None:
    with pytest.raises(AssertionError):
        await check_that_nothing_is_asked(far, replace(node, consent=Consent(allowed=True)))


async def test_with_leave_its_models_are_offered_under_its_name_and_marked(far: FakeUpstream, node: Node) -> None:
    backend = make_backend(spec(far), replace(node, consent=Consent(allowed=True)))
    await backend.load(lambda: None)
    assert {(m.name, m.remote, m.upstream) for m in backend.models()} == {
        ("afar/big", True, "afar"),
        ("afar/small", True, "afar"),
    }
    async for _ in backend.generate(ask("afar/big")):
        pass
    assert far.asked[0]["model"] == "big"
    await backend.close()


async def test_taking_the_leave_back_ends_what_is_under_way(far: FakeUpstream, node: Node) -> None:
    consent = Consent(allowed=True)
    backend = make_backend(spec(far), replace(node, consent=consent))
    await backend.load(lambda: None)
    far.pause.clear()
    async with aclosing(backend.generate(ask("afar/big"))) as chunks:  # type: ignore[type-var]
        await anext(chunks)
        consent.set(False)
        assert backend.models() == ()
        async with asyncio.timeout(5):
            with pytest.raises(BackendFailed):
                await anext(chunks)
            await far.left.wait()
    asked = far.connections
    with pytest.raises(BackendFailed):
        await anext(backend.generate(ask("afar/big")))
    assert far.connections == asked
    consent.set(True)
    async with asyncio.timeout(5):
        while not backend.models():  # noqa: ASYNC110 - waits for the probe, whose words have no event here
            await asyncio.sleep(0.01)
    await backend.close()


async def test_a_name_that_comes_to_mean_a_remote_address_is_not_followed(far: FakeUpstream) -> None:
    """The server's name meant an address of this network when its models were listed."""

    async def near(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    upstream = Upstream(f"http://{FAR}:{far.port}", {}, Consent(allowed=True), resolve=near)
    with pytest.raises(BackendFailed):
        await upstream.admit()  # nothing listens at the near address
    assert upstream.remote is False
    with pytest.raises(RemoteNotAllowed):
        await upstream.get("/v1/models")
    assert far.connections == 0
    await upstream.close()


async def test_a_server_of_this_network_can_t_send_a_request_on_to_a_remote_one(far: FakeUpstream) -> None:
    async with running_upstream(FakeOpenAI()) as near:
        near.redirect = f"{far.url}/v1/models"
        upstream = Upstream(near.url, {}, Consent(allowed=True))
        await upstream.admit()
        with pytest.raises(upstream_backend.UpstreamRefused):
            await upstream.get("/v1/models")
        assert far.connections == 0
        await upstream.close()


async def names(node: Node, consent: Consent) -> tuple[list[tuple[str, bool]], FakeUpstream]:
    async with running_upstream(FakeOllama()) as near:
        backend = make_backend(ModelSpec(backend="ollama", url=near.url), replace(node, consent=consent))
        await backend.load(lambda: None)
        served: tuple[ServedModel, ...] = backend.models()
        for model in served:
            async for _ in backend.generate(ask(model.name)):
                pass
        await backend.close()
    return [(m.name, m.remote) for m in served], near


async def test_an_ollama_s_cloud_models_need_leave_and_are_marked(node: Node) -> None:
    assert (await names(node, Consent()))[0] == [("llama", False)]
    served, asked = await names(node, Consent(allowed=True))
    assert served == [("llama", False), ("ollama/huge:cloud", True)]
    assert [body["model"] for body in asked.asked] == ["llama", "huge:cloud"]


def test_backends_are_given_no_way_around_the_check() -> None:
    """Whatever asks another server does it through ``Upstream``, which holds each connection against its address."""
    for module in (openai, ollama):
        assert not hasattr(module, "aiohttp")
