"""A support bundle of a real installation in which people said things: nothing of them is in it."""

from __future__ import annotations

import json
import re
import tarfile
from pathlib import Path

import pytest

from cli.bundle.contents import gathered
from cli.bundle.pseudonyms import Pseudonyms
from libs.shared.layout import StateFolder
from tests.e2e.person import Meet
from tests.support.installation import Installation

SAID = "Zanzibar marmalade belongs to Wilhelmina, who lives at 17 Quince Lane and writes from mina@quince.example"
PLANTED = ("zanzibar", "marmalade", "wilhelmina", "quince", "mina@", "octavia", "203.0.113.77", "mgk_")


def unpacked(path: Path) -> dict[str, str]:
    with tarfile.open(path) as archive:
        found = {}
        for entry in archive.getmembers():
            file = archive.extractfile(entry)
            assert file is not None
            found[entry.name.removeprefix("mongars-support/")] = file.read().decode()
    return found


def test_nothing_that_was_said_and_nobodys_name_is_in_a_bundle(
    running: Installation, meet: Meet, tmp_path: Path
) -> None:
    person = meet(running, "octavia")
    person.say(SAID)
    person.http.get("/v1/models", headers={"authorization": "Bearer mgk_wrongwrongwrongwrongwrongwrongwrongwrongwro"})
    refused = person.http.get("/api/v1/memories?q=marmalade&k=nonsense")
    assert refused.status_code == 422
    log = running.state / "logs" / "api.log"
    trace = "0af7651916cd43dd8448eb211c80319c"
    with log.open("a") as file:  # what a library might print, and what a careless line might hold
        file.write(f"octavia at 203.0.113.77 said {SAID}\n")
        row = {"at": "x", "event": "planted", "user": "octavia", "peer": "203.0.113.77", "trace_id": trace}
        file.write(json.dumps({**row, "note": SAID, "text": SAID, "token": "mgk_abcdefghijkl"}) + "\n")
    with (running.state / "logs" / "broker.log").open("a") as file:
        file.write(f'[1] [INF] 203.0.113.77:4222 - cid:5 - "octavia" trace {trace}\n')
    target = tmp_path / "bundle.tar.gz"
    shown = running.mongars("support-bundle", "--output", str(target))
    texts = unpacked(target)
    assert {"doctor.json", "versions.json", "settings.json", "machine.json", "status.json"} <= set(texts)
    assert {"metrics.txt", "logs/api.log", "logs/broker.log", "logs/persistence.log"} <= set(texts)
    assert all(name in shown for name in texts)
    everything = "\n".join(texts.values()).lower()
    assert [word for word in PLANTED if word in everything] == []
    assert trace not in everything
    assert str(running.state).lower() not in everything
    assert target.stat().st_mode & 0o777 == 0o600
    planted = next(json.loads(line) for line in texts["logs/api.log"].splitlines() if "planted" in line)
    broker = texts["logs/broker.log"].splitlines()[-1]
    assert re.fullmatch(r"~[0-9a-f]{10}", planted["trace_id"])
    assert planted["trace_id"] in broker, "events correlate across files"
    assert planted["peer"] in broker
    assert planted["note"] == f"<{len(SAID)} characters>"
    assert "http" in texts["metrics.txt"]


@pytest.mark.soak  # the key is tried in the unit tests
def test_two_bundles_share_no_pseudonym(running: Installation, tmp_path: Path) -> None:
    found = []
    for name in ("one", "two"):
        running.mongars("support-bundle", "--output", str(tmp_path / name))
        found.append(set(re.findall(r"~[0-9a-f]{10}", "\n".join(unpacked(tmp_path / name).values()))))
    assert found[0]
    assert not found[0] & found[1]
    refused = running.run("support-bundle", "--output", str(tmp_path / "one"))
    assert refused.returncode == 1


def test_without_the_pseudonyms_the_planted_words_would_be_found(
    running: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first test is evidence only if it can fail."""
    with (running.state / "logs" / "api.log").open("a") as file:
        file.write(json.dumps({"event": "careless", "user": "octavia", "note": SAID}) + "\n")
    monkeypatch.setattr(Pseudonyms, "text", lambda _self, text: text)
    monkeypatch.setattr(Pseudonyms, "value", lambda _self, value, *_more: value)
    everything = "\n".join(gathered(StateFolder(running.state), running.shell).values()).lower()
    assert {"zanzibar", "quince", "octavia"} <= {word for word in PLANTED if word in everything}
