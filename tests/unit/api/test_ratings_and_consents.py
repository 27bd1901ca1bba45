"""Thumbs and consents over HTTP: asked for the caller alone, refused by name."""

from __future__ import annotations

import pytest

from libs.shared.contracts.material import ListTrained
from libs.shared.contracts.ratings import ChangeTrainingChoices, ListConsents, ListRatings, RateTurn, SetConsent, Thumb
from tests.unit.api.house import Api

RATINGS, CONSENTS = "/api/v1/ratings", "/api/v1/consents"


async def test_an_answer_is_rated_for_whoever_asks(api: Api) -> None:
    up = await api.client.put(f"{RATINGS}/t1", json={"thumb": "up"}, headers=api.key())
    assert up.status_code == 200
    assert (up.json()["rating"]["thumb"], up.json()["rating"]["conversation_id"]) == ("up", "c1")
    listed = await api.client.get(RATINGS, params={"thumb": "up"}, headers=api.key())
    assert [one["turn_id"] for one in listed.json()["ratings"]] == ["t1"]
    cleared = await api.client.delete(f"{RATINGS}/t1", headers=api.key())
    assert cleared.json() == {"rating": None}
    assert {(told.user_id, told.thumb) for told in api.house.told(RateTurn)} == {("id-ana", Thumb.UP), ("id-ana", None)}
    assert api.house.told(ListRatings)[0].thumb is Thumb.UP


async def test_what_may_be_trained_on_is_decided_for_whoever_asks(api: Api) -> None:
    before = (await api.client.get(CONSENTS, headers=api.key())).json()
    assert before["choices"] == {"future": False, "future_since": None, "share_adapters": False, "tuning": False}
    assert [(one["conversation_id"], one["allowed"]) for one in before["conversations"]] == [("c1", False)]
    given = await api.client.put(f"{CONSENTS}/c1", json={"allowed": True}, headers=api.key())
    assert (given.json()["consent"]["allowed"], given.json()["tainted_adapters"]) == (True, [])
    taken = await api.client.put(f"{CONSENTS}/c1", json={"allowed": False}, headers=api.key())
    assert (taken.json()["consent"]["allowed"], taken.json()["tainted_adapters"]) == (False, ["ada"])
    changed = await api.client.patch(CONSENTS, json={"share_adapters": True}, headers=api.key())
    assert changed.json()["choices"] == {"future": False, "future_since": None, "share_adapters": True, "tuning": False}
    replayed = await api.client.patch(CONSENTS, json={"tuning": True}, headers=api.key())
    assert replayed.json()["choices"]["tuning"] is True
    told = [*api.house.told(SetConsent), *api.house.told(ChangeTrainingChoices), *api.house.told(ListConsents)]
    assert {one.user_id for one in told} == {"id-ana"}


async def test_adapters_of_ones_own_words_are_told_and_nobody_elses_name(api: Api) -> None:
    answer = await api.client.get(f"{CONSENTS}/adapters", headers=api.key())
    told = [(a["adapter"], a["others"], a["shared"], a["tainted_since"] is None) for a in answer.json()["adapters"]]
    assert told == [("ada", 0, False, True), ("both", 1, True, False)]
    assert "ben" not in answer.text
    assert api.house.told(ListTrained)[0].owner == "id-ana"


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("PUT", f"{RATINGS}/t2", {"thumb": "up"}, 404),
        ("PUT", f"{RATINGS}/t1", {"thumb": "sideways"}, 422),
        ("PUT", f"{RATINGS}/t1", {}, 422),
        ("DELETE", f"{RATINGS}/t2", None, 404),
        ("GET", f"{RATINGS}?thumb=both", None, 422),
        ("PUT", f"{CONSENTS}/c2", {"allowed": True}, 404),
        ("PUT", f"{CONSENTS}/c1", {"allowed": "yes"}, 422),
        ("PUT", f"{CONSENTS}/c1", {"allowed": True, "for": "ever"}, 422),
        ("PATCH", CONSENTS, {}, 422),
    ],
)
async def test_what_cannot_be_is_refused(api: Api, method: str, path: str, body: object, status: int) -> None:
    assert (await api.client.request(method, path, json=body, headers=api.key())).status_code == status
