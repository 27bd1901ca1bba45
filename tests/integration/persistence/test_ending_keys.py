"""What ends a key deletes what the api's processes share of it before the end is acknowledged."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio

from libs.shared.bus.base import KeyValue
from libs.shared.bus.memory import MemoryBroker
from libs.shared.bus.memory_streams import MemoryKeyValue
from libs.shared.contracts.accounts import (
    CHANGE_USER,
    CREATE_KEY,
    DELETE_USER,
    FIND_KEY,
    REVOKE_KEY,
    AccountChanged,
    ChangeUser,
    CreateKey,
    FindKey,
    FoundKey,
    KeyRef,
    UserRef,
)
from libs.shared.contracts.base import Principal
from libs.shared.contracts.common import Role
from libs.shared.contracts.sessions import CREDENTIALS, credential_entry
from libs.shared.credentials import NewApiKey, new_api_key
from libs.shared.errors import ServiceError, Unavailable
from services.api.accounts import Accounts
from services.persistence.handlers import accounts as account_handlers
from tests.support.persistence import Client, RunningPersistence, new_id

NOW = 1_800_000_000.0


class Api:
    """Two of the api's processes, which hear of no change: what they believe of a key is what the bucket says."""

    def __init__(self, client: Client, one: Accounts, other: Accounts, bucket: KeyValue) -> None:
        self.client, self.one, self.other, self.bucket = client, one, other, bucket

    async def key(self, user_id: str) -> tuple[NewApiKey, str]:
        """A new key, which the first process has looked up."""
        made, key_id = new_api_key(), new_id()
        wanted = CreateKey(key_id=key_id, user_id=user_id, name="laptop", prefix=made.prefix, hash=made.hash)
        await self.client.bus.request(CREATE_KEY, wanted)
        assert await self.one.key(made.secret) is not None
        assert await self.bucket.get(credential_entry(made.hash)) is not None
        return made, key_id


@pytest_asyncio.fixture
async def api(client: Client, broker: MemoryBroker) -> AsyncIterator[Api]:
    buses = [await broker.connect(Principal.API) for _ in range(2)]
    one, other = (Accounts(bus, fresh_s=60, grace_s=0, clock=lambda: NOW, steady=lambda: NOW) for bus in buses)
    yield Api(client, one, other, buses[0].bucket(CREDENTIALS))
    for bus in buses:
        await bus.drain(1)


async def test_a_revoked_key_is_believed_by_no_process_that_asks_after_the_acknowledgement(api: Api) -> None:
    user_id = await api.client.user("ana")
    made, key_id = await api.key(user_id)
    await api.client.bus.request(REVOKE_KEY, KeyRef(user_id=user_id, key_id=key_id))
    assert await api.other.key(made.secret) is None


async def test_a_disabled_user_s_keys_are_believed_by_no_process_that_asks_afterwards(api: Api) -> None:
    user_id = await api.client.user("ana")
    keys = [(await api.key(user_id))[0] for _ in range(3)]
    await api.client.bus.request(CHANGE_USER, ChangeUser(user_id=user_id, disabled=True))
    for made in keys:
        holder = await api.other.key(made.secret)
        assert holder is not None
        assert holder.disabled


async def test_a_demoted_user_s_keys_lose_the_role(api: Api) -> None:
    await api.client.user("root", role=Role.ADMIN)
    user_id = await api.client.user("ana", role=Role.ADMIN)
    made, _ = await api.key(user_id)
    await api.client.bus.request(CHANGE_USER, ChangeUser(user_id=user_id, role=Role.USER))
    holder = await api.other.key(made.secret)
    assert holder is not None
    assert holder.role is Role.USER


async def test_a_deleted_user_s_keys_are_gone(api: Api) -> None:
    user_id = await api.client.user("ana")
    made, _ = await api.key(user_id)
    await api.client.bus.request(DELETE_USER, UserRef(user_id=user_id))
    assert await api.other.key(made.secret) is None


async def test_a_look_up_from_before_a_revocation_brings_the_key_back_for_nobody(api: Api) -> None:
    """One process has read the key in the database when it is revoked, and shares what it read afterwards."""
    user_id = await api.client.user("ana")
    made, key_id = await api.key(user_id)
    await api.bucket.delete(credential_entry(made.hash))
    read, go_on = asyncio.Event(), asyncio.Event()
    request = api.other._bus.request

    async def slow(rpc: object, message: object, **more: object) -> FoundKey:
        found: FoundKey = await request(rpc, message, **more)  # type: ignore[type-var, arg-type]
        read.set()
        await go_on.wait()
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(api.other._bus, "request", slow)
        looking = asyncio.create_task(api.other.key(made.secret))
        async with asyncio.timeout(5):
            await read.wait()
            await api.client.bus.request(REVOKE_KEY, KeyRef(user_id=user_id, key_id=key_id))
            go_on.set()
            await looking
    assert await api.bucket.get(credential_entry(made.hash)) is None
    await api.one.forget(AccountChanged(user_id=user_id, key_hash=made.hash))
    assert await api.one.key(made.secret) is None


async def test_an_end_that_the_broker_does_not_confirm_is_not_acknowledged(
    api: Api, persistence: RunningPersistence, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_id = await api.client.user("ana")
    made, key_id = await api.key(user_id)

    async def away(self: object, key: str) -> None:
        raise Unavailable("the stream did not confirm in time")

    monkeypatch.setattr(type(persistence.parts.bus.bucket(CREDENTIALS)), "delete", away)
    with pytest.raises(ServiceError):
        await api.client.bus.request(REVOKE_KEY, KeyRef(user_id=user_id, key_id=key_id))
    assert (await api.client.bus.request(FIND_KEY, FindKey(hash=made.hash))).key is None


async def test_what_is_shared_of_a_key_names_nobody(api: Api) -> None:
    user_id = await api.client.user("ana")
    made, _ = await api.key(user_id)
    kept = await api.bucket.get(credential_entry(made.hash))
    assert kept is not None
    for word in ("ana", "laptop", made.prefix, made.secret):
        assert f'"{word}"'.encode() not in kept


async def _nothing(*_: object) -> None: ...


ENDS = (
    test_a_revoked_key_is_believed_by_no_process_that_asks_after_the_acknowledgement,
    test_a_disabled_user_s_keys_are_believed_by_no_process_that_asks_afterwards,
    test_a_deleted_user_s_keys_are_gone,
    test_a_look_up_from_before_a_revocation_brings_the_key_back_for_nobody,
)


@pytest.mark.parametrize("check", ENDS, ids=lambda check: check.__name__)
async def test_of_the_test__an_end_that_deletes_nothing_is_noticed(
    api: Api, check: Callable[[Api], Awaitable[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account_handlers, "_drop_shared", _nothing)
    with pytest.raises(AssertionError):
        await check(api)


async def test_of_the_test__a_look_up_that_is_shared_unconditionally_is_noticed(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def update(self: MemoryKeyValue, key: str, value: bytes, revision: int) -> bool:
        await self.put(key, value)
        return True

    monkeypatch.setattr(MemoryKeyValue, "update", update)
    with pytest.raises(AssertionError):
        await test_a_look_up_from_before_a_revocation_brings_the_key_back_for_nobody(api)
