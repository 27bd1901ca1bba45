"""Training at home through the command and over HTTP: refused with reasons, or done while everything goes on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.e2e.person import Answer, Meet, Person, log_in_first
from tests.support import adapters, language_model
from tests.support.installation import Installation
from tests.support.language_model import SENTENCES
from tests.support.rated_pairs import write_pairs_that_it_gets_wrong

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
    ran = running.run("train", "adapter", "--model", "nobody", "--name", "ada")
    assert (ran.returncode, "there is no Hugging Face folder nobody" in ran.stderr) == (5, True), ran.stderr
    ran = running.run("train", "adapter", "--model", "nobody", "--name", "../ada")
    assert (ran.returncode, "adapter.name" in ran.stderr) == (2, True), ran.stderr
    assert json.loads(running.mongars("train", "status", "--json")) == []


def test_what_happens_to_an_adapter_is_told_live_to_those_who_may_see_it(running: Installation, tmp_path: Path) -> None:
    keys = {
        "admin": running.mongars("keys", "create", "--user", "admin", "--name", "e", "--scope", "admin").strip(),
        "reader": running.key("reader"),
    }
    folder = adapters.write_gguf(tmp_path, "live", seed=0)
    with ExitStack() as stack:
        told = {name: stack.enter_context(live_events(running.url, key)) for name, key in keys.items()}
        running.mongars("models", "adapters", "import", str(folder), "--only-for", "admin")
        assert next(told["admin"]) == {"adapter": "live", "change": "kept", "role": None, "share": None}
        running.mongars("models", "adapters", "promote", "live")
        assert next(told["admin"]) == {"adapter": "live", "change": "promoted", "role": "chat", "share": 1.0}
        running.mongars("models", "adapters", "rollback", "live")
        assert next(told["admin"])["change"] == "rolled_back"
        running.mongars("models", "adapters", "rm", "live")
        assert next(told["admin"])["change"] == "removed"
        everybodys = adapters.write_gguf(tmp_path, "everybodys", seed=1)
        running.mongars("models", "adapters", "import", str(everybodys))
        assert next(told["reader"])["adapter"] == "everybodys", "the first that isn't another's alone"
        running.mongars("models", "adapters", "rm", "everybodys")


@contextmanager
def live_events(url: str, key: str) -> Iterator[Iterator[dict[str, Any]]]:
    """What each event of an adapter says, from now on; an installation may begin to sleep beside it."""
    with httpx.stream("GET", f"{url}/api/v1/events", headers={"authorization": f"Bearer {key}"}, timeout=60) as told:
        lines = told.iter_lines()
        assert next(lines).startswith("retry")
        yield of_adapters(lines)


def of_adapters(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    kind = ""
    for line in lines:
        if line.startswith("event: "):
            kind = line.removeprefix("event: ")
        elif line.startswith("data: ") and kind == "adapter.changed":
            yield json.loads(line.removeprefix("data: "))


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


PEOPLE = ("sister", "brother", "mother", "father", "cousin", "uncle", "aunt", "friend", "dog", "cat")
LEARN = (
    "--passes",
    "12",
    "--batch",
    "4",
    "--rank",
    "4",
    "--learning-rate",
    "0.005",
    "--rated-up",
    "--owner",
    "teacher",
)
TINY = json.dumps(
    [{"name": "tiny", "backend": "llama_cpp", "path": str(language_model.cached() / language_model.GGUF_FILE)}]
)
WAIT_S = 240.0


@pytest.mark.soak
@pytest.mark.torch
@pytest.mark.timeout(1200)  # beside other work a run of the lowest priority takes its time
def test_ten_answers_that_were_rated_make_an_adapter_that_answers_is_tainted_and_rolled_back(
    make_installation: Callable[..., Installation], meet: Meet
) -> None:
    made, teacher = with_a_model(make_installation, meet)
    asked = ("train", "adapter", "--model", "tiny", "--name", "ada", *LEARN)
    refused = made.run(*asked)
    assert refused.returncode == 5, refused.stderr
    assert "nothing that was said may be trained on" in refused.stderr

    said = [teach(teacher, who) for who in PEOPLE]
    run = json.loads(made.mongars(*asked, "--json"))
    print(f"\n{run['detail']}")
    assert (run["state"], run["artefact"]) == ("done", "ada"), run
    assert run["metrics"]["held_out_gain_low"] > 0
    check_that_no_word_is_left(made, run["run_id"], "near the lake")
    taken = made.run(*asked)
    assert (taken.returncode, "there is, or was, another adapter ada" in taken.stderr) == (5, True), taken.stderr

    def listed() -> dict[str, Any]:
        (one,) = json.loads(made.mongars("models", "adapters", "list", "--json"))
        found: dict[str, Any] = one
        return found

    def answers(model: str, person: Person = teacher) -> Callable[[], bool]:
        return lambda: person.say("where is it", store=False, temperature=0, max_tokens=4).body["model"] == model

    assert made.wait_until(lambda: bool(listed()["nodes"]), WAIT_S)
    assert (listed()["restricted"], listed()["tainted"]) == (True, False)
    made.mongars("models", "adapters", "promote", "ada")
    assert made.wait_until(answers("tiny:ada"), WAIT_S)
    check_that_others_use_it_while_it_is_shared(teacher, answers, meet(made, "stranger"))

    teacher.http.delete(f"/api/v1/conversations/{said[0].conversation_id}").raise_for_status()
    assert listed()["tainted"]
    assert "tainted" in made.mongars("models", "adapters", "list")
    key = f"Bearer {made.mongars('keys', 'create', '--user', 'admin', '--name', 'test', '--scope', 'admin').strip()}"
    with httpx.Client(base_url=made.url, headers={"authorization": key}, timeout=60) as admin:
        begun = time.monotonic()
        admin.post("/api/v1/adapters/ada/rollback").raise_for_status()
        assert made.wait_until(answers("tiny"), WAIT_S)
        print(f"\nrolled back, and answered by the model alone again, after {time.monotonic() - begun:.3f} s")


@pytest.mark.soak
@pytest.mark.torch
@pytest.mark.timeout(1800)
def test_a_run_whose_every_part_is_killed_makes_the_same_adapter_and_leaves_no_word(
    make_installation: Callable[..., Installation], meet: Meet
) -> None:
    made, teacher = with_a_model(make_installation, meet)
    for who in PEOPLE:
        teach(teacher, who)
    long = ("--passes", "400", "--batch", "4", "--rank", "4", "--learning-rate", "0.0005", "--checkpoint-steps", "5")
    made.wait_whole()

    def asked(name: str, *more: str) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(
            made.mongars("train", "adapter", "--model", "tiny", "--name", name, "--rated-up", *long, *more, "--json")
        )
        return told

    undisturbed = asked("ada")
    assert undisturbed["artefact"] == "ada", undisturbed
    run_id = asked("bea", "--detach")["run_id"]
    for kill in ("child", "trainer", "broker", "child"):
        assert made.wait_until(partial(moved_on, made, run_id, checkpointed(made, run_id)), WAIT_S)
        assert not ended(made, run_id), f"it ended before its {kill} could be killed"
        if kill == "child":
            os.kill(child_of(made, run_id), signal.SIGKILL)
        else:
            made.kill_and_wait(kill, 120)
    assert made.wait_until(lambda: ended(made, run_id), WAIT_S, every_s=1.0)
    killed = json.loads(made.mongars("train", "status", run_id, "--json"))
    assert killed["artefact"] == "bea", killed
    assert killed["metrics"] == undisturbed["metrics"]
    nodes = made.state / "models" / "adapters"
    weights = [nodes / name / "adapter_model.safetensors" for name in ("ada", "bea")]
    assert made.wait_until(lambda: all(path.is_file() for path in weights), WAIT_S)
    assert weights[0].read_bytes() == weights[1].read_bytes()
    for one in (undisturbed["run_id"], run_id):
        check_that_no_word_is_left(made, one, "near the lake")


def checkpointed(made: Installation, run_id: str) -> int:
    """When the run's newest checkpoint was written, in nanoseconds; 0: there is none."""
    folder = made.state / "training" / "runs" / run_id / "sft"
    times = []
    for path in folder.rglob("*.safetensors"):
        with suppress(FileNotFoundError):
            times.append(path.stat().st_mtime_ns)
    return max(times, default=0)


def moved_on(made: Installation, run_id: str, before: int) -> bool:
    """Whether there is a newer checkpoint than ``before``, or none any more."""
    return checkpointed(made, run_id) != before


def ended(made: Installation, run_id: str) -> bool:
    ran = made.run("train", "status", run_id, "--json")
    return ran.returncode == 0 and json.loads(ran.stdout)["state"] not in ("queued", "running")


def child_of(made: Installation, run_id: str) -> int:
    """The run's process."""
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if "services.trainer.child" in words and any(word.endswith(f"/runs/{run_id}") for word in words):
            return int(process.pid)
    raise AssertionError("the run has no process")


@pytest.mark.soak
@pytest.mark.torch
@pytest.mark.timeout(1200)  # beside other work a run of the lowest priority takes its time
def test_an_encoder_of_what_was_said_is_kept_measured_anew_and_used_as_its_last_evaluation_says(
    make_installation: Callable[..., Installation], meet: Meet, tmp_path: Path
) -> None:
    made, teacher = with_a_model(make_installation, meet)
    for who in PEOPLE:
        teach(teacher, who)
    asked = ("train", "mntp", "--model", "tiny", "--own", "--text", str(story(tmp_path)), *OPTIONS, *CONTRAST, "--json")
    alone = json.loads(made.run(*asked).stdout)
    assert alone["error"] == "adapter_not_allowed", alone
    teacher.http.patch("/api/v1/consents", json={"share_adapters": True}).raise_for_status()
    run = json.loads(made.mongars(*asked))
    print(f"\n{run['detail']}")
    assert (run["state"], "accepted" in run["metrics"]) == ("done", False), run
    check_that_no_word_is_left(made, run["run_id"], "near the lake", judged=False)
    name = run["artefact"]
    assert name in made.mongars("consents", "adapters", "--user", "teacher")
    unproven = made.run("embedders", "use", name)
    assert (unproven.returncode, f"train evaluate {name}" in unproven.stderr) == (5, True), unproven.stderr

    pairs = tmp_path / "pairs.tsv"
    write_pairs_that_it_gets_wrong(pairs)
    ran = made.run("train", "evaluate", name, "--sts", str(pairs), "--json")
    measured = json.loads(ran.stdout)
    print(f"\n{measured['detail']}")
    better = measured["metrics"]["accepted"] == 1.0
    assert (measured["state"], ran.returncode) == ("done", 0 if better else 5), ran.stderr
    assert made.run("embedders", "use", name).returncode == (0 if better else 5)


def with_a_model(make_installation: Callable[..., Installation], meet: Meet) -> tuple[Installation, Person]:
    """An installation that answers by the tiny model, which can be trained there; and who teaches it."""
    made = make_installation(MONGARS_TRAINING_THREADS="1", MONGARS_DEFAULT_CONTEXT_TOKENS="512", MONGARS_MODELS=TINY)
    made.up()
    shutil.copytree(language_model.cached() / language_model.FOLDER, made.state / "models" / "tiny")
    teacher = meet(made, "teacher")
    assert made.wait_until(lambda: "tiny" in {model["id"] for model in teacher.models()}, WAIT_S)
    return made, teacher


def teach(teacher: Person, who: str) -> Answer:
    """Asks, puts the answer right, rates what it says then, and allows its conversation to be trained on."""
    said = teacher.say(f"where does my {who} live", max_tokens=8)
    (answer,) = [one for one in teacher.messages(said.conversation_id) if one["speaker"] == "assistant"]
    right = f"your {who} lives in a small house near the lake, as you told me"
    for path, method, body in (
        (f"/api/v1/memories/{answer['message_id']}", "PATCH", {"text": right}),
        (f"/api/v1/ratings/{said.turn_id}", "PUT", {"thumb": "up"}),
        (f"/api/v1/consents/{said.conversation_id}", "PUT", {"allowed": True}),
    ):
        teacher.http.request(method, path, json=body).raise_for_status()
    return said


def check_that_others_use_it_while_it_is_shared(
    teacher: Person, answers: Callable[[str, Person], Callable[[], bool]], stranger: Person
) -> None:
    assert answers("tiny", stranger)()
    for shared, model in ((True, "tiny:ada"), (False, "tiny")):
        teacher.http.patch("/api/v1/consents", json={"share_adapters": shared}).raise_for_status()
        begun = time.monotonic()
        while not answers(model, stranger)():
            assert time.monotonic() - begun < WAIT_S
        print(
            f"\n{'shared' if shared else 'no longer shared'}, and so answered, after {time.monotonic() - begun:.3f} s"
        )


def check_that_no_word_is_left(made: Installation, run_id: str, word: str, *, judged: bool = True) -> None:
    """The run's folder has its card and its figures, and neither text nor weights."""
    folder = made.state / "training" / "runs" / run_id
    files = [path for path in folder.rglob("*") if path.is_file()]
    told = {"card.json", "loss.svg"} | ({"evaluation.json"} if judged else set())
    assert told <= {path.name for path in files}
    assert not [
        path for path in files if path.suffix in {".jsonl", ".safetensors", ".gguf"} and "progress" not in path.name
    ]
    assert not [path for path in files if word.encode() in path.read_bytes()]
