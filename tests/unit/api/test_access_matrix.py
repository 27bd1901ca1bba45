"""Every endpoint against every kind of caller: whatever isn't allowed by name is denied."""

from __future__ import annotations

from typing import Any

import pytest

from libs.shared.contracts.common import Role
from services.api import gate
from services.api.access import Access
from services.api.app import ENDPOINTS
from services.api.routing import Endpoint
from tests.unit.api.house import Api

CALLERS = (
    *("nobody", "a key", "a metrics key", "a user's metrics key", "a one-time password"),
    *("a key for others", "a user's key for others"),
    *("user", "operator", "admin", "an admin's key"),
)
OPEN = frozenset(CALLERS)
SESSIONS = frozenset({"user", "operator", "admin"})
OPERATORS = frozenset({"operator", "admin"})
USERS = SESSIONS | {"a key", "an admin's key"}
CHATTERS = USERS | {"a key for others"}

EXPECTED: dict[tuple[str, str], frozenset[str]] = {
    ("POST", "/v1/chat/completions"): CHATTERS,
    ("GET", "/v1/models"): CHATTERS,
    ("GET", "/v1/models/{model_id:path}"): CHATTERS,
    ("POST", "/v1/embeddings"): CHATTERS,
    ("POST", "/api/v1/auth/token"): OPEN,
    ("POST", "/api/v1/auth/refresh"): OPEN,
    ("POST", "/api/v1/auth/logout"): SESSIONS | {"a one-time password"},
    ("POST", "/api/v1/auth/password"): SESSIONS | {"a one-time password"},
    ("GET", "/api/v1/users"): frozenset({"admin"}),
    ("POST", "/api/v1/users"): frozenset({"admin"}),
    ("GET", "/api/v1/users/me"): USERS,
    ("GET", "/api/v1/users/{user_id}"): frozenset({"admin"}),
    ("PATCH", "/api/v1/users/{user_id}"): frozenset({"admin"}),
    ("DELETE", "/api/v1/users/{user_id}"): frozenset({"admin"}),
    ("GET", "/api/v1/keys"): SESSIONS,
    ("POST", "/api/v1/keys"): SESSIONS,
    ("DELETE", "/api/v1/keys/{key_id}"): SESSIONS,
    ("GET", "/api/v1/keys/{key_id}/mappings"): frozenset({"admin"}),
    ("POST", "/api/v1/keys/{key_id}/mappings"): frozenset({"admin"}),
    ("DELETE", "/api/v1/keys/{key_id}/mappings/{mapping_id}"): frozenset({"admin"}),
    ("GET", "/api/v1/mappings"): SESSIONS,
    ("POST", "/api/v1/mappings/{mapping_id}/accept"): SESSIONS,
    ("DELETE", "/api/v1/mappings/{mapping_id}"): SESSIONS,
    ("GET", "/api/v1/conversations"): USERS,
    ("GET", "/api/v1/conversations/{conversation_id}"): USERS,
    ("PATCH", "/api/v1/conversations/{conversation_id}"): USERS,
    ("DELETE", "/api/v1/conversations/{conversation_id}"): USERS,
    ("GET", "/api/v1/conversations/{conversation_id}/export"): USERS,
    ("GET", "/api/v1/memories"): USERS,
    ("POST", "/api/v1/memories"): USERS,
    ("DELETE", "/api/v1/memories"): USERS,
    ("POST", "/api/v1/memories/import"): USERS,
    ("POST", "/api/v1/memories/import/archive"): USERS,
    ("GET", "/api/v1/memories/export"): USERS,
    ("GET", "/api/v1/memories/{memory_id}"): USERS,
    ("PATCH", "/api/v1/memories/{memory_id}"): USERS,
    ("DELETE", "/api/v1/memories/{memory_id}"): USERS,
    ("GET", "/api/v1/documents"): USERS,
    ("POST", "/api/v1/documents"): USERS,
    ("GET", "/api/v1/documents/{document_id}"): USERS,
    ("DELETE", "/api/v1/documents/{document_id}"): USERS,
    ("GET", "/api/v1/receipts"): USERS,
    ("GET", "/api/v1/ratings"): USERS,
    ("PUT", "/api/v1/ratings/{turn_id}"): USERS,
    ("DELETE", "/api/v1/ratings/{turn_id}"): USERS,
    ("GET", "/api/v1/consents"): USERS,
    ("GET", "/api/v1/consents/adapters"): USERS,
    ("PATCH", "/api/v1/consents"): USERS,
    ("PUT", "/api/v1/consents/{conversation_id}"): USERS,
    ("GET", "/api/v1/events"): USERS,
    ("GET", "/api/v1/nodes"): OPERATORS,
    ("GET", "/api/v1/nodes/{node_id}"): OPERATORS,
    ("POST", "/api/v1/nodes/{node_id}/drain"): OPERATORS,
    ("POST", "/api/v1/nodes/{node_id}/undrain"): OPERATORS,
    ("GET", "/api/v1/placement"): frozenset({"admin"}),
    ("GET", "/api/v1/jobs"): OPERATORS,
    ("GET", "/api/v1/sleep"): OPERATORS,
    ("POST", "/api/v1/sleep/now"): OPERATORS,
    ("GET", "/api/v1/training/runs"): OPERATORS,
    ("POST", "/api/v1/training/runs"): OPERATORS,
    ("GET", "/api/v1/training/runs/{run_id}"): OPERATORS,
    ("DELETE", "/api/v1/training/runs/{run_id}"): OPERATORS,
    ("GET", "/api/v1/settings"): OPERATORS,
    ("PATCH", "/api/v1/settings"): OPERATORS,
    ("GET", "/api/v1/changes"): OPERATORS,
    ("POST", "/api/v1/changes"): OPERATORS,
    ("GET", "/api/v1/changes/verify"): OPERATORS,
    ("GET", "/api/v1/changes/{change_id}"): OPERATORS,
    ("POST", "/api/v1/changes/{change_id}/approve"): frozenset({"admin"}),
    ("POST", "/api/v1/changes/{change_id}/reject"): frozenset({"admin"}),
    ("POST", "/api/v1/changes/{change_id}/rollback"): frozenset({"admin"}),
    ("GET", "/api/v1/adapters"): OPERATORS,
    ("POST", "/api/v1/adapters/{name}/promote"): OPERATORS,
    ("POST", "/api/v1/adapters/{name}/canary"): OPERATORS,
    ("POST", "/api/v1/adapters/{name}/rollback"): frozenset({"admin"}),
    ("DELETE", "/api/v1/adapters/{name}"): frozenset({"admin"}),
    ("GET", "/healthz"): OPEN,
    ("GET", "/readyz"): OPEN,
    ("GET", "/metrics"): OPERATORS | {"a metrics key"},
    ("GET", "/"): OPEN,
    ("GET", "/console/{name}"): OPEN,
    ("GET", "/openapi.json"): OPEN,
}


async def credentials(api: Api) -> dict[str, dict[str, str]]:
    """A header for each kind of caller; made anew for each endpoint, since some end their own session."""
    return {
        "nobody": {},
        "a key": api.key("ana"),
        "a metrics key": api.key("ops", Role.OPERATOR, scopes=("metrics",)),
        "a user's metrics key": api.key("ana", scopes=("metrics",)),
        "a key for others": api.key("root", Role.ADMIN, scopes=("on-behalf-of",)),
        "a user's key for others": api.key("ana", scopes=("on-behalf-of", "user")),
        "a one-time password": await api.session("new", Role.ADMIN, must_change_password=True),
        "user": await api.session("ana"),
        "operator": await api.session("ops", Role.OPERATOR),
        "admin": await api.session("root", Role.ADMIN),
        "an admin's key": api.key("root"),
    }


async def call(api: Api, endpoint: Endpoint, headers: dict[str, str]) -> tuple[int, str]:
    """The status and the code of a call that says nothing but who calls."""
    path = endpoint.path.replace("{conversation_id}", "c1").replace(":path", "")
    answer = await api.client.request(endpoint.method, path.replace("{", "").replace("}", ""), headers=headers)
    code: Any = ""
    if answer.status_code >= 400:
        told = answer.json()
        code = told.get("code") or told["error"]["code"]
    return answer.status_code, code


DENIALS = {"not_authenticated", "not_allowed", "session_required", "password_change_required", "invalid_token"}


async def the_matrix_holds(api: Api, endpoint: Endpoint) -> None:
    allowed = EXPECTED[endpoint.method, endpoint.path]
    api.parts.live.stop()  # a stream of events would go on for ever
    for caller, headers in (await credentials(api)).items():
        status, code = await call(api, endpoint, headers)
        assert (code not in DENIALS) == (caller in allowed), (caller, status, code)
        assert status != 500, (caller, code)


def test_the_matrix_names_every_endpoint_and_no_other() -> None:
    assert set(EXPECTED) == {(endpoint.method, endpoint.path) for endpoint in ENDPOINTS}


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda e: f"{e.method} {e.path}")
async def test_each_endpoint_answers_those_it_names_and_nobody_else(api: Api, endpoint: Endpoint) -> None:
    await the_matrix_holds(api, endpoint)


async def test_without_the_role_check_the_matrix_would_break(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "permit", lambda *_: None)
    for endpoint in ENDPOINTS:
        if endpoint.access in (Access.ADMIN, Access.OPERATOR):
            with pytest.raises(AssertionError):
                await the_matrix_holds(api, endpoint)


async def test_a_key_with_a_role_scope_is_no_more_than_its_owner(api: Api) -> None:
    assert (await api.client.get("/api/v1/users", headers=api.key("root", Role.ADMIN, scopes=("admin",)))).is_success
    grasping = api.key("ana", scopes=("admin", "operator"))
    assert (await api.client.get("/api/v1/users", headers=grasping)).status_code == 403
    assert (await api.client.get("/api/v1/users/me", headers=grasping)).is_success


async def test_a_path_that_does_not_exist_tells_so_in_its_dialect(api: Api) -> None:
    problem = await api.client.get("/api/v1/nothing")
    assert problem.headers["content-type"] == "application/problem+json"
    assert (problem.status_code, problem.json()["code"]) == (404, "not_found")
    assert (await api.client.get("/v1/nothing")).json()["error"]["code"] == "not_found"
    wrong = await api.client.put("/v1/models")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET")


OWN: tuple[tuple[str, str, dict[str, Any] | None], ...] = (
    ("GET", "/api/v1/conversations", None),
    ("GET", "/api/v1/conversations/c1", None),
    ("PATCH", "/api/v1/conversations/c1", {"title": "mine"}),
    ("DELETE", "/api/v1/conversations/c1", None),
    ("GET", "/api/v1/conversations/c1/export", None),
    ("GET", "/api/v1/memories?q=boards", None),
    ("GET", "/api/v1/keys", None),
    ("POST", "/api/v1/keys", {"name": "k"}),
    ("POST", "/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}], "user_id": "id-victim"}),
)


@pytest.mark.parametrize(("method", "path", "body"), OWN, ids=lambda value: str(value)[:40])
async def test_what_is_one_s_own_is_asked_for_in_the_caller_s_name(
    api: Api, method: str, path: str, body: dict[str, Any] | None
) -> None:
    api.house.add_user("victim")
    headers = await api.session("ana")
    api.house.heard.clear()
    separator = "&" if "?" in path else "?"
    await api.client.request(method, f"{path}{separator}user_id=id-victim", json=body, headers=headers)
    named = {getattr(message, "user_id", None) for message in api.house.heard} - {None}
    assert named == {"id-ana"}
