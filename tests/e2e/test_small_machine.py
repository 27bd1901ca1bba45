"""A small machine whose processor gets hot and whose disk fills up while an installation runs.

Its owner is alerted of both. With a full disk it can be read, it says why it keeps nothing new, and it recovers.
"""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.person import Person
from tests.support import machines
from tests.support.alerts import alerted, look, titles
from tests.support.disks import fill, mounted, resize
from tests.support.installation import Installation, installation

_DISK_MIB = 600
_ROOMY_MIB = 4096
"""Of a tmpfs: it takes no memory before it is used."""
_TEMPERATURE = "sys/class/thermal/thermal_zone0/temp"
_FACT = "My sister Odile moved to Chicoutimi in May."
_QUESTION = "Where does my sister Odile live?"
_RECOVERY_S = 60.0
_QUICKLY_S = 5.0
"""A loaded test machine's; it takes a tenth of a second on a quiet one, and took ten seconds before."""


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with mounted(tmp_path_factory.mktemp("small") / "disk", _DISK_MIB) as disk:
        yield disk


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Raspberry Pi's own files, as they were recorded."""
    root = tmp_path_factory.mktemp("board")
    machines.lay_out("raspberry-pi-5", root)
    return root


@pytest.fixture(scope="module")
def small(disk: Path, board: Path) -> Iterator[Installation]:
    with installation(disk / "state", {"MONGARS_MACHINE_ROOT": str(board)}) as made:
        made.up()
        yield made


@contextmanager
def full(disk: Path) -> Iterator[None]:
    filler = disk / "filler"
    try:
        fill(filler)
        yield
    finally:
        filler.unlink(missing_ok=True)


def readyz(of: Installation) -> dict[str, Any]:
    with urllib.request.urlopen(f"{of.url}/readyz", timeout=10) as reply:
        said: dict[str, Any] = json.load(reply)
    return said


def refused(ask: Callable[[], httpx.Response]) -> tuple[int, str]:
    begun = time.monotonic()
    response = ask()
    assert time.monotonic() - begun < _QUICKLY_S
    body = response.json()
    return response.status_code, str(body.get("code") or body.get("error", {}).get("code"))


def test_a_disk_that_is_nearly_full_is_alerted_of_and_new_room_too(small: Installation, disk: Path) -> None:
    with alerted(small) as taking:
        look(small, 2)
        assert "The disk is nearly full" in titles(taking)
        resize(disk, _ROOMY_MIB)
        try:
            look(small, 3)
            assert "Resolved: The disk is nearly full" in titles(taking)
        finally:
            resize(disk, _DISK_MIB)


def test_a_processor_that_gets_too_hot_is_alerted_of_and_its_cooling_too(small: Installation, board: Path) -> None:
    def found() -> list[str]:
        return [row["code"] for row in json.loads(small.run("doctor", "--json").stdout)["findings"]]

    with alerted(small) as taking:

        def told(beginning: str) -> bool:
            look(small, 1)
            return any(title.startswith(beginning) and "too hot" in title for title in titles(taking))

        look(small, 3)
        assert not [title for title in titles(taking) if "too hot" in title]
        machines.write(board, _TEMPERATURE, "91300")
        assert small.wait_until(lambda: told("Node "), 30)
        assert any("is at 91 °C" in text for _, _, text in taking.taken)
        assert "overheated" in found()
        machines.write(board, _TEMPERATURE, "61300")
        assert small.wait_until(lambda: told("Resolved: Node "), 30)
        assert "overheated" not in found()


def test_with_a_full_disk_reading_goes_on_writing_gets_507_and_nothing_is_lost(
    small: Installation, disk: Path, meet: Callable[..., Person]
) -> None:
    ada = meet(small, "ada")
    told = ada.say(_FACT)

    def recalled() -> bool:
        found = ada.http.get("/api/v1/memories", params={"q": _QUESTION})
        return found.status_code == 200 and _FACT in found.text

    assert small.wait_until(recalled, 60)
    with full(disk):
        assert small.wait_until(lambda: "disk-full" in readyz(small)["degraded"], 10)
        for _ in range(5):
            assert refused(lambda: ada.http.post("/v1/chat/completions", json=ada.request("Hello."))) == (
                507,
                "storage_full",
            )
            assert refused(lambda: ada.http.post("/api/v1/memories", json={"text": "A note."})) == (507, "storage_full")
            assert recalled()
            kept = ada.http.get(f"/api/v1/conversations/{told.conversation_id}")
            assert kept.status_code == 200
            assert _FACT in kept.text
        answered = ada.http.post("/v1/chat/completions", json=ada.request(_QUESTION, store=False))
        assert answered.status_code == 200, "what isn't to be kept needs no room"
        assert "full" in small.mongars("status")

    def goes_on() -> bool:
        return ada.http.post("/v1/chat/completions", json=ada.request("The barn is red.")).status_code == 200

    assert small.wait_until(goes_on, _RECOVERY_S)
    assert small.wait_until(lambda: readyz(small)["degraded"] == ["no-model"], _RECOVERY_S)
    assert recalled()
    assert small.wait_until(lambda: "barn" in ada.http.get("/api/v1/memories?q=What+colour+is+the+barn").text, 60)
