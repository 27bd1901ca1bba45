"""Alerts of a real installation, taken by a real HTTP server on loopback that speaks ntfy's shape."""

from __future__ import annotations

from pathlib import Path

from cli.alerts import outbox
from libs.shared.layout import StateFolder
from tests.support import faults
from tests.support.alerts import alerted, hook, look, titles
from tests.support.installation import Installation


def test_a_service_that_does_not_run_is_alerted_of_once_and_resolved_once(
    running: Installation, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("tk_house\n")
    with hook() as taking:
        faults.ask(running, "stopProcess", "caretaker")  # which would look too
        try:
            running.mongars("alerts", "add", taking.url, "--topic", "house", "--token-file", str(token))
            assert "sent" in running.mongars("alerts", "test")
            assert taking.taken.pop()[1]["authorization"] == "Bearer tk_house"
            look(running, 4)
        finally:
            faults.ask(running, "startProcess", "caretaker")
        (path, headers, text), *more = taking.taken
        assert not more
        assert path == "/house"
        assert headers["title"] == "monGARS: The service caretaker does not stay up"
        assert headers["priority"] == "5"
        assert "mongars doctor" in text
        look(running, 4)
        assert [row[1]["title"] for row in taking.taken[1:]] == [
            "monGARS: Resolved: The service caretaker does not stay up"
        ]
        running.mongars("alerts", "rm", f"{taking.url}/house")
    assert running.mongars("alerts", "list", "--json").strip() == "[]"


def test_an_alert_that_was_refused_waits_in_the_state_folder(running: Installation) -> None:
    with hook() as taking:
        faults.ask(running, "stopProcess", "caretaker")
        try:
            running.mongars("alerts", "add", f"{taking.url}/plain", "--format", "json")
            taking.refusing = 1
            look(running, 2)
            waiting = outbox.read(StateFolder(running.state)).waiting
            assert [(one.alert.key, one.tries) for one in waiting] == [("service:caretaker", 1)]
        finally:
            faults.ask(running, "startProcess", "caretaker")
            running.mongars("alerts", "rm", f"{taking.url}/plain")
    assert not taking.taken


def test_a_node_that_fell_silent_is_alerted_of_and_its_return_too(running: Installation) -> None:
    with alerted(running) as taking:

        def told(end: str, beginning: str = "Node ") -> bool:
            look(running, 1)
            return any(title.startswith(beginning) and title.endswith(end) for title in titles(taking))

        going = faults.frozen("inference")(running)
        next(going)
        try:
            assert running.wait_until(lambda: told("is lost"), 60)
        finally:
            assert next(going, None) is None
        assert running.wait_until(lambda: told("is lost", "Resolved: Node "), 60)


def test_a_backup_that_failed_is_alerted_of(running: Installation, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    with alerted(running) as taking:
        running.mongars("backup", "schedule", "--daily", "03:00", "--to", str(disk))
        try:
            disk.rmdir()
            disk.write_text("a file where the folder was")
            assert running.run("backup", "scheduled", "--json").returncode != 0
            look(running, 2)
            assert "The backup failed" in titles(taking)
            disk.unlink()
            running.mongars("backup", "scheduled", "--json")
            look(running, 3)
            assert "Resolved: The backup failed" in titles(taking)
        finally:
            running.mongars("backup", "schedule", "--off")
