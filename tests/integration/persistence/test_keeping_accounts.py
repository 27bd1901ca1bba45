"""Accounts, keys and sessions."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from libs.shared.contracts.accounts import (
    ACCOUNT_CHANGED,
    CHANGE_USER,
    CREATE_KEY,
    CREATE_USER,
    DELETE_USER,
    END_SESSION,
    FIND_KEY,
    FIND_LOGIN,
    LIST_KEYS,
    LIST_USERS,
    READ_USER,
    REVOKE_KEY,
    ROTATE_REFRESH,
    SAVE_REFRESH,
    AccountChanged,
    ChangeUser,
    CreateKey,
    CreateUser,
    EndSession,
    FindKey,
    KeyRef,
    ListKeys,
    Rotated,
    RotateRefresh,
    SaveRefresh,
    UserRef,
)
from libs.shared.contracts.common import MemoryMode, Page, Role
from libs.shared.errors import (
    InvalidRequest,
    KeyNotFound,
    LastAdmin,
    RefreshInvalid,
    TooManyKeys,
    UserExists,
    UserNotFound,
)
from services.persistence.repositories import accounts, sessions
from tests.support.persistence import Client, RunningPersistence, new_id

SOON = datetime.now(UTC) + timedelta(hours=1)


def a_key(user_id: str, n: int = 0, **more: str) -> CreateKey:
    return CreateKey(key_id=more.get("key_id", new_id()), user_id=user_id, name="k", prefix="mgk_1", hash=f"{n:064x}")


async def rotate(client: Client, used: str, following: str) -> Rotated:
    return await client.bus.request(ROTATE_REFRESH, RotateRefresh(hash=used, next_hash=following, next_expires_at=SOON))


async def test_a_name_is_taken_in_every_spelling(client: Client) -> None:
    await client.user("Zoé")
    for name in ("Zoé", "zoé", "ZOÉ"):
        with pytest.raises(UserExists):
            await client.user(name)
    assert (await client.bus.request(READ_USER, UserRef(name="zOÉ"))).name == "Zoé"


async def test_of_two_who_take_a_name_at_once_one_gets_it(client: Client, persistence: RunningPersistence) -> None:
    used = len(persistence.parts.keys.slots.used)
    found = await asyncio.gather(*(client.user("ada") for _ in range(6)), return_exceptions=True)
    assert [type(f) for f in found if not isinstance(f, str)] == [UserExists] * 5
    assert len(persistence.parts.keys.slots.used) == used + 1


async def test_users_are_listed_by_name_page_by_page(client: Client) -> None:
    for name in ("cleo", "Bob", "ada"):
        await client.user(name)
    first = await client.bus.request(LIST_USERS, Page(limit=2))
    second = await client.bus.request(LIST_USERS, Page(limit=2, cursor=first.next_cursor))
    assert [u.name for u in first.users + second.users] == ["ada", "Bob", "cleo"]
    assert second.next_cursor is None
    with pytest.raises(InvalidRequest):
        await client.bus.request(LIST_USERS, Page(cursor="nonsense"))


async def test_a_login_finds_the_hash_and_says_nothing_of_who_is_not_there(client: Client) -> None:
    request = CreateUser(user_id="u1", name="ada", role=Role.OPERATOR, password_hash="$argon2id$x")
    await client.bus.request(CREATE_USER, request)
    found = await client.bus.request(FIND_LOGIN, UserRef(name="ADA"))
    assert found.user is not None
    assert (found.user.role, found.password_hash) == (Role.OPERATOR, "$argon2id$x")
    nobody = await client.bus.request(FIND_LOGIN, UserRef(name="nobody"))
    assert (nobody.user, nobody.password_hash) == (None, None)
    with pytest.raises(InvalidRequest):
        await client.bus.request(FIND_LOGIN, UserRef())


async def test_the_last_admin_stays(client: Client) -> None:
    admin = await client.user("root", Role.ADMIN)
    demote = ChangeUser(user_id=admin, role=Role.USER)
    for refused in (demote, ChangeUser(user_id=admin, disabled=True)):
        with pytest.raises(LastAdmin):
            await client.bus.request(CHANGE_USER, refused)
    with pytest.raises(LastAdmin):
        await client.bus.request(DELETE_USER, UserRef(user_id=admin))
    await client.user("second", Role.ADMIN)
    assert (await client.bus.request(CHANGE_USER, demote)).role is Role.USER


async def test_two_admins_who_demote_each_other_leave_one(client: Client) -> None:
    admins = [await client.user(name, Role.ADMIN) for name in ("one", "two")]
    requests = (client.bus.request(CHANGE_USER, ChangeUser(user_id=admin, role=Role.USER)) for admin in admins)
    found = await asyncio.gather(*requests, return_exceptions=True)
    roles = [u.role for u in (await client.bus.request(LIST_USERS, Page())).users]
    assert roles.count(Role.ADMIN) == 1, found


async def test_a_disabled_admin_does_not_count(client: Client) -> None:
    admin, other = await client.user("one", Role.ADMIN), await client.user("two", Role.ADMIN)
    await client.bus.request(CHANGE_USER, ChangeUser(user_id=other, disabled=True))
    with pytest.raises(LastAdmin):
        await client.bus.request(DELETE_USER, UserRef(user_id=admin))


async def test_a_change_is_told_and_ends_the_sessions(client: Client) -> None:
    user_id = await client.user()
    heard: asyncio.Queue[AccountChanged] = asyncio.Queue()
    await client.bus.subscribe(ACCOUNT_CHANGED, heard.put)
    await client.bus.request(SAVE_REFRESH, SaveRefresh(family_id="f", user_id=user_id, hash="h1", expires_at=SOON))
    await client.bus.request(CHANGE_USER, ChangeUser(user_id=user_id, password_hash="new"))
    async with asyncio.timeout(5):
        assert (await heard.get()).user_id == user_id
    with pytest.raises(RefreshInvalid):
        await rotate(client, "h1", "h2")


async def test_a_key_is_found_by_its_hash_until_it_is_revoked(client: Client) -> None:
    user_id, other = await client.user(), await client.user()
    key = a_key(user_id).model_copy(update={"memory": MemoryMode.READ_WRITE, "scopes": ("chat",), "expires_at": SOON})
    made = await client.bus.request(CREATE_KEY, key)
    found = await client.bus.request(FIND_KEY, FindKey(hash=key.hash))
    assert found.key == made
    assert found.user is not None
    assert found.user.user_id == user_id
    with pytest.raises(KeyNotFound):
        await client.bus.request(REVOKE_KEY, KeyRef(user_id=other, key_id=key.key_id))
    heard: asyncio.Queue[AccountChanged] = asyncio.Queue()
    await client.bus.subscribe(ACCOUNT_CHANGED, heard.put)
    await client.bus.request(REVOKE_KEY, KeyRef(user_id=user_id, key_id=key.key_id))
    async with asyncio.timeout(5):
        assert (await heard.get()).key_hash == key.hash
    assert (await client.bus.request(FIND_KEY, FindKey(hash=key.hash))).key is None


async def test_a_hash_belongs_to_one_key(client: Client) -> None:
    user_id = await client.user()
    await client.bus.request(CREATE_KEY, a_key(user_id))
    with pytest.raises(InvalidRequest):
        await client.bus.request(CREATE_KEY, a_key(await client.user()))
    with pytest.raises(UserNotFound):
        await client.bus.request(CREATE_KEY, a_key("nobody", 2))


async def test_keys_are_few_and_listed_newest_first(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "MOST_KEYS", 3)
    user_id = await client.user()
    for n in range(3):
        await client.bus.request(CREATE_KEY, a_key(user_id, n, key_id=f"key{n}"))
    with pytest.raises(TooManyKeys):
        await client.bus.request(CREATE_KEY, a_key(user_id, 3))
    first = await client.bus.request(LIST_KEYS, ListKeys(user_id=user_id, limit=2))
    second = await client.bus.request(LIST_KEYS, ListKeys(user_id=user_id, limit=2, cursor=first.next_cursor))
    assert [k.key_id for k in first.keys + second.keys] == ["key2", "key1", "key0"]


async def test_a_refresh_token_works_once_and_its_reuse_ends_the_session(client: Client) -> None:
    user_id = await client.user()
    await client.bus.request(SAVE_REFRESH, SaveRefresh(family_id="f", user_id=user_id, hash="h1", expires_at=SOON))
    rotated = await rotate(client, "h1", "h2")
    assert (rotated.family_id, rotated.user.user_id) == ("f", user_id)
    await rotate(client, "h2", "h3")
    with pytest.raises(RefreshInvalid):
        await rotate(client, "h1", "h4")
    with pytest.raises(RefreshInvalid):
        await rotate(client, "h3", "h5")


async def test_of_two_uses_at_once_one_counts(client: Client) -> None:
    user_id = await client.user()
    await client.bus.request(SAVE_REFRESH, SaveRefresh(family_id="f", user_id=user_id, hash="h", expires_at=SOON))
    found = await asyncio.gather(*(rotate(client, "h", f"n{i}") for i in range(5)), return_exceptions=True)
    assert sum(isinstance(f, Rotated) for f in found) == 1


async def test_sessions_end_alone_or_together(client: Client) -> None:
    user_id = await client.user()
    for n in range(3):
        save = SaveRefresh(family_id=f"f{n}", user_id=user_id, hash=f"h{n}", expires_at=SOON)
        await client.bus.request(SAVE_REFRESH, save)
    await client.bus.request(END_SESSION, EndSession(user_id=user_id, family_id="f0"))
    with pytest.raises(RefreshInvalid):
        await rotate(client, "h0", "x0")
    await rotate(client, "h1", "x1")
    await client.bus.request(END_SESSION, EndSession(user_id=user_id))
    for token in ("x1", "h2", "unknown"):
        with pytest.raises(RefreshInvalid):
            await rotate(client, token, f"y-{token}")


async def test_expired_sessions_are_removed(client: Client, persistence: RunningPersistence) -> None:
    user_id = await client.user()
    for n, expires_at in enumerate((SOON, SOON - timedelta(hours=2))):
        save = SaveRefresh(family_id=f"f{n}", user_id=user_id, hash=f"h{n}", expires_at=expires_at)
        await client.bus.request(SAVE_REFRESH, save)
    async with persistence.parts.database.transaction() as session:
        assert await sessions.remove_expired(session, datetime.now(UTC), 100) == 1
    await rotate(client, "h0", "x0")
