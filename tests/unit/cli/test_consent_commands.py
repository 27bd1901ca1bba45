"""What ``mongars ratings`` and ``mongars consents`` ask for and tell, and thumbs in the middle of a talk."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cli.commands import chat, consents, ratings
from cli.conversation import Conversation
from cli.errors import CommandError, Exit
from cli.gateway import Gateway
from cli.installation import Installation
from cli.own_key import OwnKey
from tests.unit.cli.small_gateway import Answer, SmallGateway, serving

INSTALLATION: Installation = None  # type: ignore[assignment] # a key that never asks it for anything
KEY = OwnKey(INSTALLATION, None, "test", "mgk_x")
AT = "2026-11-30T12:00:00+00:00"
TURN, TALK = "a" * 32, "b" * 32


def consent(allowed: bool, decided: bool = True, remembered: bool = True) -> dict[str, Any]:
    return {
        **{"conversation_id": TALK, "title": "Boards", "messages": 2, "allowed": allowed, "decided": decided},
        **{"decided_at": AT if decided else None, "remembered": remembered, "created_at": AT, "updated_at": AT},
    }


class Told:
    """What the installation would answer; ``sent`` has the bodies."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.tainted: list[str] = []
        self.consent = consent(allowed=False, decided=False)
        self.choices: dict[str, Any] = {"future": False, "future_since": None, "share_adapters": False, "tuning": False}
        self.refusal: Answer | None = None

    def __call__(self, method: str, path: str, query: dict[str, str], body: bytes) -> Answer:
        self.sent.append(json.loads(body) if body else None)
        if self.refusal is not None:
            return self.refusal
        if path.startswith("/api/v1/ratings"):
            one = {"turn_id": TURN, "conversation_id": TALK, "thumb": "up", "at": AT}
            return 200, {"ratings": [one], "next_cursor": None} if method == "GET" else {"rating": one}
        if path.endswith("/adapters"):
            ada = {"adapter": "ada", "others": 1, "shared": False, "tainted_since": AT, "recorded_at": AT}
            ben: dict[str, Any] = {**ada, "adapter": "ben", "others": 0, "tainted_since": None}
            return 200, {"adapters": [ada, ben, {**ben, "adapter": "cy", "shared": True}], "next_cursor": None}
        if method == "GET":
            return 200, {"choices": self.choices, "conversations": [self.consent], "next_cursor": None}
        if method == "PUT":
            self.consent = consent(**self.sent[-1])
            return 200, {"consent": self.consent, "tainted_adapters": self.tainted}
        self.choices = {**self.choices, **self.sent[-1]}
        self.choices["future_since"] = AT if self.choices["future"] else None
        return 200, {"choices": self.choices, "tainted_adapters": self.tainted}


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def server(told: Told, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallGateway]:
    with serving(told) as server:

        @contextmanager
        def own_gateway(_: Path | None, __: str | None, name: str, **___: Any) -> Iterator[Gateway]:
            assert name in ("mongars ratings", "mongars consents")
            yield Gateway(server.server_port, KEY)

        for module in (ratings, consents):
            monkeypatch.setattr(module, "own_gateway", own_gateway)
        yield server


def test_thumbs_are_given_taken_back_and_listed(
    server: SmallGateway, told: Told, capsys: pytest.CaptureFixture[str]
) -> None:
    ratings.up(TURN)
    ratings.down(TURN)
    ratings.clear(TURN, as_json=True)
    ratings.list_ratings(thumb="up")
    assert [(method, path) for method, path, _ in server.asked] == [
        ("PUT", f"/api/v1/ratings/{TURN}"),
        ("PUT", f"/api/v1/ratings/{TURN}"),
        ("DELETE", f"/api/v1/ratings/{TURN}"),
        ("GET", "/api/v1/ratings"),
    ]
    assert told.sent[:3] == [{"thumb": "up"}, {"thumb": "down"}, None]
    assert server.asked[3][2]["thumb"] == "up"
    said = capsys.readouterr().out
    assert f"{TURN}: rated up\n{TURN}: rated down\n" in said
    assert '"thumb": null' in said


def test_what_is_allowed_is_told_plainly(server: SmallGateway, told: Told, capsys: pytest.CaptureFixture[str]) -> None:
    consents.list_consents()
    said = capsys.readouterr().out
    assert "conversations to come   not allowed" in said
    assert "yours alone" in said
    assert "Boards" in said
    consents.allow(TALK)
    assert capsys.readouterr().out == f"{TALK} may be trained on.\n"
    consents.future("on")
    assert "allowed since 2026-11-30" in capsys.readouterr().out
    consents.share("on")
    assert "others may use them" in capsys.readouterr().out
    assert told.sent[-3:] == [{"allowed": True}, {"future": True}, {"share_adapters": True}]
    consents.tuning("on")
    assert "may be replayed on this machine" in capsys.readouterr().out
    assert told.sent[-1] == {"tuning": True}
    consents.list_consents(as_json=True)
    both = json.loads(capsys.readouterr().out)
    assert both["choices"]["share_adapters"] is True
    assert both["conversations"] == [consent(allowed=True)]


def test_what_is_tainted_is_named(server: SmallGateway, told: Told, capsys: pytest.CaptureFixture[str]) -> None:
    told.tainted = ["ada", "ben"]
    consents.withdraw(TALK)
    consents.future("off")
    assert capsys.readouterr().out.count("tainted now: ada, ben.") == 2


def test_adapters_of_ones_words_are_listed(server: SmallGateway, capsys: pytest.CaptureFixture[str]) -> None:
    consents.adapters()
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert rows == [
        ["ada", "2026-11-30", "you", "and", "1", "more", "2026-11-30"],
        ["ben", "2026-11-30", "you", "-"],
        ["cy", "2026-11-30", "everybody", "-"],
    ]


@pytest.mark.parametrize(
    ("one", "standing"),
    [
        (consent(True), "allowed"),
        (consent(True, decided=False), "allowed (by default)"),
        (consent(False), "refused"),
        (consent(False, decided=False), "no"),
        (consent(False, remembered=False), "no (not remembered)"),
    ],
)
def test_why_a_conversation_may_be_trained_on_is_said(one: dict[str, Any], standing: str) -> None:
    assert consents._standing(one) == standing


@pytest.mark.parametrize("wrong", ["", "../memories", "a b", "é"])
def test_what_is_no_id_is_asked_of_nobody(server: SmallGateway, wrong: str) -> None:
    for command in (ratings.up, consents.allow):
        with pytest.raises(CommandError, match="is no") as caught:
            command(wrong)
        assert caught.value.code is Exit.USAGE
    assert server.asked == []


def test_the_last_answer_of_a_talk_is_rated_and_the_talk_goes_on(
    server: SmallGateway, told: Told, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    talk = Conversation(server.server_port, "k")

    def say(_: Conversation, text: str) -> None:
        said.append(text)
        talk.turn_id = TURN

    said: list[str] = []
    lines = iter(["/up", "hello", "/down", "/unrate", "/up we go", ""])
    monkeypatch.setattr(chat, "_print", say)
    monkeypatch.setattr(chat, "_asked", lambda: next(lines))
    chat._talk(talk, Gateway(server.server_port, KEY))
    assert said == ["hello", "/up we go"]
    assert told.sent == [{"thumb": "down"}, None]
    heard = capsys.readouterr().err.splitlines()
    assert heard == [
        "(there is no answer here that was kept, so none to rate)",
        "(rated down)",
        "(no thumb any more)",
    ]


def test_an_answer_that_cannot_be_rated_does_not_end_the_talk(server: SmallGateway, told: Told) -> None:
    talk = Conversation(server.server_port, "k")
    talk.turn_id = TURN
    told.refusal = (404, {"code": "turn_not_found", "detail": "there is no such answer"})
    assert chat._rated(talk, Gateway(server.server_port, KEY), "up") == "not rated: there is no such answer"
