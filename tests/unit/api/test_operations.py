"""Readiness, metrics, conversations, settings, users, the console and the OpenAPI document."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any

import pytest

from libs.shared.contracts.accounts import CreateUser
from libs.shared.contracts.base import IN_BACKGROUND, Principal
from libs.shared.contracts.common import MemoryMode, Position, Role
from libs.shared.contracts.conversations import ListConversations
from libs.shared.contracts.ledger import DecideChange, Decision, ProposeChange
from libs.shared.contracts.memory import SearchMemory
from libs.shared.contracts.sessions import SESSIONS, Session
from libs.shared.contracts.telemetry import DependencyHealth, Health
from services.api.app import ENDPOINTS
from services.api.readiness import summed_up
from tests.unit.api.house import PASSWORD, Api


async def test_readiness_names_every_dependency(api: Api) -> None:
    answer = await api.client.get("/readyz")
    told = answer.json()
    assert (answer.status_code, told["ready"]) == (200, True)
    names = {"broker", "database", "persistence", "scheduler", "inference", "cognition", "trainer", "optimizer"}
    assert set(told["dependencies"]) == names
    assert told["degraded"] == ["no-model"]


@pytest.mark.parametrize("service", [Principal.PERSISTENCE, Principal.COGNITION])
async def test_readiness_says_which_service_is_down(api: Api, service: Principal) -> None:
    await api.house.buses[service].drain(1.0)
    answer = await api.client.get("/readyz")
    told = answer.json()
    assert (answer.status_code, told["ready"]) == (503, False)
    down = {name for name, dependency in told["dependencies"].items() if not dependency["ok"]}
    assert down == ({service.value, "database"} if service is Principal.PERSISTENCE else {service.value})


@pytest.mark.parametrize("service", sorted(IN_BACKGROUND))
async def test_what_works_in_the_background_and_is_down_is_named_and_keeps_nobody_waiting(
    api: Api, service: Principal
) -> None:
    await api.house.buses[service].drain(1.0)
    answer = await api.client.get("/readyz")
    told = answer.json()
    assert (answer.status_code, told["ready"]) == (200, True)
    assert told["dependencies"][service.value] == {"ok": False, "detail": "does not answer"}


def test_a_service_that_waits_says_for_what() -> None:
    waiting = Health(
        service="persistence", version="1", ready=False, dependencies={"database": DependencyHealth(ok=False)}
    )
    found = summed_up(True, {"persistence": waiting})
    assert not found.ready
    assert found.dependencies["persistence"].detail == "waits for database"
    assert not found.dependencies["database"].ok


async def test_everything_is_down_without_the_broker(api: Api) -> None:
    found = summed_up(False, {"cognition": None})
    assert not any(dependency.ok for dependency in found.dependencies.values())


async def test_metrics_of_every_service_are_one_exposition(api: Api) -> None:
    text = (await api.client.get("/metrics", headers=api.key("ops", Role.OPERATOR, scopes=("metrics",)))).text
    assert text.count("# TYPE up gauge") == 1
    for service in ("cognition", "persistence", "scheduler", "inference", "trainer", "optimizer"):
        assert f'up{{service="{service}"}} 1.0' in text
    assert "http_server_request_duration_seconds_bucket" in text


async def test_a_reader_passes_where_the_last_turn_lies(api: Api) -> None:
    position = Position(epoch="e", sequence=7)
    bucket = api.house.buses[Principal.COGNITION].bucket(SESSIONS)
    await bucket.put("id-ana", Session(position=position).model_dump_json().encode())
    await api.client.get("/api/v1/conversations", headers=api.key())
    await api.client.get("/api/v1/memories?q=boards", headers=api.key())
    assert api.house.told(ListConversations)[0].read_after == position
    assert api.house.told(SearchMemory)[0].read_after == position


async def test_a_conversation_is_exported_whole_as_json_and_markdown(api: Api) -> None:
    path = "/api/v1/conversations/c1/export"
    exported = await api.client.get(path, headers=api.key())
    told = json.loads(exported.text)
    assert [message["text"] for message in told["messages"]] == ["Which board?", "A Pi 5."]
    assert told["conversation"]["title"] == "Boards"
    markdown = await api.client.get(path + "?format=markdown", headers=api.key())
    assert markdown.headers["content-type"].startswith("text/markdown")
    assert markdown.text.startswith("# Boards\n")
    assert "**assistant**, 2027-01-15 08:00 UTC\n\nA Pi 5.\n" in markdown.text


async def test_another_s_conversation_is_not_there(api: Api) -> None:
    for method, more in (("GET", ""), ("GET", "/export"), ("PATCH", "")):
        body = {"title": "x"} if method == "PATCH" else None
        answer = await api.client.request(method, f"/api/v1/conversations/c2{more}", json=body, headers=api.key())
        assert (answer.status_code, answer.json()["code"]) == (404, "conversation_not_found")


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/conversations?limit=0",
        "/api/v1/conversations?limit=many",
        "/api/v1/conversations?cursor=%00",
        "/api/v1/conversations/..%00",
        "/api/v1/memories?q=",
        "/api/v1/memories?q=x&k=1000",
        "/api/v1/jobs?state=lost",
    ],
)
async def test_a_query_that_cannot_be_meant_is_a_problem_document(api: Api, path: str) -> None:
    answer = await api.client.get(path, headers=await api.session("root", Role.ADMIN))
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert answer.json()["code"] == "invalid_request"
    assert answer.json()["errors"][0]["field"]


async def test_a_key_without_memory_searches_none(api: Api) -> None:
    answer = await api.client.get("/api/v1/memories?q=x", headers=api.key(memory=MemoryMode.OFF))
    assert (answer.status_code, answer.json()["code"]) == (403, "not_allowed")


_READS = (("GET", ""), ("GET", "/c1"), ("GET", "/c1/export"))
_CHANGES = (("PATCH", "/c1"), ("DELETE", "/c1"))


@pytest.mark.parametrize(
    ("memory", "allowed"),
    [(MemoryMode.OFF, ()), (MemoryMode.READ, _READS), (MemoryMode.READ_WRITE, (*_READS, *_CHANGES))],
)
async def test_a_key_reads_and_changes_conversations_as_far_as_it_was_made_for_memory(
    api: Api, memory: MemoryMode, allowed: tuple[tuple[str, str], ...]
) -> None:
    headers = api.key(memory=memory)
    for method, path in (*_READS, *_CHANGES):
        body = {"title": "x"} if method == "PATCH" else None
        answer = await api.client.request(method, f"/api/v1/conversations{path}", json=body, headers=headers)
        assert (answer.status_code == 200) == ((method, path) in allowed), (method, path, answer.text)
        if (method, path) not in allowed:
            assert (answer.status_code, answer.json()["code"]) == (403, "not_allowed")


@pytest.mark.parametrize("value", [r'"\ud800"', r'{"\ud800": 1}', r'[["a\udfff"]]'])
async def test_half_a_character_is_no_setting(api: Api, value: str) -> None:
    headers = {**await api.session("root", Role.ADMIN), "Content-Type": "application/json"}
    answer = await api.client.patch(
        "/api/v1/settings", content=f'{{"key": "default_model", "value": {value}}}', headers=headers
    )
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "body.value")


async def test_an_administrator_s_setting_is_applied_and_an_operator_s_proposed(api: Api) -> None:
    body = {"key": "recall_k", "value": 4, "reason": "shorter prompts"}
    for name, role in (("root", Role.ADMIN), ("ops", Role.OPERATOR)):
        answer = await api.client.patch("/api/v1/settings", json=body, headers=await api.session(name, role))
        assert answer.status_code == 200
    proposed = api.house.told(ProposeChange)
    assert [(change.actor, change.apply) for change in proposed] == [("id-root", True), ("id-ops", False)]


async def test_a_change_is_proposed_without_being_applied_whoever_asks(api: Api) -> None:
    body = {"key": "recall_k", "value": 4, "reason": "shorter prompts"}
    for name, role in (("root", Role.ADMIN), ("ops", Role.OPERATOR)):
        answer = await api.client.post("/api/v1/changes", json=body, headers=await api.session(name, role))
        assert (answer.status_code, answer.json()["key"]) == (201, "recall_k")
    admin = await api.session("root", Role.ADMIN)
    assert (await api.client.patch("/api/v1/settings", json=body | {"apply": False}, headers=admin)).status_code == 200
    assert (await api.client.post("/api/v1/changes", json=body | {"apply": True}, headers=admin)).status_code == 422
    assert [change.apply for change in api.house.told(ProposeChange)] == [False] * 3


PEOPLES = (Decision.APPROVE, Decision.REJECT, Decision.ROLL_BACK)
"""The others are the optimizer's alone."""


@pytest.mark.parametrize("decision", sorted(set(Decision) - set(PEOPLES)))
async def test_what_the_optimizer_decides_has_no_path(api: Api, decision: Decision) -> None:
    path = f"/api/v1/changes/ch1/{decision.value}"
    answer = await api.client.post(path, headers=await api.session("root", Role.ADMIN))
    assert answer.status_code == 404
    assert api.house.told(DecideChange) == []


@pytest.mark.parametrize(("verb", "decision"), [(d.value, d) for d in PEOPLES])
async def test_each_decision_is_passed_on_with_who_made_it(api: Api, verb: str, decision: Decision) -> None:
    await api.client.post(f"/api/v1/changes/ch1/{verb}", headers=await api.session("root", Role.ADMIN))
    assert api.house.told(DecideChange) == [DecideChange(change_id="ch1", decision=decision, actor="id-root")]


async def test_a_new_user_gets_a_one_time_password_once(api: Api) -> None:
    admin = await api.session("root", Role.ADMIN)
    made = (await api.client.post("/api/v1/users", json={"name": "zoé"}, headers=admin)).json()
    assert made["user"]["must_change_password"]
    kept = api.house.told(CreateUser)[0]
    assert made["one_time_password"] not in kept.model_dump_json()
    login = await api.log_in("zoé", made["one_time_password"])
    assert login.json()["must_change_password"]
    chosen = await api.client.post("/api/v1/users", json={"name": "max", "password": PASSWORD}, headers=admin)
    assert chosen.json()["one_time_password"] is None


async def test_a_reset_password_replaces_the_old_one(api: Api) -> None:
    admin, _ = await api.session("root", Role.ADMIN), api.house.add_user("ana")
    reset = await api.client.patch("/api/v1/users/id-ana", json={"reset_password": True}, headers=admin)
    assert (await api.log_in("ana", PASSWORD)).status_code == 401
    assert (await api.log_in("ana", reset.json()["one_time_password"])).status_code == 200


@pytest.mark.parametrize(
    "body", [{"name": "a b"}, {"name": "a", "role": "god"}, {"name": "a", "password": "short"}, {"name": 1}, {}, []]
)
async def test_a_user_that_cannot_be_meant_is_refused_without_repeating_a_value(api: Api, body: Any) -> None:
    answer = await api.client.post("/api/v1/users", json=body, headers=await api.session("root", Role.ADMIN))
    assert answer.status_code == 422
    assert "short" not in answer.text


class _Page(HTMLParser):
    """The page's references, its inline code, and its fields and labels."""

    def __init__(self) -> None:
        super().__init__()
        self.references: list[str] = []
        self.inline: list[str] = []
        self.fields: set[str] = set()
        self.labelled: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.references += [value for name in ("src", "href") if (value := values.get(name))]
        self.inline += [name for name, _ in attrs if name.startswith("on") or name == "style"]
        if tag == "style" or (tag == "script" and "src" not in values):
            self.inline.append(tag)
        if tag in ("input", "textarea"):
            self.fields.add(values["id"] or "")
        if tag == "label":
            self.labelled.add(values["for"] or "")


async def test_the_console_has_no_inline_code_and_loads_nothing_from_elsewhere(api: Api) -> None:
    answer = await api.client.get("/")
    page = _Page()
    page.feed(answer.text)
    assert not page.inline
    assert page.references
    for reference in page.references:
        file = await api.client.get(reference)
        assert file.status_code == 200, reference
        assert "http://" not in file.text.replace("http://www.w3.org/2000/svg", "")
        assert "https://" not in file.text
        assert "innerHTML" not in file.text
    assert page.fields == page.labelled


async def test_the_console_s_files_are_not_sent_again_unchanged(api: Api) -> None:
    first = await api.client.get("/console/console.js")
    again = await api.client.get("/console/console.js", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.text) == (304, "")


@pytest.mark.parametrize("name", ["..%2fsettings.py", "settings.py", "%2e%2e", "none.js"])
async def test_only_the_console_s_own_files_are_served(api: Api, name: str) -> None:
    assert (await api.client.get(f"/console/{name}")).status_code == 404


async def test_the_document_tells_what_each_operation_refuses(api: Api) -> None:
    document = (await api.client.get("/openapi.json")).json()
    for endpoint in ENDPOINTS:
        if not endpoint.options.get("include_in_schema", True):
            continue
        operation = document["paths"][endpoint.path.replace(":path", "")][endpoint.method.lower()]
        assert operation["x-mongars-access"] == endpoint.access.value
        assert ("401" in operation["responses"]) == (endpoint.access.value != "open" or "/auth/" in endpoint.path), (
            endpoint.path
        )
        assert operation["summary"]
    chat = document["paths"]["/v1/chat/completions"]["post"]
    assert chat["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("/ChatCompletionRequest")


async def test_the_document_has_no_reference_that_leads_nowhere(api: Api) -> None:
    text = (await api.client.get("/openapi.json")).text
    document = json.loads(text)
    references = {part.split('"')[0] for part in text.split('"$ref":"#/components/schemas/')[1:]}
    assert references
    assert references <= set(document["components"]["schemas"])
