"""Training at home through the command and over HTTP: refused with reasons, or done while everything goes on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.person import Meet, log_in_first
from tests.support.installation import Installation
from tests.support.language_model import SENTENCES

OPTIONS = ("--steps", "400", "--batch", "4", "--block-tokens", "32", "--learning-rate", "0.004")
CONTRAST = ("--contrast-steps", "20", "--contrast-batch", "8", "--sentence-tokens", "16", "--checkpoint-steps", "20")


def story(folder: Path) -> Path:
    text = folder / "story.txt"
    lines = [f"{line.capitalize()}, {times} times." for times in range(8) for line in SENTENCES]
    text.write_text("\n".join(lines))
    return text


def test_what_can_not_be_trained_is_refused_with_the_reason(running: Installation, tmp_path: Path) -> None:
    ran = running.run("train", "mntp", "--model", "nobody", "--text", str(story(tmp_path)))
    assert ran.returncode == 5, ran.stderr
    assert "there is no Hugging Face folder nobody in models" in ran.stderr
    assert json.loads(running.mongars("train", "status", "--json")) == []


@pytest.mark.soak
@pytest.mark.torch
@pytest.mark.timeout(1200)  # beside other work a run of the lowest priority takes its time
def test_a_run_is_trained_while_people_chat_and_survives_a_kill_of_the_trainer(
    make_installation: Callable[..., Installation], models: Path, meet: Meet, tmp_path: Path
) -> None:
    made = make_installation(MONGARS_TRAINING_THREADS="1")
    made.up()
    made.wait_whole()
    shutil.copytree(models / "tiny", made.state / "models" / "tiny")
    asked = ("train", "mntp", "--model", "tiny", "--text", str(story(tmp_path)), *OPTIONS, *CONTRAST, "--detach")
    run_id = json.loads(made.mongars(*asked, "--json"))["run_id"]
    assert made.admin is not None
    with log_in_first(made.url, made.admin["name"], made.admin["one_time_password"]) as admin:

        def run() -> dict[str, object]:
            told: dict[str, object] = admin.get(f"/api/v1/training/runs/{run_id}").json()
            return told

        def learns() -> bool:
            progress = run()["progress"]
            return isinstance(progress, dict) and progress["phase"] == "mntp" and progress["step"] >= 30

        assert made.wait_until(learns, 300)
        person = meet(made, "chatty")
        assert person.say("Good morning.").text
        made.kill_and_wait("trainer", 60)
        made.wait_whole()
        assert made.wait_until(lambda: run()["state"] == "done", 600), run()
        assert [one["run_id"] for one in admin.get("/api/v1/training/runs").json()["runs"]] == [run_id]
        assert admin.post("/api/v1/training/runs", json={"model": "tiny", "text": "none.txt"}).status_code == 404
    assert (made.state / "training" / "runs" / run_id / "encoder" / "model.safetensors").is_file()
    assert "cat sat" not in made.log("trainer"), "no word of the text is logged"
    assert "mntp loss last" in made.mongars("train", "status", run_id)
