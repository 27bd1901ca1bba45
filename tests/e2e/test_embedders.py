"""A second embedder in a whole installation: added, chosen, and taking over while searches go on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from tests.e2e.person import Meet, Person
from tests.support import embedders as made
from tests.support.installation import Installation

NOTES = ("My sister Odile keeps three bees.", "The train to the mountains leaves at nine.", "Rex sleeps in the garden.")
QUESTION = "What does my sister keep?"
TAKE_OVER_S = 120.0
SEARCH_EVERY_S = 2.0
"""Whoever searches without a pause holds background work up for a minute."""
BUILT_IN = "all-MiniLM-L6-v2"


@pytest.fixture
def installed(make_installation: Callable[..., Installation]) -> Installation:
    installation: Installation = make_installation("embedders", MONGARS_HOUSEKEEPING_INTERVAL_S="0.5")
    installation.up()
    return installation


def listed(installation: Installation) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in json.loads(installation.mongars("embedders", "list", "--json"))}


def search(person: Person) -> dict[str, Any]:
    answered = person.http.get("/api/v1/memories", params={"q": QUESTION, "explain": "true"})
    answered.raise_for_status()
    found: dict[str, Any] = answered.json()
    return found


def check_found(found: dict[str, Any]) -> None:
    assert found["degraded"] is None
    assert found["items"][0]["text"] == NOTES[0]


def test_a_second_embedder_takes_over_while_searches_go_on(installed: Installation, meet: Meet, tmp_path: Path) -> None:
    ada: Person = meet(installed, "ada")
    for note in NOTES:
        ada.http.post("/api/v1/memories", json={"text": note}).raise_for_status()
    check_found(search(ada))
    source = made.make(tmp_path / "downloaded" / "tiny")
    added = json.loads(installed.mongars("embedders", "add", str(source), "--json"))
    assert (added["name"], added["dimensions"]) == ("tiny", made.DIMENSIONS)
    assert installed.wait_until(lambda: "tiny" in listed(installed), 30)
    assert [row["used"] for row in (listed(installed)[BUILT_IN], listed(installed)["tiny"])] == [True, False]
    used = json.loads(installed.mongars("embedders", "use", "tiny", "--json"))
    assert used["embedder"] == f"tiny@{added['version']}"

    searched_at = 0.0

    def taken_over() -> bool:
        nonlocal searched_at
        if monotonic() - searched_at >= SEARCH_EVERY_S:
            check_found(search(ada))
            searched_at = monotonic()
        return "embedder_taken_over" in installed.log("persistence")

    assert installed.wait_until(taken_over, TAKE_OVER_S)
    check_found(search(ada))
    assert installed.wait_until(lambda: "meaning" in search(ada)["items"][0]["parts"], 10), "its vectors are compared"
    ada.http.post("/api/v1/memories", json={"text": "Odile sold her bees."}).raise_for_status()
    assert {item["text"] for item in search(ada)["items"]} >= {NOTES[0], "Odile sold her bees."}
    assert installed.run("embedders", "rm", "tiny").returncode == 5
    installed.mongars("embedders", "use", BUILT_IN)
    installed.mongars("embedders", "rm", "tiny")
    assert installed.wait_until(lambda: "tiny" not in listed(installed), 30)


def test_what_is_no_embedder_is_refused_and_leaves_nothing(installed: Installation, tmp_path: Path) -> None:
    folder = made.make(tmp_path / "odd")
    (folder / "model.safetensors").write_bytes(b"no weights")
    for source, code, words in ((tmp_path, 2, "not an embedder's folder"), (folder, 5, "can't be read")):
        refused = installed.run("embedders", "add", str(source), "--name", "odd")
        assert refused.returncode == code
        assert words in refused.stderr
    assert list((installed.state / "models" / "embedders").iterdir()) == []
    assert installed.run("embedders", "use", "odd").returncode == 5
    assert installed.run("embedders", "rm", "../keys").returncode == 2
