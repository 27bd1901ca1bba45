"""API keys and accounts as the api believes them: asked once, dropped by event, believed a while in an outage."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from libs.shared.cache import TtlCache
from libs.shared.contracts.accounts import ApiKeys, CreateKey, FindKey
from libs.shared.contracts.base import Principal
from libs.shared.contracts.common import MemoryMode
from libs.shared.contracts.sessions import CREDENTIALS
from libs.shared.credentials import hash_secret
from tests.unit.api.house import AT, Api, open_api

MODELS = "/v1/models"


async def test_a_key_is_asked_for_once(api: Api) -> None:
    key = api.key()
    answers = await asyncio.gather(*(api.client.get(MODELS, headers=key) for _ in range(10)))
    assert {answer.status_code for answer in answers} == {200}
    assert len(api.house.told(FindKey)) == 1


async def test_a_key_is_asked_for_again_after_its_time(api: Api) -> None:
    key = api.key()
    await api.client.get(MODELS, headers=key)
    api.clock.now += 61
    await api.client.get(MODELS, headers=key)
    assert len(api.house.told(FindKey)) == 2


@pytest.mark.parametrize("credential", ["", "mgk_unknown", "sk-not-a-key", "a.b.c", "Basic xyz", "é" * 20])
async def test_no_credential_and_an_unknown_one_are_401(api: Api, credential: str) -> None:
    headers = [(b"Authorization", f"Bearer {credential}".encode())] if credential else []
    answer = await api.client.get(MODELS, headers=headers)
    assert answer.status_code == 401
    assert answer.json()["error"]["type"] == "authentication_error"
    assert credential not in answer.text or not credential


async def test_an_expired_key_is_refused(api: Api) -> None:
    key = api.key(expires_at=AT + timedelta(seconds=30))
    assert (await api.client.get(MODELS, headers=key)).status_code == 200
    api.clock.now += 31
    assert (await api.client.get(MODELS, headers=key)).json()["error"]["code"] == "invalid_api_key"


async def a_revoked_key_stops_at_the_event(api: Api) -> None:
    key = api.key()
    assert (await api.client.get(MODELS, headers=key)).status_code == 200
    api.house.keys.clear()
    await api.house.account_changed("id-ana")
    async with asyncio.timeout(2):
        while True:
            answer = await api.client.get(MODELS, headers=key)
            if answer.status_code == 401:
                return
            await asyncio.sleep(0.005)  # a refusal by rate would never give the loop a turn


async def test_a_revoked_key_stops_at_the_event(api: Api) -> None:
    await a_revoked_key_stops_at_the_event(api)


async def test_a_cache_that_never_drops_would_keep_a_revoked_key(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TtlCache, "discard_where", lambda *_: [])
    monkeypatch.setattr(TtlCache, "discard", lambda *_: None)
    with pytest.raises(TimeoutError):
        await a_revoked_key_stops_at_the_event(api)


async def test_a_second_process_and_a_restart_ask_for_no_key_again(api: Api) -> None:
    key = api.key()
    await api.client.get(MODELS, headers=key)
    await api.house.buses[Principal.PERSISTENCE].drain(1.0)
    async with open_api(api.house, api.clock) as other:
        assert (await other.client.get(MODELS, headers=key)).status_code == 200
        api.clock.now += 61
    async with open_api(api.house, api.clock) as late:
        assert (await late.client.get(MODELS, headers=key)).status_code == 503
    assert len(api.house.told(FindKey)) == 1


async def test_what_processes_share_of_a_key_names_nobody(api: Api) -> None:
    key = api.key("ana")
    await api.client.get(MODELS, headers=key)
    (kept,) = api.house.broker.bucket(CREDENTIALS).entries.values()
    user, shown = api.house.users["id-ana"], next(iter(api.house.keys.values()))
    for word in (user.name, shown.name, shown.prefix, key["Authorization"].removeprefix("Bearer ")):
        assert f'"{word}"'.encode() not in kept
    assert shown.key_id.encode() in kept


async def test_a_key_is_believed_a_while_without_persistence_and_no_longer(api: Api) -> None:
    key = api.key()
    await api.client.get(MODELS, headers=key)
    await api.house.buses[Principal.PERSISTENCE].drain(1.0)
    api.clock.now += 300
    assert (await api.client.get(MODELS, headers=key)).status_code == 200
    api.clock.now += 400
    assert (await api.client.get(MODELS, headers=key)).status_code == 503


async def test_an_unknown_key_without_persistence_is_unavailable_rather_than_wrong(api: Api) -> None:
    await api.house.buses[Principal.PERSISTENCE].drain(1.0)
    answer = await api.client.get(MODELS, headers={"Authorization": "Bearer mgk_x"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")


async def test_a_key_is_shown_once_and_kept_as_its_hash(api: Api) -> None:
    session = await api.session()
    made = (await api.client.post("/api/v1/keys", json={"name": "laptop"}, headers=session)).json()
    kept = api.house.told(CreateKey)[0]
    assert kept.hash == hash_secret(made["secret"])
    assert made["secret"] not in kept.model_dump_json()
    assert (kept.memory, kept.scopes) == (MemoryMode.OFF, ())
    assert (await api.client.get(MODELS, headers={"Authorization": f"Bearer {made['secret']}"})).status_code == 200
    listed = (await api.client.get("/api/v1/keys", headers=session)).text
    assert made["secret"] not in listed
    assert ApiKeys.model_validate_json(listed).keys[0].name == "laptop"


async def test_one_s_own_key_can_be_revoked_and_stops_at_once(api: Api) -> None:
    session = await api.session()
    made = (await api.client.post("/api/v1/keys", json={"name": "laptop"}, headers=session)).json()
    headers = {"Authorization": f"Bearer {made['secret']}"}
    assert (await api.client.get(MODELS, headers=headers)).status_code == 200
    path = f"/api/v1/keys/{made['key']['key_id']}"
    other = await api.session("eve")
    assert (await api.client.delete(path, headers=other)).status_code == 404
    assert (await api.client.delete(path, headers=session)).status_code == 204
    assert (await api.client.get(MODELS, headers=headers)).status_code == 401


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": "k", "memory": "all"},
        {"name": "k", "scopes": ["root"]},
        {"name": "k", "expires_at": 4_000_000_000},
        {"name": "k", "expires_at": "2030-01-01T00:00:00"},
        {"name": "k", "user_id": "id-victim"},
        {"name": "nul\u0000"},
    ],
)
async def test_a_key_that_cannot_be_meant_is_refused(api: Api, body: dict[str, object]) -> None:
    answer = await api.client.post("/api/v1/keys", json=body, headers=await api.session())
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_key_that_would_have_expired_is_refused(api: Api) -> None:
    body = {"name": "k", "expires_at": "2001-01-01T00:00:00Z"}
    answer = await api.client.post("/api/v1/keys", json=body, headers=await api.session())
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")
