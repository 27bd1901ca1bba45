"""The nodes over HTTP: listed, read with their past, drained by operators, and refusals as problem documents."""

from __future__ import annotations

import pytest

from libs.shared.contracts.common import Role
from libs.shared.contracts.scheduling import (
    Considered,
    Explanation,
    Node,
    NodeHistory,
    NodeRef,
    PlaceJob,
    PlaceRequest,
    Refused,
    ReplicaBreaker,
)
from tests.unit.api.house import AT, Api
from tests.unit.scheduler.clusters import node

PAST = NodeHistory(every_s=10, at=(AT,), load=(1.5,), queued=(2,), tokens=(90,), utilisation=(0.5,))


@pytest.fixture
def cluster(api: Api) -> Api:
    broken = ReplicaBreaker(replica="pi-0", model="llama", state="open", failures=3, opens_for_s=1.5)
    api.house.nodes = (
        Node(
            telemetry=node("pi"), age_s=0.2, available=False, reason="breaker_open", breaker="open", breakers=(broken,)
        ),
        Node(telemetry=node("orin"), age_s=0.4, available=True, reason="ok", breaker="closed"),
    )
    api.house.histories = {"pi": PAST, "orin": PAST}
    return api


async def test_the_list_tells_why_a_node_is_not_chosen_and_which_breaker_is_open(cluster: Api) -> None:
    operator = await cluster.session("ops", Role.OPERATOR)
    told = (await cluster.client.get("/api/v1/nodes", headers=operator)).json()["nodes"]
    assert [(n["telemetry"]["node_id"], n["available"], n["reason"]) for n in told] == [
        ("pi", False, "breaker_open"),
        ("orin", True, "ok"),
    ]
    assert [b["opens_for_s"] for b in told[0]["breakers"]] == [1.5]
    assert told[0]["history"] is None, "the past is told where it is asked for"


async def test_the_past_of_every_node_comes_where_it_is_asked_for(cluster: Api) -> None:
    operator = await cluster.session("ops", Role.OPERATOR)
    told = (await cluster.client.get("/api/v1/nodes?history=true", headers=operator)).json()["nodes"]
    assert [n["history"]["load"] for n in told] == [[1.5], [1.5]]


async def test_one_node_is_read_with_its_past(cluster: Api) -> None:
    operator = await cluster.session("ops", Role.OPERATOR)
    told = (await cluster.client.get("/api/v1/nodes/orin", headers=operator)).json()
    assert (told["telemetry"]["node_id"], told["history"]["queued"]) == ("orin", [2])


async def test_an_operator_drains_and_undrains(cluster: Api) -> None:
    operator = await cluster.session("ops", Role.OPERATOR)
    for verb, draining in (("drain", True), ("undrain", False)):
        answer = await cluster.client.post(f"/api/v1/nodes/pi/{verb}", headers=operator)
        assert (answer.status_code, answer.json()) == (200, {"node_id": "pi", "draining": draining})
    assert [wanted.node_id for wanted in cluster.house.told(NodeRef)] == ["pi", "pi"]


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("POST", "/drain"), ("POST", "/undrain")])
async def test_an_unknown_node_is_a_problem_document(cluster: Api, method: str, path: str) -> None:
    operator = await cluster.session("ops", Role.OPERATOR)
    answer = await cluster.client.request(method, f"/api/v1/nodes/ghost{path}", headers=operator)
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert answer.json()["code"] == "node_not_found"


async def test_a_name_that_no_node_can_have_is_refused(cluster: Api) -> None:
    operator = await cluster.session("ops", Role.OPERATOR)
    answer = await cluster.client.post("/api/v1/nodes/a.b/drain", headers=operator)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


async def test_a_user_may_neither_look_nor_drain(cluster: Api) -> None:
    user = await cluster.session("ana")
    for method, path in (("GET", "/api/v1/nodes/pi"), ("POST", "/api/v1/nodes/pi/drain")):
        answer = await cluster.client.request(method, path, headers=user)
        assert (answer.status_code, answer.json()["code"]) == (403, "not_allowed")
    assert not cluster.house.told(NodeRef)


async def test_an_admin_is_told_where_a_request_would_run_and_why_nowhere_else(cluster: Api) -> None:
    considered = (
        Considered(node_id="orin", replica="orin-0", reason="taken", expected_first_s=0.5, expected_s=3.0),
        Considered(node_id="pi", replica="pi-0", reason="breaker_open"),
    )
    cluster.house.explanation = Explanation(
        model="llama", policy="expected_completion", node_id="orin", considered=considered
    )
    admin = await cluster.session("root", Role.ADMIN)
    asked = "/api/v1/placement?model=chat&prompt_tokens=900&answer_tokens=64"
    told = (await cluster.client.get(asked, headers=admin)).json()
    assert (told["model"], told["node_id"], told["refused"]) == ("llama", "orin", None)
    assert [(c["node_id"], c["reason"]) for c in told["considered"]] == [("orin", "taken"), ("pi", "breaker_open")]
    (wanted,) = cluster.house.told(PlaceRequest)
    assert (wanted.model, wanted.prompt_tokens, wanted.max_tokens) == ("chat", 900, 64)


async def test_an_admin_is_told_where_work_in_the_background_would_run(cluster: Api) -> None:
    refused = Refused(code="no_room", detail="no node has room", retry_after_s=10.0)
    cluster.house.explanation = Explanation(model="minilm", policy="background", node_id=None, refused=refused)
    admin = await cluster.session("root", Role.ADMIN)
    told = (await cluster.client.get("/api/v1/placement?background=embed&waited_s=90", headers=admin)).json()
    assert (told["policy"], told["refused"]["code"]) == ("background", "no_room")
    (wanted,) = cluster.house.told(PlaceJob)
    assert (wanted.kind, wanted.model, wanted.waited_s) == ("embed", None, 90.0)
    assert cluster.house.told(PlaceRequest) == []


@pytest.mark.parametrize(
    "query", ["prompt_tokens=-1", "answer_tokens=0", "prompt_tokens=many", "background=train", "waited_s=nan"]
)
async def test_a_request_that_nobody_can_make_is_not_explained(cluster: Api, query: str) -> None:
    admin = await cluster.session("root", Role.ADMIN)
    answer = await cluster.client.get(f"/api/v1/placement?{query}", headers=admin)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


async def test_the_openapi_document_says_what_the_columns_are(api: Api) -> None:
    told = (await api.client.get("/openapi.json")).json()
    asked = told["paths"]["/api/v1/nodes"]["get"]["parameters"][0]
    assert (asked["name"], "every ten seconds" in asked["description"]) == ("history", True)
    assert {"at", "load", "temperature_c"} <= told["components"]["schemas"]["NodeHistory"]["properties"].keys()
