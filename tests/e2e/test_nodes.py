"""``mongars nodes`` on a running installation, and the same over HTTP."""

from __future__ import annotations

import json
from typing import Any

from tests.e2e.person import log_in_first
from tests.support.installation import Installation


def listed(running: Installation) -> dict[str, Any]:
    (node,) = json.loads(running.mongars("nodes", "--json"))["nodes"]
    return dict(node)


def test_the_nodes_are_shown_to_people_and_to_programs(running: Installation) -> None:
    node = listed(running)
    name = node["telemetry"]["node_id"]
    assert (node["available"], node["reason"], node["age_s"] < 3) == (True, "ok", True)
    titles, row = running.mongars("nodes").splitlines()
    assert titles.split()[:3] == ["node", "board", "state"]
    assert row.startswith(name)
    assert "ready" in row
    told = running.mongars("nodes", "show", name)
    assert "extractive" in told
    assert "the last " in told
    past = json.loads(running.mongars("nodes", "show", name, "--json"))["history"]
    assert len(past["at"]) == len(past["load"]) >= 1


def test_a_node_is_drained_for_maintenance_and_comes_back(running: Installation) -> None:
    name = listed(running)["telemetry"]["node_id"]
    try:
        told = json.loads(running.mongars("nodes", "drain", name, "--json", "--timeout", "60"))
        assert (told["draining"], told["in_flight"], told["queued"]) == (True, 0, 0)
        assert "extractive" in told["served_nowhere_else"]
        seen = listed(running)
        assert (seen["available"], seen["reason"]) == (False, "draining")
    finally:
        running.mongars("nodes", "undrain", name)
    assert running.wait_until(lambda: listed(running)["available"], 5)


def test_an_operator_does_the_same_over_http(running: Installation) -> None:
    made = json.loads(running.mongars("users", "create", "tender", "--role", "operator", "--json"))
    with log_in_first(running.url, "tender", made["one_time_password"]) as operator:
        (node,) = operator.get("/api/v1/nodes?history=true").json()["nodes"]
        assert len(node["history"]["at"]) >= 1
        one = f"/api/v1/nodes/{node['telemetry']['node_id']}"
        try:
            assert operator.post(f"{one}/drain").json()["draining"] is True
            told = operator.get(one).json()
            assert (told["reason"], told["telemetry"]["draining"]) == ("draining", True)
        finally:
            assert operator.post(f"{one}/undrain").json()["draining"] is False
        assert operator.get(one).json()["reason"] == "ok"
        gone = operator.post("/api/v1/nodes/ghost/drain")
        assert (gone.status_code, gone.json()["code"]) == (404, "node_not_found")


def test_where_a_request_would_run_is_explained_and_nothing_is_placed(running: Installation) -> None:
    name = listed(running)["telemetry"]["node_id"]
    told = json.loads(running.mongars("nodes", "explain", "--model", "extractive", "--json"))
    assert (told["model"], told["node_id"], told["refused"]) == ("extractive", name, None)
    assert [(c["node_id"], c["reason"]) for c in told["considered"]] == [(name, "taken")]
    said, titles, row = running.mongars("nodes", "explain", "--model", "extractive").splitlines()
    assert said.startswith("extractive, 500 tokens to read")
    assert titles.split()[:2] == ["node", "replica"]
    assert row.startswith(name)
    refused = running.mongars("nodes", "explain", "--model", "ghost")
    assert "model_not_found" in refused
    overdue = ("--background", "embed", "--waited", "600")
    background = json.loads(running.mongars("nodes", "explain", *overdue, "--json"))
    assert (background["policy"], background["node_id"]) == ("background", name)
    said, titles, row = running.mongars("nodes", "explain", *overdue).splitlines()
    assert "vectors in the background" in said
    assert titles.split() == ["node", "replica", "why"]
    assert row.startswith(name)


def test_a_node_that_is_not_there_is_said_plainly(running: Installation) -> None:
    for command in ("show", "drain"):
        ran = running.run("nodes", command, "ghost")
        assert (ran.returncode, ran.stdout) == (5, "")
        assert "there is no node ghost" in ran.stderr
        assert "mongars nodes lists them" in ran.stderr
