"""The acceptance programs, which know only HTTP and NATS, against real installations with a real language model."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.person import Meet, Person
from tests.support.installation import ROOT, Installation, installation

ACCEPT = Path(os.environ.get("MONGARS_ACCEPT", ROOT.parent / "shared" / "accept"))
SERVICES = "api,cognition,persistence,scheduler,inference,trainer,optimizer"
LOADED_WITHIN_S = 120.0


def wait_for_model(installed: Installation, name: str, meet: Meet) -> Person:
    """Somebody who sees the model in the list; models are loaded after the installation is ready."""
    person = meet(installed, "accept")
    seen = installed.wait_until(lambda: name in [m["id"] for m in person.models()], LOADED_WITHIN_S)
    assert seen, f"{name} is not served: {person.models()}\n{installed.log('inference')[-3000:]}"
    return person


@pytest.fixture(scope="module")
def by_ray(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """The model served by ``transformers`` in a Ray Serve replica."""
    spec = {"name": "tiny", "backend": "transformers", "path": str(models / "tiny")}
    environment = {"MONGARS_INFERENCE_RUNTIME": "ray", "MONGARS_MODELS": json.dumps([spec])}
    with installation(tmp_path_factory.mktemp("ray") / "state", environment) as made:
        made.up()
        yield made


@pytest.fixture(scope="module")
def by_llama_cpp(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """The model as a GGUF that somebody put into the models folder."""
    with installation(tmp_path_factory.mktemp("llama") / "state") as made:
        made.up()
        made.down()
        shutil.copy(models / "tiny.gguf", made.state / "models" / "tiny.gguf")
        made.up()
        yield made


def passes(program: str, installed: Installation, *arguments: str) -> None:
    """Runs one acceptance program as its README says."""
    if not ACCEPT.is_dir():
        missing = f"the acceptance programs are not at {ACCEPT}; MONGARS_ACCEPT names their folder"
        if "CI" in os.environ or "MONGARS_ACCEPT" in os.environ:
            pytest.fail(missing)
        pytest.skip(missing)
    status = installed.status()
    environment = os.environ | {
        "MONGARS_URL": status["http"],
        "MONGARS_API_KEY": installed.key("accept"),
        "MONGARS_NATS_URL": status["nats"]["url"],
        "MONGARS_NATS_NKEY": status["nats"]["operator_nkey"],
    }
    command = [sys.executable, str(ACCEPT / program), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith("PASS")


def tokens_come_one_by_one(person: Person) -> None:
    pieces = [
        chunk["choices"][0]["delta"].get("content")
        for chunk in person.stream("Tell me of the sea.", model="tiny", max_tokens=12, store=False)
        if chunk["choices"]
    ]
    assert len([piece for piece in pieces if piece]) >= 4


@pytest.mark.torch
@pytest.mark.ray
def test_the_official_client_is_answered_through_ray_serve(by_ray: Installation, meet: Meet) -> None:
    person = wait_for_model(by_ray, "tiny", meet)
    passes("openai_client.py", by_ray)
    tokens_come_one_by_one(person)


@pytest.mark.torch
@pytest.mark.ray
def test_the_nats_command_sees_every_service_and_node_with_ray(by_ray: Installation, meet: Meet) -> None:
    by_ray.wait_whole()
    passes("nats_ops.py", by_ray, "--services", SERVICES)


@pytest.mark.alone
@pytest.mark.torch
@pytest.mark.ray
def test_a_killed_inference_serves_again_through_ray_within_twenty_seconds(by_ray: Installation, meet: Meet) -> None:
    person = wait_for_model(by_ray, "tiny", meet)
    took = by_ray.kill_and_wait("inference", timeout_s=60)
    assert person.say("Are you there?", model="tiny").text
    assert took <= 20.0


@pytest.mark.torch
def test_the_official_client_is_answered_through_llama_cpp(by_llama_cpp: Installation, meet: Meet) -> None:
    person = wait_for_model(by_llama_cpp, "tiny", meet)
    passes("openai_client.py", by_llama_cpp)
    tokens_come_one_by_one(person)


def test_the_official_client_is_answered_without_a_language_model(running: Installation, meet: Meet) -> None:
    passes("openai_client.py", running)
    passes("nats_ops.py", running, "--services", SERVICES)


@pytest.mark.torch
def test_a_broken_model_file_is_named_and_the_rest_goes_on(
    make_installation: Callable[..., Installation], meet: Meet, models: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(64))
    paths = {"broken": broken, "tiny": models / "tiny.gguf"}
    specs = [{"name": name, "backend": "llama_cpp", "path": str(path)} for name, path in paths.items()]
    made = make_installation(MONGARS_MODELS=json.dumps(specs))
    made.up()
    person = wait_for_model(made, "tiny", meet)
    assert person.say("Hello?", model="tiny").degraded is None
    assert any("broken" in word for word in made.status()["degraded"])
    refused = person.http.post("/v1/chat/completions", json=person.request("Hello?", model="broken"))
    assert refused.status_code == 404
    assert refused.json()["error"]["code"] == "model_not_found"


def small_conversation() -> dict[str, Any]:
    """Two people over some weeks in the recall program's format, with questions and where their answers stand."""
    said = [
        ("9:00 am on 3 May, 2023", "Nora", "I adopted a grey cat named Biscuit from the shelter."),
        ("", "Paul", "Lovely! My bakery opens on Saturday, finally."),
        ("", "Nora", "I will come for the rye bread."),
        ("7:30 pm on 12 June, 2023", "Paul", "The oven broke, and the repair took four days."),
        ("", "Nora", "We drove to Tadoussac to watch the whales."),
        ("", "Paul", "My daughter Inès started to play the cello."),
        ("1:15 pm on 2 July, 2023", "Nora", "Biscuit caught his first mouse in the barn."),
        ("", "Paul", "I am learning Portuguese for the trip to Lisbon."),
    ]
    sessions: list[dict[str, Any]] = []
    for place, (at, speaker, text) in enumerate(said):
        if at:
            sessions.append({"at": at, "turns": []})
        sessions[-1]["turns"].append({"id": f"D{len(sessions)}:{place}", "speaker": speaker, "text": text})
    asked = [
        ("What is the name of Nora's cat?", "D1:0", 4),
        ("What does Paul open?", "D1:1", 4),
        ("Where did Nora watch whales?", "D2:4", 4),
        ("Which instrument does Inès play?", "D2:5", 4),
        ("Which language is Paul learning?", "D3:7", 4),
        ("When did the oven break?", "D2:3", 2),
    ]
    qa = [{"question": question, "evidence": [turn], "category": kind} for question, turn, kind in asked]
    return {"conversation": "small", "sessions": sessions, "qa": qa}


def test_a_small_conversation_is_recalled_by_the_recall_program(running: Installation, tmp_path: Path) -> None:
    file = tmp_path / "small.json"
    file.write_text(json.dumps(small_conversation()))
    passes("locomo_recall.py", running, str(file), "--k", "3", "--floor", "0.8")
