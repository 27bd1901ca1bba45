"""A conversation over HTTP against a small server that speaks OpenAI's streaming format."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from cli.conversation import Conversation
from cli.errors import CommandError, Exit


class Gateway(ThreadingHTTPServer):
    """Answers with ``script``: a status, headers, and the body's lines."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[dict[str, Any]] = []
        self.status = 200
        self.extra: dict[str, str] = {}
        self.lines: list[str] = []

    def says(self, *pieces: str) -> None:
        chunks = [{"choices": [{"delta": {"content": piece}}]} for piece in pieces]
        self.lines = [*(f"data: {json.dumps(chunk)}" for chunk in chunks), "data: [DONE]"]


class Handler(BaseHTTPRequestHandler):
    server: Gateway

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.asked.append(json.loads(body) | {"authorization": self.headers["authorization"]})
        self.send_response(self.server.status)
        for name, value in self.server.extra.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write("".join(f"{line}\n\n" for line in self.server.lines).encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Tests read what was asked instead."""


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    server = Gateway()
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(5)


def test_pieces_come_in_order_and_the_key_is_sent(gateway: Gateway) -> None:
    gateway.says("Hel", "lo")
    assert list(Conversation(gateway.server_port, "mgk_x").say("hi")) == ["Hel", "lo"]
    assert gateway.asked[0]["authorization"] == "Bearer mgk_x"
    assert gateway.asked[0]["messages"] == [{"role": "user", "content": "hi"}]


def test_the_next_turn_joins_the_conversation_that_the_first_began(gateway: Gateway) -> None:
    gateway.says("ok")
    gateway.extra = {"x-mongars-conversation-id": "c1", "x-mongars-degraded": "no-model"}
    talk = Conversation(gateway.server_port, "k")
    for text in ("one", "two"):
        list(talk.say(text))
    assert "conversation_id" not in gateway.asked[0]["metadata"]
    assert gateway.asked[1]["metadata"] == {"conversation_id": "c1"}
    assert gateway.asked[1]["messages"] == [{"role": "user", "content": "two"}]
    assert talk.degraded == "no-model"


def test_a_turn_that_is_kept_can_be_named(gateway: Gateway) -> None:
    gateway.says("ok")
    gateway.extra = {"x-mongars-turn-id": "t1"}
    for keep, named in ((True, "t1"), (False, None)):
        talk = Conversation(gateway.server_port, "k", keep=keep)
        list(talk.say("hi"))
        assert talk.turn_id == named


def test_a_temporary_conversation_is_not_kept_and_says_everything_again(gateway: Gateway) -> None:
    gateway.says("fi", "ne")
    talk = Conversation(gateway.server_port, "k", keep=False)
    for text in ("one", "two"):
        list(talk.say(text))
    assert gateway.asked[1]["store"] is False
    assert [m["content"] for m in gateway.asked[1]["messages"]] == ["one", "fine", "two"]


def test_an_explained_answer_brings_what_was_recalled_for_it_alone(gateway: Gateway) -> None:
    gateway.says("ok")
    head = {"choices": [{"delta": {"role": "assistant"}}], "mongars": {"recalled": [{"text": "bees"}], "prompt": []}}
    gateway.lines.insert(0, f"data: {json.dumps(head)}")
    talk = Conversation(gateway.server_port, "k", explain=True)
    assert list(talk.say("hi")) == ["ok"]
    assert gateway.asked[0]["metadata"] == {"explain": "true"}
    assert talk.recalled == [{"text": "bees"}]
    gateway.lines.pop(0)
    list(talk.say("and?"))
    assert talk.recalled == []


def test_a_refusal_is_told_in_the_gateways_words(gateway: Gateway) -> None:
    gateway.status = 404
    gateway.lines = [json.dumps({"error": {"message": "there is no model x", "code": "model_not_found"}})]
    with pytest.raises(CommandError, match="there is no model x") as caught:
        list(Conversation(gateway.server_port, "k", "x").say("hi"))
    assert caught.value.code is Exit.REFUSED


def test_an_error_in_the_middle_is_no_end(gateway: Gateway) -> None:
    gateway.says("half")
    gateway.lines[-1] = 'data: {"error": {"message": "the node failed"}}'
    pieces: list[str] = []
    with pytest.raises(CommandError, match="the node failed"):
        pieces.extend(Conversation(gateway.server_port, "k").say("hi"))


def test_a_gateway_that_is_away_is_said_plainly(gateway: Gateway) -> None:
    gateway.shutdown()
    gateway.server_close()
    with pytest.raises(CommandError, match="went away") as caught:
        list(Conversation(gateway.server_port, "k").say("hi"))
    assert "mongars status" in caught.value.remedy


def test_thinking_is_heard_apart_from_the_answer(gateway: Gateway) -> None:
    gateway.says("Rex")
    thought = {"choices": [{"delta": {"reasoning_content": "hm"}}]}
    gateway.lines.insert(0, f"data: {json.dumps(thought)}")
    gateway.extra = {"x-mongars-remote": "afar"}
    heard: list[str] = []
    talk = Conversation(gateway.server_port, "k", keep=False)
    talk.heard = heard.append
    assert list(talk.say("hi")) == ["Rex"]
    assert (heard, talk.reasoning, talk.remote) == (["hm"], ["hm"], "afar")
    list(talk.say("and?"))
    assert "hm" not in json.dumps(gateway.asked[1]), "nothing of it is said again"
