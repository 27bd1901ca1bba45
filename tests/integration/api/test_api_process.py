"""The api as a process, over a real broker and real persistence: what a crash, a restart and an outage leave behind."""

from __future__ import annotations

import asyncio
import signal

import httpx

from libs.shared.contracts.accounts import DELETE_USER, REVOKE_KEY, KeyRef, UserRef
from libs.shared.contracts.base import Principal
from libs.shared.contracts.chat import CHAT, ChatChunk, ChatRequest
from libs.shared.contracts.common import Role, Usage
from tests.integration.api.conftest import PASSWORD, REQUESTS_PER_MINUTE, Gateway
from tests.support.broker import TestBroker
from tests.support.persistence import RunningPersistence

ME = "/api/v1/users/me"


async def log_in(client: httpx.AsyncClient, name: str, password: str = PASSWORD) -> httpx.Response:
    return await client.post("/api/v1/auth/token", data={"username": name, "password": password})


async def until(client: httpx.AsyncClient, path: str, status: int, headers: dict[str, str]) -> httpx.Response:
    """The first answer with ``status``; what others tell by broadcast takes a moment."""
    async with asyncio.timeout(5):
        while True:
            answer = await client.get(path, headers=headers)
            if answer.status_code == status:
                return answer
            await asyncio.sleep(0.02)


async def test_a_session_lives_through_a_crash_and_its_end_does_too(
    gateway: Gateway, client: httpx.AsyncClient
) -> None:
    await gateway.add_user("ana")
    kept, ended = [(await log_in(client, "ana")).json() for _ in range(2)]
    bearer = [{"Authorization": f"Bearer {tokens['access_token']}"} for tokens in (kept, ended)]
    assert (await client.post("/api/v1/auth/logout", headers=bearer[1])).status_code == 204
    await gateway.end(signal.SIGKILL)
    await gateway.start()
    assert (await client.get(ME, headers=bearer[0])).json()["name"] == "ana"
    assert (await client.get(ME, headers=bearer[1])).status_code == 401
    refreshed = await client.post("/api/v1/auth/refresh", json={"refresh_token": kept["refresh_token"]})
    assert refreshed.status_code == 200
    reused = await client.post("/api/v1/auth/refresh", json={"refresh_token": kept["refresh_token"]})
    assert (reused.status_code, reused.json()["code"]) == (401, "refresh_invalid")


async def test_a_lock_out_lives_through_a_crash(gateway: Gateway, client: httpx.AsyncClient) -> None:
    await gateway.add_user("ana")
    statuses = [(await log_in(client, "ana", "a wrong password")).status_code for _ in range(7)]
    assert statuses[:5] == [401] * 5
    assert 429 in statuses[5:]
    await gateway.end(signal.SIGKILL)
    await gateway.start()
    assert (await log_in(client, "ana")).status_code == 429


async def test_a_revoked_key_and_a_deleted_account_stop_by_event(gateway: Gateway, client: httpx.AsyncClient) -> None:
    user_id = await gateway.add_user("ana")
    await gateway.add_user("root", Role.ADMIN)
    key, other = await gateway.add_key(user_id), await gateway.add_key(user_id)
    session = {"Authorization": f"Bearer {(await log_in(client, 'ana')).json()['access_token']}"}
    for headers in (key, other, session):
        assert (await client.get(ME, headers=headers)).status_code == 200
    listed = (await client.get("/api/v1/keys", headers=session)).json()["keys"]
    first = next(k for k in listed if key["Authorization"].removeprefix("Bearer ").startswith(k["prefix"]))
    await gateway.cli.request(REVOKE_KEY, KeyRef(user_id=user_id, key_id=first["key_id"]))
    assert (await until(client, ME, 401, key)).json()["code"] == "invalid_api_key"
    assert (await client.get(ME, headers=other)).status_code == 200
    await gateway.cli.request(DELETE_USER, UserRef(user_id=user_id))
    await until(client, ME, 401, other)
    await until(client, ME, 401, session)


async def test_readiness_names_what_is_missing_and_the_rest_goes_on(
    gateway: Gateway, client: httpx.AsyncClient
) -> None:
    answer = await client.get("/readyz")
    down = {name for name, dependency in answer.json()["dependencies"].items() if not dependency["ok"]}
    assert answer.status_code == 503
    assert {"cognition", "scheduler", "inference"} <= down
    assert "broker" not in down
    key = await gateway.add_key(await gateway.add_user("ana"))
    assert (await client.get("/api/v1/conversations", headers=key)).json() == {"conversations": [], "next_cursor": None}
    chat = await client.post(
        "/v1/chat/completions", json={"messages": [{"role": "user", "content": "hello"}]}, headers=key
    )
    assert (chat.status_code, chat.json()["error"]["code"]) == (503, "unavailable")


async def test_a_broker_that_comes_back_is_used_again(
    gateway: Gateway, client: httpx.AsyncClient, broker: TestBroker
) -> None:
    key = await gateway.add_key(await gateway.add_user("ana"))
    assert (await client.get(ME, headers=key)).status_code == 200
    await broker.stop(signal.SIGKILL)
    answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()["dependencies"]["broker"]["ok"]) == (503, False)
    assert (await client.get("/healthz")).status_code == 200
    await broker.start()
    assert (await until(client, ME, 200, key)).json()["name"] == "ana"


async def test_a_stop_finishes_the_answer_under_way_and_ends_well(
    gateway: Gateway, client: httpx.AsyncClient, broker: TestBroker
) -> None:
    started, go_on = asyncio.Event(), asyncio.Event()

    async def answer(request: ChatRequest):  # type: ignore[no-untyped-def]
        yield ChatChunk(turn_id=request.turn_id, text="Hello", model="m")
        started.set()
        await go_on.wait()
        usage = Usage(prompt_tokens=1, completion_tokens=1)
        yield ChatChunk(turn_id=request.turn_id, text=" you", finish_reason="stop", usage=usage)

    cognition = await broker.connect(Principal.COGNITION)
    await cognition.serve_stream(CHAT, answer)
    key = await gateway.add_key(await gateway.add_user("ana"))
    body = {"messages": [{"role": "user", "content": "hello"}], "stream": True}
    async with client.stream("POST", "/v1/chat/completions", json=body, headers=key) as response:
        lines = response.aiter_lines()
        async with asyncio.timeout(10):
            await started.wait()
            ending = asyncio.ensure_future(gateway.end(signal.SIGTERM))
            asyncio.get_running_loop().call_later(0.3, go_on.set)
            text = "".join([line async for line in lines])
            assert " you" in text
            assert text.endswith("data: [DONE]")
            assert await ending == 0


async def test_what_is_used_up_stays_used_up_over_a_crash(gateway: Gateway, client: httpx.AsyncClient) -> None:
    key = await gateway.add_key(await gateway.add_user("ana"))
    for _ in range(600):
        assert (await client.get(ME, headers=key)).status_code == 200
    await asyncio.sleep(0.2)  # longer than the interval in which limits are saved
    await gateway.end(signal.SIGKILL)
    await gateway.start()
    left = int((await client.get(ME, headers=key)).headers["ratelimit-remaining"])
    assert left < REQUESTS_PER_MINUTE - 200, "a fresh bucket would be full"


async def test_what_persistence_refuses_is_told_by_its_code(
    gateway: Gateway, client: httpx.AsyncClient, persistence: RunningPersistence
) -> None:
    await gateway.add_user("root", Role.ADMIN)
    admin = {"Authorization": f"Bearer {(await log_in(client, 'root')).json()['access_token']}"}
    root = (await client.get(ME, headers=admin)).json()["user_id"]
    taken = await client.post("/api/v1/users", json={"name": "Root"}, headers=admin)
    assert (taken.status_code, taken.json()["code"]) == (409, "user_exists")
    last = await client.patch(f"/api/v1/users/{root}", json={"role": "user"}, headers=admin)
    assert (last.status_code, last.json()["code"]) == (409, "last_admin")
    missing = await client.get("/api/v1/users/nobody", headers=admin)
    assert (missing.status_code, missing.json()["code"]) == (404, "user_not_found")
    unknown = await client.patch("/api/v1/settings", json={"key": "volume", "value": 11}, headers=admin)
    assert (unknown.status_code, unknown.json()["code"]) == (422, "setting_unknown")
    changed = await client.patch("/api/v1/settings", json={"key": "recall_k", "value": 4}, headers=admin)
    assert changed.json()["state"] == "applied"
    assert (await client.get("/api/v1/settings", headers=admin)).json()["settings"]["recall_k"] == 4
    path = f"/api/v1/changes/{changed.json()['change_id']}/rollback"
    assert (await client.post(path, headers=admin)).json()["state"] == "rolled_back"
    assert (await client.get("/api/v1/settings", headers=admin)).json()["settings"]["recall_k"] == 8
