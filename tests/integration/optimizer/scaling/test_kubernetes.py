"""Deployments, each by its name, over HTTP: never against an autoscaler, never over somebody else's change."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import pytest_asyncio

from cli.lan.authority import Signed, new_authority, new_certificate, permitted
from services.optimizer.scaling.base import Autoscaled, Bounds, Count, NotOurs, ScalingError
from services.optimizer.scaling.kubernetes import ATTEMPTS, Cluster, Deployments
from tests.support.api_server import ApiServer, Deployment, api_server, make_account, target

BOUNDS = {"cognition": Bounds(1, 4), "inference": Bounds(1, 3)}


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[ApiServer]:
    make_account(tmp_path / "account")
    async with api_server() as made:
        made.deployments = {
            "mongars-cognition": Deployment(2, 1),
            "mongars-inference": Deployment(1, 1),
            "other": Deployment(1, 1),
        }
        made.may_scale = {"mongars-cognition", "mongars-inference"}
        yield made


@pytest_asyncio.fixture
async def ours(server: ApiServer, tmp_path: Path) -> AsyncIterator[Deployments]:
    made = Deployments(Cluster(server.url, tmp_path / "account", prefix="mongars-"), BOUNDS)
    yield made
    await made.close()


async def test_what_runs_and_what_is_wanted_is_told_of_each_name(ours: Deployments) -> None:
    assert await ours.counts() == {"cognition": Count(1, 2, 1, 4), "inference": Count(1, 1, 1, 3)}


async def test_a_deployment_that_is_not_there_is_left_out(server: ApiServer, ours: Deployments) -> None:
    del server.deployments["mongars-inference"]
    assert list(await ours.counts()) == ["cognition"]


async def test_where_only_the_scale_may_be_read_that_is_enough(server: ApiServer, ours: Deployments) -> None:
    server.may_read = False
    assert (await ours.counts())["cognition"] == Count(1, 2, 1, 4)


async def test_a_count_is_set_by_name_and_nothing_else_is_touched(server: ApiServer, ours: Deployments) -> None:
    await ours.scale("cognition", 3)
    assert server.patched == [("mongars-cognition", 3)]
    await ours.scale("cognition", 3)
    assert server.patched == [("mongars-cognition", 3)], "what is so already is left alone"


@pytest.mark.parametrize("name", ["other", "mongars-cognition", "", "../other"])
async def test_a_name_that_is_not_its_own_is_never_asked_for(server: ApiServer, ours: Deployments, name: str) -> None:
    with pytest.raises(NotOurs):
        await ours.scale(name, 3)
    assert not server.patched


async def test_what_the_role_does_not_name_is_refused_by_the_server(server: ApiServer, ours: Deployments) -> None:
    server.may_scale.discard("mongars-inference")
    with pytest.raises(NotOurs, match="may not scale mongars-inference"):
        await ours.scale("inference", 2)


AUTOSCALERS: dict[str, Callable[[ApiServer], None]] = {
    "hpa": lambda server: server.autoscalers.append(target("mongars-cognition")),
    "keda": lambda server: setattr(server, "keda", [{"spec": {"scaleTargetRef": {"name": "mongars-cognition"}}}]),
}


@pytest.mark.parametrize("kind", AUTOSCALERS)
async def test_nothing_is_set_where_an_autoscaler_stands(server: ApiServer, ours: Deployments, kind: str) -> None:
    AUTOSCALERS[kind](server)
    assert (await ours.counts())["cognition"].autoscaled
    assert not (await ours.counts())["inference"].autoscaled
    with pytest.raises(Autoscaled):
        await ours.scale("cognition", 3)
    assert not server.patched
    await ours.scale("inference", 2)
    assert server.patched == [("mongars-inference", 2)]


async def test_without_looking_for_autoscalers_one_would_be_fought(
    server: ApiServer, ours: Deployments, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def none(self: Deployments) -> set[str]:
        return set()

    server.autoscalers.append(target("mongars-cognition"))
    monkeypatch.setattr(Deployments, "_autoscaled", none)
    await ours.scale("cognition", 3)
    assert server.patched


async def test_an_autoscaler_of_something_else_of_that_name_is_none(server: ApiServer, ours: Deployments) -> None:
    server.autoscalers.append(target("mongars-cognition", "StatefulSet"))
    await ours.scale("cognition", 3)
    assert server.patched


async def test_where_autoscalers_may_not_be_read_nothing_is_set(server: ApiServer, ours: Deployments) -> None:
    server.may_list_autoscalers = False
    with pytest.raises(ScalingError, match="403"):
        await ours.scale("cognition", 3)
    with pytest.raises(ScalingError):
        await ours.counts()
    assert not server.patched


def changes_between(server: ApiServer, times: int) -> None:
    """Somebody else writes the Deployment each time after it was read."""
    left = iter(range(times))

    def change() -> None:
        if next(left, None) is not None:
            server.deployments["mongars-cognition"].version += 1

    server.before_patch = change


async def test_a_change_that_somebody_came_before_is_made_again_on_what_is_there_now(
    server: ApiServer, ours: Deployments
) -> None:
    changes_between(server, 2)
    await ours.scale("cognition", 4)
    assert server.deployments["mongars-cognition"].replicas == 4
    changes_between(server, ATTEMPTS)
    with pytest.raises(ScalingError, match="somebody else"):
        await ours.scale("cognition", 1)
    assert server.deployments["mongars-cognition"].replicas == 4


async def test_an_autoscaler_that_comes_between_ends_it(server: ApiServer, ours: Deployments) -> None:
    def come() -> None:
        server.deployments["mongars-cognition"].version += 1
        server.autoscalers.append(target("mongars-cognition"))

    server.before_patch = come
    with pytest.raises(Autoscaled):
        await ours.scale("cognition", 4)
    assert not server.patched


async def test_a_token_that_was_replaced_is_read_anew(server: ApiServer, ours: Deployments, tmp_path: Path) -> None:
    good = (tmp_path / "account" / "token").read_text()
    (tmp_path / "account" / "token").write_text("ended")
    with pytest.raises(ScalingError, match="401"):
        await ours.counts()
    (tmp_path / "account" / "token").write_text(good)
    assert await ours.counts()


async def test_without_an_account_or_a_server_it_says_what_is_missing(tmp_path: Path, ours: Deployments) -> None:
    (tmp_path / "account" / "token").unlink()
    with pytest.raises(ScalingError, match="token can't be read"):
        await ours.counts()
    away = Deployments(Cluster("http://127.0.0.1:9", tmp_path / "account", "home"), BOUNDS)
    (tmp_path / "account" / "token").write_text("x")
    with pytest.raises(ScalingError, match="does not answer"):
        await away.counts()
    await away.close()


def certificates(folder: Path, authority: Signed) -> ssl.SSLContext:
    """A server's, for the loopback, by that authority."""
    pair = new_certificate(authority, permitted("machine", ()), datetime.now(UTC))
    (folder / "server.pem").write_bytes(pair.certificate)
    (folder / "server.key").write_bytes(pair.key)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(folder / "server.pem", folder / "server.key")
    return tls


@pytest.mark.parametrize("ours", [True, False], ids=["the cluster's authority", "another"])
async def test_the_token_goes_to_no_server_that_the_clusters_authority_does_not_vouch_for(
    tmp_path: Path, *, ours: bool
) -> None:
    authority = new_authority("machine", datetime.now(UTC))
    named = authority if ours else new_authority("machine", datetime.now(UTC))
    account = make_account(tmp_path / "account")
    (account / "ca.crt").write_bytes(named.certificate)
    async with api_server(certificates(tmp_path, authority)) as server:
        server.deployments, server.may_scale = {"cognition": Deployment(1, 1)}, {"cognition"}
        deployments = Deployments(Cluster(server.url, account), {"cognition": Bounds(1, 4)})
        if ours:
            await deployments.scale("cognition", 2)
        else:
            with pytest.raises(ScalingError, match="does not answer"):
                await deployments.scale("cognition", 2)
        await deployments.close()
        assert server.patched == ([("cognition", 2)] if ours else [])
