"""Open WebUI, LibreChat and ``llm`` on a real installation: their real shapes, two users of each, turn about."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.e2e.person import Meet, Person
from tests.support.clients import shape
from tests.support.installation import Installation
from tests.support.programs import Program

CLIENTS = ("open_webui", "librechat", "llm")
SECRETS = {"ada": "amber", "bo": "cobalt"}
TURNS = 5


@dataclass
class House:
    """An installation, and one client that two of its people use."""

    client: str
    url: str
    keys: dict[str, str]
    """Of each person the key that their program sends."""
    people: dict[str, Person]
    stack: ExitStack

    def program(self, name: str, *, key: str | None = None) -> Program:
        about = {"user_id": f"w-{name}", "user_name": name, "user_email": f"{name}@{self.client}.example"}
        headers = {"authorization": f"Bearer {key or self.keys[name]}"}
        http = self.stack.enter_context(closing(httpx.Client(base_url=self.url, headers=headers, timeout=60)))
        return Program(shape(self.client), http, about)

    def trees(self, name: str) -> list[list[tuple[str, str | None]]]:
        """Of each conversation every message's words, with those of the one it answers to."""
        person = self.people[name]
        found = [person.messages(one["conversation_id"]) for one in person.conversations()]
        return [_tree(messages) for messages in found]


def _tree(messages: list[dict[str, Any]]) -> list[tuple[str, str | None]]:
    texts = {message["message_id"]: message["text"] for message in messages}
    return [(message["text"], texts.get(message["parent_id"])) for message in messages]


@pytest.fixture(params=CLIENTS)
def house(request: pytest.FixtureRequest, running: Installation, meet: Meet) -> Iterator[House]:
    client: str = request.param
    names = {person: f"{person}-{client}" for person in SECRETS}
    with ExitStack() as stack:
        people = {person: meet(running, name) for person, name in names.items()}
        if client == "llm":
            keys = {person: running.key(name) for person, name in names.items()}
        else:
            keys = dict.fromkeys(names, gateway_key(running, client, names))
        yield House(client, running.url, keys, people, stack)


def gateway_key(running: Installation, client: str, names: dict[str, str]) -> str:
    """One key for all users of a client, each of whom is mapped to an account."""
    running.run("users", "create", "gate", "--role", "admin", "--no-password")
    made = json.loads(
        running.mongars(
            *("keys", "create", "--user", "gate", "--name", client, "--memory", "read-write"),
            *("--scope", "on-behalf-of", "--json"),
        )
    )
    for person, name in names.items():
        running.mongars("keys", "map", made["key_id"], f"w-{person}", "--user", name)
    mapped = json.loads(running.mongars("keys", "maps", made["key_id"], "--json"))
    assert {one["name"] for one in mapped} == set(names.values())
    return str(made["key"])


def test_two_users_of_a_client_have_a_conversation_each_and_nothing_twice(house: House) -> None:
    programs = {name: house.program(name) for name in SECRETS}
    for name, program in programs.items():
        program.say(f"My locker code is {SECRETS[name]} forty-two.")
    for number in range(1, TURNS):
        for name, program in programs.items():
            program.say(f"Turn {number} of {name}: tell me something.")
    for name, program in programs.items():
        (tree,) = house.trees(name)
        assert [text for text, _ in tree] == [message["content"] for message in program.said]
        assert [before for _, before in tree] == [None, *(text for text, _ in tree[:-1])]

    check_branches(house, programs["ada"])
    check_tasks(house, programs["bo"])
    check_memories(house, programs)


def check_branches(house: House, program: Program) -> None:
    """Another answer, and another question, hang where the history parted; what both share is kept once."""
    question, before = program.said[-2]["content"], program.said[-3]["content"]
    program.again()
    program.edit("In other words: what was it?")
    (tree,) = house.trees("ada")
    texts = Counter(text for text, _ in tree)
    assert texts[question] == 1
    assert ("In other words: what was it?", before) in tree
    program.said = program.said[-4:]  # the program sends only the newest from here on
    program.say("And without the beginning?")
    (tree,) = house.trees("ada")
    assert tree[-2] == ("And without the beginning?", program.said[-3]["content"])


def check_tasks(house: House, program: Program) -> None:
    """Titles and the like are answered, and nothing of them is kept."""
    before = house.trees("bo")
    for name in program.shape.tasks:
        if name == "title (structured)":
            continue  # a language model's alone: it asks for a schema
        told = program.task(name)
        assert told, name
        if name in ("title", "tags", "queries", "follow_ups"):
            assert name in json.loads(told)
    assert house.trees("bo") == before


def check_memories(house: House, programs: dict[str, Program]) -> None:
    """Each is told their own, and never the other's."""
    for name, other in (("ada", "bo"), ("bo", "ada")):
        told = house.program(name).say("What is my locker code?")
        assert SECRETS[name] in told
        everything = json.dumps([programs[name].said, house.trees(name)])
        assert SECRETS[other] not in told + everything
    assert [len(house.trees(name)) for name in SECRETS] == [2, 2]


def test_whom_nobody_mapped_is_answered_with_nobody_s_memory(running: Installation, meet: Meet) -> None:
    gate = meet(running, "gate-owner")
    running.run("users", "create", "gate", "--role", "admin", "--no-password")
    owner = meet(running, "gate")
    owner.say("My locker code is crimson forty-two.")
    kept = len(owner.conversations())
    made = json.loads(
        running.mongars(
            *("keys", "create", "--user", "gate", "--name", "open", "--memory", "read-write"),
            *("--scope", "on-behalf-of", "--json"),
        )
    )
    headers = {"authorization": f"Bearer {made['key']}"}
    with httpx.Client(base_url=running.url, headers=headers, timeout=60) as http:
        stranger = Program(
            shape("open_webui"), http, {"user_id": "w-x", "user_name": "gate", "user_email": "x@y.example"}
        )
        assert "crimson" not in stranger.say("What is my locker code?")
        stranger.say("I told you nothing.")
        assert len(owner.conversations()) == kept
        for path in ("/api/v1/conversations", "/api/v1/memories?q=locker", "/api/v1/users/me"):
            assert http.get(path).status_code == 403, path
        assert http.get("/v1/models").is_success
        running.mongars("keys", "map", made["key_id"], "X@Y.example", "--user", "gate-owner")
        stranger.say("My bicycle is green.")
        assert len(gate.conversations()) == 1
        running.mongars("keys", "unmap", made["key_id"], "x@y.example")
        stranger.say("And my car is grey.")
        (one,) = gate.conversations()
        assert gate.messages(one["conversation_id"])[0]["text"] == "My bicycle is green."
        assert one["messages"] == 2
