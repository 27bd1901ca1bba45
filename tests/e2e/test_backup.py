"""A backup of a busy installation, whose state folder is then lost: elsewhere every turn that was answered before the
cut lives again, once; what was forgotten since is nowhere; one changed byte is refused."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.e2e.person import Meet, Person
from tests.support import adapters
from tests.support.installation import Installation, unusual_port


class Talkers:
    """People who talk at once, and when each thing that they said was answered."""

    def __init__(self, people: list[Person]) -> None:
        self._people = people
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.answered: dict[str, datetime] = {}

    @contextmanager
    def talking(self) -> Iterator[None]:
        threads = [threading.Thread(target=self._talk, args=(n, person)) for n, person in enumerate(self._people)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join(60)

    def _talk(self, number: int, person: Person) -> None:
        conversation = None
        for turn in range(10_000):
            if self._stop.is_set():
                return
            said = f"Talker {number} says for the {turn}th time that the kettle is on."
            answer = person.say(said, conversation_id=conversation)
            conversation = answer.conversation_id
            with self._lock:
                self.answered[said] = datetime.now(UTC)

    def wait_for(self, count: int) -> None:
        deadline = time.monotonic() + 120
        while len(self.answered) < count:
            assert time.monotonic() < deadline, f"only {len(self.answered)} answers"
            self._stop.wait(0.02)


def said_by(person: Person) -> Counter[str]:
    return Counter(
        message["text"]
        for conversation in person.conversations()
        for message in person.messages(conversation["conversation_id"])
        if message["speaker"] == "user"
    )


def restored(
    made: Installation, backup: Path, key: str, tmp_path: Path, make_installation: Callable[..., Installation]
) -> tuple[Installation, dict[str, Any]]:
    """Another installation, made of the backup and started."""
    (tmp_path / "recovery.txt").write_text(key)
    elsewhere = make_installation("elsewhere", MONGARS_RATE_LIMIT_PER_MINUTE="0")
    restoring = ("restore", str(backup), "--state", str(elsewhere.state), "--json")
    said = json.loads(made.mongars(*restoring, "--recovery-key-file", str(tmp_path / "recovery.txt")))
    elsewhere.up("--port", str(unusual_port()))
    return elsewhere, said


def in_service(made: Installation) -> dict[str, list[tuple[str, float]]]:
    """The adapters that are kept, and where each answers."""
    listed = json.loads(made.mongars("models", "adapters", "list", "--json"))
    return {one["name"]: [(served["role"], served["share"]) for served in one["in_service"]] for one in listed}


def test_a_lost_installation_lives_again_from_its_backup(
    make_installation: Callable[..., Installation], meet: Meet, tmp_path: Path
) -> None:
    made = make_installation(MONGARS_RATE_LIMIT_PER_MINUTE="0")
    key = made.up()["recovery_key"]
    api_keys = [made.key(f"talker-{number}") for number in range(3)]
    people = [meet(made, key=one) for one in api_keys]
    secret = people[0].say("My safe opens with the word quetzalcoatl.")
    made.mongars("models", "adapters", "import", str(adapters.write_gguf(tmp_path, "ada", seed=0)))
    made.mongars("models", "adapters", "canary", "ada", "--share", "0.25")
    talkers, disk = Talkers(people), tmp_path / "disk"
    with talkers.talking():
        talkers.wait_for(15)
        backup = json.loads(made.mongars("backup", "--to", str(disk), "--json"))
        talkers.wait_for(len(talkers.answered) + 10)
    cut = datetime.fromisoformat(backup["cut"]["at"])
    assert (backup["adapters"], backup["adapter_bytes"] > 1000) == (1, True)
    before = {said for said, at in talkers.answered.items() if at < cut}
    assert len(before) >= 15
    assert len(before) < len(talkers.answered), "some came after the cut"

    receipt = people[0].http.delete(f"/api/v1/conversations/{secret.conversation_id}").json()
    assert receipt["backups"] == [backup["backup_id"]]
    made.mongars("backup", "carry")  # as the caretaker does, within half a minute
    made.down()
    shutil.rmtree(made.state)

    elsewhere, found = restored(made, Path(backup["file"]), key, tmp_path, make_installation)
    assert found["forgettings_replayed"] == 1
    assert found["unreadable"] == 0
    assert elsewhere.wait_until(lambda: in_service(elsewhere) == {"ada": [("chat", 0.25)]}, 60)
    assert not (elsewhere.state / "restored-adapters").exists()
    again = [meet(elsewhere, key=one) for one in api_keys]  # their keys are good there too
    kept = sum((said_by(person) for person in again), Counter[str]())
    missing = [said for said in before if not kept[said]]
    assert not missing, f"{len(missing)} of {len(before)} turns before the cut are gone: {missing[:3]}"
    assert {said: times for said, times in kept.items() if times > 1} == {}
    assert not [said for said in kept if "quetzalcoatl" in said]
    assert again[0].http.get(f"/api/v1/conversations/{secret.conversation_id}").status_code == 404
    answers = [again[0].say("Which word opens my safe?", explain=True) for _ in range(1)]
    assert not [text for answer in answers for text in answer.recalled if "quetzalcoatl" in text]
    receipts = again[0].http.get("/api/v1/receipts").json()
    assert [one["receipt_id"] for one in receipts["receipts"]] == [receipt["receipt_id"]]
    assert [(one["backup_id"], one["state"]) for one in receipts["backups"]] == [(backup["backup_id"], "kept")]


def test_one_changed_byte_is_refused_and_nothing_is_written(running: Installation, tmp_path: Path) -> None:
    made = running
    another = json.loads(made.mongars("backup", "recovery-key", "--replace", "--json"))
    (tmp_path / "key").write_text(another["recovery_key"])
    backup = Path(json.loads(made.mongars("backup", "--to", str(tmp_path / "one.backup"), "--json"))["file"])
    assert "is whole" in made.mongars("backup", "verify", str(backup), "--recovery-key-file", str(tmp_path / "key"))
    content = bytearray(backup.read_bytes())
    content[len(content) * 2 // 3] ^= 4
    backup.write_bytes(content)
    target = tmp_path / "target"
    ran = made.run(
        *("restore", str(backup), "--state", str(target), "--recovery-key-file", str(tmp_path / "key")),
    )
    assert (ran.returncode, target.exists()) == (5, False), ran.stderr
    assert "damaged" in ran.stderr
    assert made.run("backup", "verify", str(backup), "--recovery-key-file", str(tmp_path / "key")).returncode == 5


def test_a_schedule_keeps_the_newest_of_each_day_and_status_tells_of_it(running: Installation, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    running.mongars("backup", "recovery-key", "--replace", "--json")
    running.mongars("backup", "schedule", "--daily", "03:00", "--to", str(disk), "--keep-daily", "2")
    by_hand, first, second = (
        json.loads(running.mongars("backup", *words, "--json")) for words in (["create"], ["scheduled"], ["scheduled"])
    )
    there = {Path(made["file"]).name for made in (by_hand, second)}
    assert {path.name for path in disk.glob("*.backup")} == there, "of the scheduled ones of a day the newest stays"
    listed = {one["backup_id"]: one for one in json.loads(running.mongars("backup", "list", "--all", "--json"))}
    assert listed[first["backup_id"]]["state"] == "deleted"
    assert listed[second["backup_id"]]["present"]
    said = running.status()["backup"]
    assert said["success"]["backup_id"] == second["backup_id"]
    assert said["failing"] is False
    (tmp_path / "file").write_text("no folder")
    ran = running.run("backup", "--to", str(tmp_path / "file" / "below"))
    assert ran.returncode == 1
    assert "remedy" in ran.stderr
    assert running.status()["backup"]["failing"] is True
    running.mongars("backup", "schedule", "--off")
