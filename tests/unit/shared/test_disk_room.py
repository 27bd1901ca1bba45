"""When writes are refused for want of room, and when they go on."""

from __future__ import annotations

from pathlib import Path

import pytest

from libs.shared.disk_room import DiskRoom
from libs.shared.errors import StorageFull

MIB = 1024 * 1024


class Disk:
    def __init__(self, free_mib: int) -> None:
        self.free_mib = free_mib
        self.now = 0.0
        self.room = DiskRoom(Path("/anywhere"), 64, free=lambda _: self.free_mib * MIB, clock=lambda: self.now)


async def echo(request: str) -> str:
    return request


async def test_with_room_the_handler_answers() -> None:
    assert await Disk(64).room.refusing(echo)("hello") == "hello"


async def test_without_room_it_is_refused_at_once_and_goes_on_when_there_is_some() -> None:
    disk = Disk(63)
    handler = disk.room.refusing(echo)
    with pytest.raises(StorageFull) as caught:
        await handler("hello")
    assert caught.value.status == 507
    disk.free_mib, disk.now = 64, 1.0
    assert await handler("hello") == "hello"


def test_a_folder_that_cannot_be_asked_refuses_nothing(tmp_path: Path) -> None:
    assert DiskRoom(tmp_path / "gone", 64).short() is False
