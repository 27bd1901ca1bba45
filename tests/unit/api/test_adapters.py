"""Adapters over HTTP: how each stands, putting one into service, and being shown none of other people's."""

from __future__ import annotations

import pytest

from libs.shared.contracts.adapters import (
    Adapters,
    ArtefactFile,
    BaseModelOf,
    InService,
    KeptAdapter,
    Manifest,
    RemoveAdapter,
    RollBackAdapter,
    ServeAdapter,
    SignedManifest,
)
from libs.shared.contracts.base import Principal
from libs.shared.contracts.common import Role
from libs.shared.contracts.scheduling import Node
from services.api import adapters
from tests.unit.api.house import AT, Api, chat_model
from tests.unit.scheduler.clusters import node

FILE = ArtefactFile(name="adapter_model.safetensors", size=7, sha256="0" * 64)


def kept(name: str, owners: tuple[str, ...] | None = None) -> KeptAdapter:
    manifest = Manifest(
        name=name, base=BaseModelOf(name="tiny"), files=(FILE,), created=AT, owners=owners, metrics={"perplexity": 9.5}
    )
    return KeptAdapter(name=name, signed=SignedManifest(body=""), manifest=manifest, owners=owners)


@pytest.fixture
def trained(api: Api) -> Api:
    """``ada`` is Ana's, ``bob`` everybody's, and of ``eve`` nobody knows."""
    bob = kept("bob").model_copy(update={"in_service": (InService(role="chat", share=0.1),), "tainted": True})
    eve = KeptAdapter(name="eve", signed=SignedManifest(body=""), code="artefact_foreign")
    api.house.adapters = Adapters(adapters=(kept("ada", ("id-ana",)), bob, eve), key="")
    tiny = chat_model(adapters=("ada", "bob"), restricted=("ada",))
    told = node("pi", models=[tiny]).model_copy(update={"degraded": ("eve: artefact_foreign", "ada: storage_full")})
    api.house.nodes = (Node(telemetry=told, age_s=0.1, available=True, reason="ok", breaker="closed"),)
    api.house.models = api.house.models.model_copy(update={"models": (tiny,), "default_chat": "tiny:ada"})
    return api


async def test_the_list_tells_how_each_stands(trained: Api) -> None:
    operator = trained.key("ops", Role.OPERATOR, scopes=("operator",))
    ada, bob, eve = (await trained.client.get("/api/v1/adapters", headers=operator)).json()["items"]
    assert (ada["model"], ada["restricted"], ada["refused"]) == ("tiny:ada", True, {"pi": "storage_full"})
    assert (bob["nodes"], bob["in_service"], bob["tainted"]) == (["pi"], [{"role": "chat", "share": 0.1}], True)
    assert (bob["metrics"], bob["size_bytes"]) == ({"perplexity": 9.5}, 7)
    assert (eve["model"], eve["refused"]) == (None, {"store": "artefact_foreign", "pi": "artefact_foreign"})
    assert "id-ana" not in str(ada), "whose words they are is nobody's business"


@pytest.mark.parametrize(("role", "applied"), [(Role.ADMIN, True), (Role.OPERATOR, False)])
async def test_an_admin_promotes_and_an_operator_proposes_it(trained: Api, role: Role, applied: bool) -> None:
    caller = trained.key("root", role, scopes=(role.value,))
    answers = [
        await trained.client.post("/api/v1/adapters/bob/promote", json={"reason": "better"}, headers=caller),
        await trained.client.post("/api/v1/adapters/bob/canary", json={"share": 0.2, "role": "code"}, headers=caller),
    ]
    assert [answer.status_code for answer in answers] == [200, 200]
    told = trained.house.told(ServeAdapter)
    assert [(t.adapter, t.role, t.share, t.apply) for t in told] == [
        ("bob", "chat", 1.0, applied),
        ("bob", "code", 0.2, applied),
    ]


@pytest.mark.parametrize("body", [{"share": 1}, {"share": 0}, {"share": 0.5, "role": "embed"}, {}])
async def test_a_share_is_a_part_and_a_role_one_that_answers(trained: Api, body: dict[str, object]) -> None:
    admin = trained.key("root", Role.ADMIN, scopes=("admin",))
    answer = await trained.client.post("/api/v1/adapters/bob/canary", json=body, headers=admin)
    assert (answer.status_code, trained.house.told(ServeAdapter)) == (422, [])


async def test_it_is_rolled_back_and_removed_by_name(trained: Api) -> None:
    admin = trained.key("root", Role.ADMIN, scopes=("admin",))
    assert (await trained.client.post("/api/v1/adapters/bob/rollback", headers=admin)).status_code == 200
    assert (await trained.client.delete("/api/v1/adapters/bob", headers=admin)).status_code == 204
    assert [m.adapter for m in trained.house.told(RollBackAdapter)] == ["bob"]
    assert [m.adapter for m in trained.house.told(RemoveAdapter)] == ["bob"]


async def models(api: Api, who: str) -> dict[str, str | None]:
    told = (await api.client.get("/v1/models", headers=api.key(who))).json()["data"]
    return {model["id"]: model["alias_of"] for model in told}


async def check_only_its_owner_sees_it(api: Api) -> None:
    mine = await models(api, "ana")
    assert set(mine) == {"tiny", "tiny:ada", "tiny:bob", "mongars/chat"}
    assert mine["mongars/chat"] == "tiny:ada"
    others = await models(api, "zoe")
    assert set(others) == {"tiny", "tiny:bob", "mongars/chat"}
    assert others["mongars/chat"] == "tiny"
    assert (await api.client.get("/v1/models/tiny:ada", headers=api.key("zoe"))).status_code == 404


async def test_only_its_owner_is_shown_a_restricted_one(trained: Api) -> None:
    await check_only_its_owner_sees_it(trained)


async def test_the_check_notices_that_nobody_asks_for_the_owner(trained: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapters, "_without", lambda model, _: model)
    with pytest.raises(AssertionError):
        await check_only_its_owner_sees_it(trained)


async def test_as_long_as_nobody_knows_whose_it_is_it_is_shown_to_nobody(trained: Api) -> None:
    key = trained.key("ana")
    await trained.client.get("/v1/models", headers=key)
    await trained.house.buses[Principal.PERSISTENCE].drain(1.0)
    told = (await trained.client.get("/v1/models", headers=key)).json()["data"]
    assert "tiny:ada" not in [model["id"] for model in told]
