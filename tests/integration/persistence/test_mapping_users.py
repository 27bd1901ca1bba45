"""For whom keys may speak, on a real database: by keyed hashes, and gone with key, account or a word."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from libs.shared.contracts.accounts import (
    ACCEPT_MAPPING,
    CHANGE_USER,
    CREATE_KEY,
    DELETE_USER,
    FIND_MAPPED,
    LIST_MAPPINGS,
    MAP_USER,
    REVOKE_KEY,
    UNMAP_USER,
    ChangeUser,
    CreateKey,
    FindMapped,
    KeyMapping,
    KeyRef,
    ListMappings,
    MappingRef,
    MapUser,
    UnmapUser,
    UserRef,
)
from libs.shared.contracts.common import Role
from libs.shared.credentials import new_api_key
from libs.shared.errors import InvalidRequest, KeyNotFound, MappingNotFound, UserNotFound
from services.persistence.tables import KeyMappingRow
from tests.support.persistence import Client, RunningPersistence, new_id


async def key_of(client: Client, owner: str, *scopes: str) -> str:
    made = new_api_key()
    wanted = CreateKey(
        key_id=new_id(), user_id=owner, name="web", prefix=made.prefix, hash=made.hash, scopes=tuple(scopes)
    )
    return (await client.bus.request(CREATE_KEY, wanted)).key_id


async def map_user(client: Client, key_id: str, external: str, user_id: str) -> KeyMapping:
    return await client.bus.request(MAP_USER, MapUser(key_id=key_id, external=external, user_id=user_id, accepted=True))


async def meant(client: Client, key_id: str, *externals: str) -> str | None:
    return (await client.bus.request(FIND_MAPPED, FindMapped(key_id=key_id, externals=externals))).user_id


@pytest.fixture
async def owner(client: Client) -> str:
    return await client.user(role=Role.ADMIN)


async def test_a_mapped_name_means_its_account_in_any_case_and_for_its_key_alone(client: Client, owner: str) -> None:
    ada, bo = await client.user("ada"), await client.user("bo")
    web, other = await key_of(client, owner, "on-behalf-of"), await key_of(client, owner, "on-behalf-of")
    await map_user(client, web, "Ada@Home.example ", ada)
    await map_user(client, web, "w-bo", bo)
    assert await meant(client, web, "ada@home.example") == ada
    assert await meant(client, web, "w-ada", "ADA@home.example") == ada, "one name that is mapped is enough"
    assert await meant(client, web, "w-bo", "ada@home.example") is None, "two people are nobody"
    assert await meant(client, web, "w-cy") is None
    assert await meant(client, other, "ada@home.example") is None


async def test_what_a_program_calls_its_users_is_kept_nowhere(
    client: Client, owner: str, persistence: RunningPersistence
) -> None:
    ada, web = await client.user("ada"), await key_of(client, owner, "on-behalf-of")
    made = await map_user(client, web, "ada@home.example", ada)
    async with persistence.parts.database.transaction() as session:
        (row,) = (await session.scalars(select(KeyMappingRow))).all()
        assert "ada" not in f"{row.mapping_id} {row.key_id} {row.user_id}"
    listed = await client.bus.request(LIST_MAPPINGS, ListMappings(key_id=web))
    assert listed.mappings == (made,)
    assert (await client.bus.request(LIST_MAPPINGS, ListMappings(user_id=ada))).mappings == (made,)
    assert made.name == "ada"


async def test_a_name_that_is_mapped_again_means_the_later_account(client: Client, owner: str) -> None:
    ada, bo, web = await client.user(), await client.user(), await key_of(client, owner, "on-behalf-of")
    await map_user(client, web, "w", ada)
    await map_user(client, web, "w", bo)
    assert await meant(client, web, "w") == bo


async def test_an_admin_s_mapping_means_nobody_before_its_account_accepts_it(client: Client, owner: str) -> None:
    ada, bo, web = await client.user(), await client.user(), await key_of(client, owner, "on-behalf-of")
    wanted = MapUser(key_id=web, external="w", user_id=ada)
    asked = await client.bus.request(MAP_USER, wanted)
    assert (asked.accepted, await meant(client, web, "w")) == (False, None)
    with pytest.raises(MappingNotFound):
        await client.bus.request(ACCEPT_MAPPING, MappingRef(mapping_id=asked.mapping_id, user_id=bo))
    assert await meant(client, web, "w") is None
    await client.bus.request(ACCEPT_MAPPING, MappingRef(mapping_id=asked.mapping_id, user_id=ada))
    assert await meant(client, web, "w") == ada
    assert (await client.bus.request(MAP_USER, wanted)).accepted, "it was accepted already"
    assert not (await client.bus.request(MAP_USER, wanted.model_copy(update={"user_id": bo}))).accepted
    assert await meant(client, web, "w") is None, "bo was not asked"


async def test_a_mapping_ends_by_name_by_id_and_by_its_own_account(client: Client, owner: str) -> None:
    ada, web = await client.user(), await key_of(client, owner, "on-behalf-of")
    made = await map_user(client, web, "w", ada)
    with pytest.raises(MappingNotFound):
        await client.bus.request(UNMAP_USER, UnmapUser(mapping_id=made.mapping_id, user_id=owner))
    for ending in (
        UnmapUser(mapping_id=made.mapping_id, user_id=ada),
        UnmapUser(mapping_id=made.mapping_id),
        UnmapUser(key_id=web, external=" W"),
    ):
        await map_user(client, web, "w", ada)
        await client.bus.request(UNMAP_USER, ending)
        assert await meant(client, web, "w") is None
        with pytest.raises(MappingNotFound):
            await client.bus.request(UNMAP_USER, ending)


async def test_a_mapping_goes_with_its_account_and_its_key_and_rests_while_one_is_disabled(
    client: Client, owner: str
) -> None:
    ada, bo, web = await client.user(), await client.user(), await key_of(client, owner, "on-behalf-of")
    await map_user(client, web, "w-ada", ada)
    await map_user(client, web, "w-bo", bo)
    await client.bus.request(CHANGE_USER, ChangeUser(user_id=ada, disabled=True))
    assert await meant(client, web, "w-ada") is None
    await client.bus.request(DELETE_USER, UserRef(user_id=ada))
    assert [one.user_id for one in (await client.bus.request(LIST_MAPPINGS, ListMappings(key_id=web))).mappings] == [bo]
    await client.bus.request(REVOKE_KEY, KeyRef(user_id=owner, key_id=web))
    assert (await client.bus.request(LIST_MAPPINGS, ListMappings(user_id=bo))).mappings == ()


async def test_only_a_key_with_the_scope_can_speak_for_an_account_that_is_there(client: Client, owner: str) -> None:
    ada = await client.user()
    plain, web = await key_of(client, owner), await key_of(client, owner, "on-behalf-of")
    with pytest.raises(InvalidRequest):
        await map_user(client, plain, "w", ada)
    with pytest.raises(KeyNotFound):
        await map_user(client, new_id(), "w", ada)
    with pytest.raises(UserNotFound):
        await map_user(client, web, "w", new_id())
