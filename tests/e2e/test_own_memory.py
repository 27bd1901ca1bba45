"""A memory in its owner's hands: imported, searched, edited, exported, forgotten, over HTTP and from the shell."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from libs.shared.receipts import verify
from tests.e2e.person import Meet, Person
from tests.support.installation import Installation
from tests.unit.api.exported import chatgpt, chatgpt_message, claude, zipped

IMPORT = "/api/v1/memories/import"
WATCHED_WITHIN_S = 20.0


def turn(number: int, text: str, **more: Any) -> dict[str, Any]:
    at = (datetime(2024, 5, 1, tzinfo=UTC) + timedelta(minutes=number)).isoformat()
    return {"id": f"t/{number}", "conversation_id": "été 1", "speaker": "Odile", "text": text, "at": at, **more}


def found(person: Person, question: str, **more: Any) -> list[dict[str, Any]]:
    answer = person.http.get("/api/v1/memories", params={"q": question, **more})
    answer.raise_for_status()
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


def listed(person: Person, **what: Any) -> list[dict[str, Any]]:
    answer = person.http.get("/api/v1/memories", params={"limit": 500, **what})
    answer.raise_for_status()
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


def test_what_is_imported_is_found_at_once_in_both_languages(running: Installation, meet: Meet) -> None:
    person = meet(running, "importing")
    turns = [
        turn(1, "Les ruches sont derrière l'érable, près du ruisseau. 🐝"),
        turn(2, "The canoe is called Perdrix and leaks."),
        turn(3, "Мы купили самовар в Казани."),
    ]
    first = person.http.post(IMPORT, json={"turns": turns})
    assert first.json() == {"imported": 3, "present": 0, "degraded": None}
    assert found(person, "Où sont les ruches d'Odile?")[0]["source_id"] == "t/1"
    assert found(person, "What is the canoe's name?")[0]["source_id"] == "t/2"
    assert found(person, "самовар")[0]["source_id"] == "t/3"
    explained = found(person, "canoe", explain="true", k=1)[0]
    assert explained["parts"]
    overlapping = person.http.post(IMPORT, json={"turns": [*turns, turn(4, "It was mended in June.")]})
    assert overlapping.json() == {"imported": 1, "present": 3, "degraded": None}
    assert len(listed(person, kind="message")) == 4
    conversation = person.http.get("/api/v1/conversations/été 1").json()
    assert [m["text"] for m in conversation["messages"]][-1] == "It was mended in June."


BAD: tuple[dict[str, Any], ...] = (
    turn(2, "x" * 1_000_000),
    turn(2, "   "),
    turn(2, "ok", at=(datetime.now(UTC) + timedelta(days=3)).isoformat()),
    turn(2, "ok", at="1066-10-14T09:00:00Z"),
    turn(2, "ok", at="yesterday"),
    turn(2, "ok", speaker=""),
    turn(1, "another text under the id of the first"),
)


@pytest.mark.parametrize("bad", BAD, ids=["large", "blank", "future", "old", "word", "nobody", "twice"])
def test_a_bad_turn_is_named_and_nothing_is_half_imported(
    running: Installation, meet: Meet, bad: dict[str, Any]
) -> None:
    person = meet(running, "careless")
    refused = person.http.post(IMPORT, json={"turns": [turn(1, "good"), bad, turn(3, "good, too")]})
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")
    assert refused.json()["detail"].startswith(f"turn 2 ({bad['id']!r}): ")
    assert listed(person) == []


def test_archives_of_others_are_imported_once(running: Installation, meet: Meet, tmp_path: Path) -> None:
    key = running.key("moving")
    person = meet(running, key=key)
    talk = chatgpt(chatgpt_message("m1", "user", "Ma sœur Odile élève des abeilles à Chicoutimi."), title="Famille")
    archives = {"chatgpt.zip": zipped([talk]), "claude.zip": zipped([claude(("human", "My boat is called Perdrix."))])}
    for _ in range(2):
        for name, content in archives.items():
            (tmp_path / name).write_bytes(content)
            running.mongars("memory", "import", str(tmp_path / name), "--user", "moving")
    assert len(listed(person, kind="message")) == 2
    assert "Chicoutimi" in found(person, "Où vit ma sœur?")[0]["text"]
    assert {c["title"] for c in person.conversations()} == {"Famille", "Voyage"}
    (tmp_path / "no.zip").write_bytes(archives["claude.zip"][:-20])
    refused = running.run("memory", "import", str(tmp_path / "no.zip"), "--user", "moving")
    assert (refused.returncode, "archive" in refused.stderr) == (5, True)
    assert len(listed(person, kind="message")) == 2


def test_an_export_moves_a_memory_to_somebody_else_and_doubles_nothing_at_home(
    running: Installation, meet: Meet, tmp_path: Path
) -> None:
    person = meet(running, "leaving")
    person.say("The parrot is called Fernand.")
    person.http.post(IMPORT, json={"turns": [turn(1, "Les ruches sont derrière l'érable.")]})
    running.mongars("memory", "add", "Le coffre est derrière « la toile » 🎨", "--pin", "--user", "leaving")
    folder = tmp_path / "papers"
    folder.mkdir()
    (folder / "lease.md").write_text("# Lease\n\nThe rent is due on the third.\n")
    running.mongars("documents", "add", str(folder), "--user", "leaving")
    file = tmp_path / "memory.json"
    running.mongars("memory", "export", "--output", str(file), "--user", "leaving")

    before = sorted(item["id"] for item in listed(person))
    running.mongars("memory", "import", str(file), "--user", "leaving")
    assert sorted(item["id"] for item in listed(person)) == before

    running.mongars("memory", "import", str(file), "--user", "arrived")
    other = meet(running, "arrived")
    assert {i["text"] for i in listed(other)} == {i["text"] for i in listed(person)}
    assert listed(other, kind="note")[0]["pinned"]
    assert found(other, "When is the rent due?")[0]["title"] == "papers/lease.md"
    markdown = running.mongars("memory", "export", "--format", "markdown", "--user", "arrived")
    assert "Fernand" in markdown
    assert "« la toile » 🎨" in markdown


def test_what_is_edited_or_forgotten_is_found_no_more_and_the_receipt_is_genuine(
    running: Installation, meet: Meet, tmp_path: Path
) -> None:
    person = meet(running, "correcting")
    kept = json.loads(running.mongars("memory", "add", "The code is xylophone", "--user", "correcting", "--json"))
    running.mongars("memory", "edit", kept["id"], "--text", "The code is trombone", "--user", "correcting")
    (item,) = found(person, "What is the code?")
    assert item["text"] == "The code is trombone"
    running.mongars("memory", "forget", kept["id"], "--user", "correcting")
    assert found(person, "What is the code?") == []
    (receipt,) = person.http.get("/api/v1/receipts").json()["receipts"]
    assert (receipt["scope"], receipt["subject_id"]) == ("memory", kept["id"])
    assert verify(receipt)
    assert not verify(receipt | {"subject_id": "another"})
    file = tmp_path / "receipts.json"
    file.write_text(running.mongars("memory", "receipts", "--user", "correcting", "--json"))
    assert "genuine" in running.mongars("memory", "verify", str(file), "--key", receipt["key"])
    file.write_text(file.read_text().replace(receipt["subject_id"], "f" * 32))
    assert running.run("memory", "verify", str(file)).returncode == 5


def test_everything_is_forgotten_and_the_account_stays(running: Installation, meet: Meet) -> None:
    person = meet(running, "starting-over")
    person.say("My locker has the code xylophone.")
    person.http.post(IMPORT, json={"turns": [turn(1, "The spare key is under the pot.")]})
    assert running.run("memory", "forget", "--everything", "--user", "starting-over").returncode == 2
    assert len(listed(person)) >= 2
    running.mongars("memory", "forget", "--everything", "--yes", "--user", "starting-over")
    assert (listed(person), person.conversations()) == ([], [])
    assert person.say("What is the code of my locker?", explain=True).recalled == []


def test_a_conversation_that_is_not_remembered_is_kept_and_not_recalled(running: Installation, meet: Meet) -> None:
    person = meet(running, "discreet")
    told = person.say("The present for Zoé is a kayak.", remember=False)
    assert person.say("What is the present for Zoé?", explain=True).recalled == []
    (heading,) = [c for c in person.conversations() if c["conversation_id"] == told.conversation_id]
    assert heading["remembered"] is False
    path = f"/api/v1/conversations/{told.conversation_id}"
    assert person.http.patch(path, json={"remembered": True}).json()["remembered"] is True
    assert running.wait_until(lambda: "kayak" in str(found(person, "present for Zoé", k=1)), WATCHED_WITHIN_S)
    assert person.http.patch(path, json={"remembered": False}).status_code == 200
    assert told.conversation_id not in {i["conversation_id"] for i in found(person, "present for Zoé")}


def test_a_watched_folder_is_followed_over_a_restart_of_the_gateway(
    make_installation: Callable[..., Installation], meet: Meet, tmp_path: Path
) -> None:
    made = make_installation()
    made.up()
    person = meet(made, "watching")
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "bees.md").write_text("The hive stands under the plum tree.")
    (folder / "photo.png").write_bytes(b"\x89PNG")

    def names() -> set[str]:
        return {d["name"] for d in person.http.get("/api/v1/documents").json()["documents"]}

    command = made.command("documents", "add", str(folder), "--watch", "--forget-removed", "--user", "watching")
    with subprocess.Popen(command, env=made.shell, stderr=subprocess.PIPE, text=True) as watching:
        try:
            assert made.wait_until(lambda: names() == {"notes/bees.md"}, WATCHED_WITHIN_S)
            (folder / "boat.txt").write_text("The canoe is called Perdrix.")
            assert made.wait_until(lambda: "notes/boat.txt" in names(), WATCHED_WITHIN_S)
            made.kill_and_wait("api")
            (folder / "bees.md").write_text("The hive stands under the cherry tree.")
            (folder / "boat.txt").unlink()
            assert made.wait_until(lambda: names() == {"notes/bees.md"}, WATCHED_WITHIN_S)
            cherry = made.wait_until(lambda: "cherry" in str(found(person, "Where does the hive stand?")), 20)
            assert cherry
        finally:
            watching.send_signal(signal.SIGINT)
            _, said = watching.communicate(timeout=30)
    assert watching.returncode == 0, said
    assert said.count(".png") == 1
    assert "plum" not in str(listed(person))
