"""What somebody tells the assistant: remembered across restarts, told to nobody else, gone when deleted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.person import Meet
from tests.support.installation import Installation

FACT = "My sister Odile moved to Chicoutimi in May, and keeps bees there."
QUESTION = "Where does Odile live now?"


def test_a_fact_outlives_a_restart_and_is_quoted_to_its_owner_alone(
    make_installation: Callable[..., Installation], meet: Meet
) -> None:
    made = make_installation()
    made.up()
    ada_key, bob_key = made.key("ada"), made.key("bob")
    ada = meet(made, key=ada_key)
    told = ada.say(FACT)
    made.down()
    made.up()

    ada, bob = meet(made, key=ada_key), meet(made, key=bob_key)
    asked = ada.say(QUESTION, explain=True)

    assert asked.conversation_id != told.conversation_id
    assert asked.degraded == "no-model"
    assert "Chicoutimi" in asked.text
    assert FACT in asked.recalled
    other = bob.say(QUESTION, explain=True)
    assert "Chicoutimi" not in other.text
    assert other.recalled == []
    assert bob.conversations()[0]["conversation_id"] == other.conversation_id
    assert bob.http.get(f"/api/v1/conversations/{told.conversation_id}").status_code == 404


@pytest.mark.torch
def test_a_fact_outlives_a_restart_and_stands_in_the_models_prompt(
    make_installation: Callable[..., Installation], meet: Meet, models: Path
) -> None:
    spec = {"name": "tiny", "backend": "llama_cpp", "path": str(models / "tiny.gguf")}
    made = make_installation(MONGARS_MODELS=json.dumps([spec]))
    made.up()
    key = made.key("ada")
    ada = meet(made, key=key)
    assert made.wait_until(lambda: "tiny" in [m["id"] for m in ada.models()], 60)
    ada.say(FACT)
    made.down()
    made.up()

    ada = meet(made, key=key)
    assert made.wait_until(lambda: "tiny" in [m["id"] for m in ada.models()], 60)
    asked = ada.say(QUESTION, explain=True)

    assert asked.degraded is None
    prompt = asked.body["mongars"]["prompt"]
    assert any("Chicoutimi" in str(message["content"]) for message in prompt)
    assert prompt[-1]["content"].endswith(f"</memories>\n\n{QUESTION}")


def test_a_conversation_goes_on_where_it_was(running: Installation, meet: Meet) -> None:
    ada = meet(running, "continuing")
    first = ada.say("The boat is called Perdrix.")
    ada.say("It leaks.", conversation_id=first.conversation_id)

    said = [m["text"] for m in ada.messages(first.conversation_id) if m["speaker"] == "user"]

    assert said == ["The boat is called Perdrix.", "It leaks."]
    assert len(ada.conversations()) == 1


def test_what_is_not_to_be_stored_is_neither_kept_nor_recalled(running: Installation, meet: Meet) -> None:
    person = meet(running, "private")
    person.say("The safe's number is nine hundred and twelve.", store=False)
    assert person.conversations() == []
    person.say("The parrot is called Fernand.")
    asked = person.say("What is the parrot called?", store=False, explain=True)
    assert asked.recalled == []
    assert "Fernand" not in asked.text


def test_a_key_without_memory_neither_keeps_nor_recalls(running: Installation, meet: Meet) -> None:
    writer = meet(running, "keyed")
    writer.say("The tent is in the attic.")
    reader = meet(running, "keyed", memory="read")
    forgetful = meet(running, "keyed", memory="off")
    kept = len(writer.conversations())

    assert "attic" in reader.say("Where is the tent?").text
    assert "attic" not in forgetful.say("Where is the tent?").text
    assert len(writer.conversations()) == kept


def test_a_deleted_conversation_is_neither_found_nor_quoted(running: Installation, meet: Meet) -> None:
    person = meet(running, "forgetting")
    told = person.say("My locker has the code xylophone.")
    assert "xylophone" in person.say("What is the code of my locker?").text

    for conversation in person.conversations():
        gone = person.http.delete(f"/api/v1/conversations/{conversation['conversation_id']}")
        assert gone.status_code == 200
        assert gone.json()["removed"]["data_keys"] >= 1

    asked = person.say("What is the code of my locker?", explain=True)
    assert asked.recalled == []
    assert person.http.get(f"/api/v1/conversations/{told.conversation_id}").status_code == 404
