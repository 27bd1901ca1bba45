"""For whom a chat is: what programs forward of their users counts for few keys, and for mapped accounts."""

from __future__ import annotations

from typing import Any

import pytest

from libs.shared.contracts.accounts import CreateKey, FindMapped, MappingRef, MapUser
from libs.shared.contracts.chat import ChatRequest
from libs.shared.contracts.common import MemoryMode, Role
from services.api import on_behalf
from services.api.on_behalf import chat_of, forwarded
from tests.support.clients import filled, shape
from tests.unit.api.house import Api

OPEN_WEBUI = filled(
    dict(shape("open_webui").headers),
    {"user_name": "Ada", "user_id": "w-ada", "user_email": "ada@home.example", "chat_id": "c-1", "message_id": "m"},
)


def gateway(api: Api, memory: MemoryMode = MemoryMode.READ_WRITE) -> dict[str, str]:
    return api.key("root", Role.ADMIN, memory=memory, scopes=("on-behalf-of",))


async def turn_of(api: Api, headers: dict[str, str], **body: Any) -> ChatRequest:
    answer = await api.ask(headers, **body)
    assert answer.is_success, answer.text
    turn: ChatRequest = api.house.told(ChatRequest)[-1]
    return turn


async def test_a_mapped_user_has_their_own_memory(api: Api) -> None:
    api.house.add_user("ana")
    api.house.mapped["w-ada"] = "id-ana"
    turn = await turn_of(api, gateway(api) | OPEN_WEBUI)
    assert (turn.user_id, turn.memory) == ("id-ana", MemoryMode.READ_WRITE)
    assert (turn.chat or "").endswith("/c-1")


@pytest.mark.parametrize("memory", [MemoryMode.OFF, MemoryMode.READ])
async def test_a_mapped_user_has_no_more_memory_than_the_key(api: Api, memory: MemoryMode) -> None:
    api.house.add_user("ana")
    api.house.mapped["w-ada"] = "id-ana"
    assert (await turn_of(api, gateway(api, memory) | OPEN_WEBUI)).memory is memory


async def nobody_s_memory_is_used(api: Api, headers: dict[str, str], **body: Any) -> None:
    turn = await turn_of(api, gateway(api) | headers, **body)
    assert (turn.memory, turn.chat) == (MemoryMode.OFF, None)


async def test_who_is_not_mapped_is_answered_without_anybody_s_memory(api: Api) -> None:
    await nobody_s_memory_is_used(api, OPEN_WEBUI)
    await nobody_s_memory_is_used(api, {})
    await nobody_s_memory_is_used(api, {}, user="someone")


async def test_names_that_mean_different_accounts_mean_nobody(api: Api) -> None:
    for name in ("ana", "bo"):
        api.house.add_user(name)
    api.house.mapped |= {"w-ada": "id-ana", "ada@home.example": "id-bo"}
    await nobody_s_memory_is_used(api, OPEN_WEBUI)


async def test_a_user_field_never_outweighs_a_header(api: Api) -> None:
    api.house.add_user("ana")
    api.house.mapped["victim"] = "id-ana"
    await nobody_s_memory_is_used(api, OPEN_WEBUI, user="victim")
    assert (await turn_of(api, gateway(api), user="victim")).user_id == "id-ana"


async def test_a_key_without_the_scope_ignores_what_is_forwarded(api: Api) -> None:
    api.house.add_user("bo")
    api.house.mapped |= {"w-ada": "id-bo", "someone": "id-bo"}
    turn = await turn_of(api, api.key("ana") | OPEN_WEBUI, user="someone")
    assert (turn.user_id, turn.memory, turn.chat) == ("id-ana", MemoryMode.READ_WRITE, None)
    turn = await turn_of(api, await api.session("ana") | OPEN_WEBUI, user="someone")
    assert (turn.user_id, turn.chat) == ("id-ana", None)
    assert api.house.told(FindMapped) == []


def test_a_name_that_users_choose_is_no_name() -> None:
    assert forwarded({"x-openwebui-user-name": "Ada", "x-openwebui-user-role": "admin"}, None) == ()
    assert forwarded({"x-openwebui-user-id": " ", "x-mongars-user": "u"}, "v") == ("u",)
    assert chat_of({"x-openwebui-chat-id": "x" * 1000}, "k") is None


async def test_only_an_admin_makes_such_a_key_and_by_itself(api: Api) -> None:
    asked = {"name": "web", "scopes": ["on-behalf-of"]}
    for role, status in ((Role.USER, 403), (Role.OPERATOR, 403), (Role.ADMIN, 201)):
        answer = await api.client.post("/api/v1/keys", json=asked, headers=await api.session(f"a-{role}", role))
        assert answer.status_code == status
    assert api.house.told(CreateKey)[-1].scopes == ("on-behalf-of",)
    both = asked | {"scopes": ["on-behalf-of", "user"]}
    answer = await api.client.post("/api/v1/keys", json=both, headers=await api.session("a-admin", Role.ADMIN))
    assert answer.status_code == 400


async def test_an_admin_maps_and_the_mapped_see_accept_and_end_it(api: Api) -> None:
    admin = await api.session("root", Role.ADMIN)
    path = "/api/v1/keys/key-1/mappings"
    made = await api.client.post(path, json={"external": "w-ada", "user_id": "id-ana"}, headers=admin)
    assert made.status_code == 201
    assert "w-ada" not in made.text
    assert api.house.told(MapUser) == [MapUser(key_id="key-1", external="w-ada", user_id="id-ana", accepted=False)]
    ana = await api.session("ana")
    assert (await api.client.get("/api/v1/mappings", headers=ana)).json() == {"mappings": []}
    assert (await api.client.post("/api/v1/mappings/m/accept", headers=ana)).status_code == 204
    assert api.house.told(MappingRef) == [MappingRef(mapping_id="m", user_id="id-ana")]
    assert (await api.client.delete("/api/v1/mappings/m", headers=ana)).status_code == 204


async def test_an_admin_s_own_account_needs_no_further_word(api: Api) -> None:
    admin = await api.session("root", Role.ADMIN)
    path = "/api/v1/keys/key-1/mappings"
    assert (await api.client.post(path, json={"external": "w", "user_id": "id-root"}, headers=admin)).json()["accepted"]


async def test_believing_the_user_field_would_be_noticed(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_behalf, "forwarded", lambda _, user: (user,) if user else ())
    with pytest.raises(AssertionError):
        await test_a_user_field_never_outweighs_a_header(api)
