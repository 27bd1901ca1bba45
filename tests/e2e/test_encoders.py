"""An encoder that was trained here: fetched by the node, put to use, found by, rolled back and removed; no restart."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.person import Meet, Person
from tests.e2e.test_embedders import BUILT_IN, NOTES, check_found, listed, search
from tests.e2e.test_training import story
from tests.support.installation import Installation

pytestmark = [pytest.mark.soak, pytest.mark.torch]
OPTIONS = (
    "--steps",
    "40",
    "--batch",
    "4",
    "--block-tokens",
    "32",
    "--learning-rate",
    "0.004",
    "--checkpoint-steps",
    "20",
)
CONTRAST = ("--contrast-steps", "20", "--contrast-batch", "8", "--sentence-tokens", "16")
WAIT_S = 300.0
TAKEN_OVER = "embedder_taken_over"


class Here:
    """An installation in which an encoder was trained, and somebody who remembers things in it."""

    def __init__(self, made: Installation, person: Person, name: str) -> None:
        self.made, self.person, self.name = made, person, name

    def row(self) -> dict[str, Any]:
        return listed(self.made)[self.name]

    def changed_over(self, times: int, since: datetime) -> float:
        """Seconds until every memory had vectors of what was chosen ``since``."""
        assert self.made.wait_until(lambda: len(told_at(self.made, "persistence", TAKEN_OVER)) >= times, WAIT_S)
        return (told_at(self.made, "persistence", TAKEN_OVER)[times - 1] - since).total_seconds()

    def finds_by_meaning(self) -> bool:
        found = search(self.person)
        check_found(found)
        return "meaning" in found["items"][0]["parts"]


def told_at(made: Installation, part: str, event: str) -> list[datetime]:
    """When a part logged it."""
    lines = [line for line in made.log(part).splitlines() if f'"{event}"' in line]
    return [datetime.fromisoformat(json.loads(line)["at"]) for line in lines]


def trained(made: Installation, text: Path) -> tuple[str, dict[str, Any]]:
    """The encoder's name, and its run."""
    run = json.loads(
        made.mongars("train", "mntp", "--model", "tiny", "--text", str(text), *OPTIONS, *CONTRAST, "--json")
    )
    assert run["state"] == "done", run
    return run["artefact"], run


@pytest.mark.timeout(1800)  # beside other work a run of the lowest priority takes its time
def test_an_encoder_is_trained_fetched_put_to_use_found_by_and_rolled_back(
    make_installation: Callable[..., Installation], models: Path, meet: Meet, tmp_path: Path
) -> None:
    made = make_installation(MONGARS_TRAINING_THREADS="1", MONGARS_HOUSEKEEPING_INTERVAL_S="0.5")
    made.up()
    made.wait_whole()
    shutil.copytree(models / "tiny", made.state / "models" / "tiny")
    name, run = trained(made, story(tmp_path))
    assert made.wait_until(lambda: listed(made).get(name, {}).get("served", False), WAIT_S), listed(made)
    (done,), (found,) = told_at(made, "trainer", "training_ended"), told_at(made, "inference", "embedder_found")
    print(f"\nits graph was ready {(found - done).total_seconds():.1f} s after its run was done")
    here = Here(made, meet(made, "ada"), name)
    told = here.row()["trained"]
    assert (told["run"], told["base"], told["nodes"] != []) == (run["run_id"], "tiny", True)
    assert name not in {one["name"] for one in json.loads(made.mongars("models", "adapters", "list", "--json"))}

    for note in NOTES:
        here.person.http.post("/api/v1/memories", json={"text": note}).raise_for_status()
    check_found(search(here.person))
    assert made.wait_until(here.finds_by_meaning, WAIT_S)
    refused = made.run("embedders", "use", name)
    assert (refused.returncode, "--despite-verdict" in refused.stderr) == (5, True), refused.stderr
    begun = datetime.now(UTC)
    used = json.loads(made.mongars("embedders", "use", name, "--despite-verdict", "--json"))
    assert used["embedder"] == f"{name}@{here.row()['version']}"
    print(f"\n{len(NOTES)} memories changed over {here.changed_over(1, begun):.1f} s after the command began")
    assert made.wait_until(here.finds_by_meaning, WAIT_S), "its vectors are compared"
    assert here.row()["used"]
    assert made.run("embedders", "rm", name).returncode == 5, "it is in use"

    back = json.loads(made.mongars("embedders", "rollback", name, "--json"))
    assert [change["before"].partition("@")[0] for change in back["changes"]] == [BUILT_IN]
    rolled = datetime.fromisoformat(back["changes"][0]["decided"]["at"])
    print(f"\n{len(NOTES)} memories changed back {here.changed_over(2, rolled):.1f} s after the roll-back was decided")
    assert made.wait_until(here.finds_by_meaning, WAIT_S)
    assert listed(made)[BUILT_IN]["used"]
    made.mongars("embedders", "rm", name)
    folder = made.state / "models" / "embedders" / name
    assert made.wait_until(lambda: name not in listed(made) and not folder.exists(), WAIT_S)
