"""A disk that fills up while an installation runs: it can be read, it says why it keeps nothing new, it recovers."""

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
from tests.support.disks import fill, mounted
from tests.support.installation import Installation, installation

_DISK_MIB = 600
_FACT = "My sister Odile moved to Chicoutimi in May."
_QUESTION = "Where does my sister Odile live?"
_RECOVERY_S = 60.0
_QUICKLY_S = 5.0
"""A loaded test machine's; it takes a tenth of a second on a quiet one, and took ten seconds before."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk", _DISK_MIB) as disk:
        yield disk


@pytest.fixture
def small(disk: Path) -> Iterator[Installation]:
    with installation(disk / "state") as made:
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
