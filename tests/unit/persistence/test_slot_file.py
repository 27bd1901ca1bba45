"""The slot file: keys are on disk before they are handed out, and gone when they are destroyed."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.shared.errors import StorageFull, Unavailable
from services.persistence import slot_file
from services.persistence.slot_file import (
    HEADER_BYTES,
    SEALED_KEY_BYTES,
    SLOT_BYTES,
    KeyGone,
    SlotFile,
    SlotFileBusy,
    SlotFileDamaged,
    decode_slot,
    encode_slot,
)


def content(path: Path) -> bytes:
    return path.read_bytes()


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def key(n: int = 0) -> bytes:
    return n.to_bytes(4, "little") * (SEALED_KEY_BYTES // 4)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "slots" / "data-keys.slots"


@pytest_asyncio.fixture
async def slots(path: Path) -> AsyncIterator[SlotFile]:
    opened = SlotFile.open(path, ())
    yield opened
    await opened.close()


async def test_a_key_is_read_from_its_slot_after_reopening(path: Path) -> None:
    slots = SlotFile.open(path, ())
    chosen = [await slots.allocate(key(n)) for n in range(5)]
    await slots.close()
    slots = SlotFile.open(path, ())
    assert [slots.read(slot) for slot in chosen] == [key(n) for n in range(5)]
    assert slots.used == set(chosen)
    await slots.close()


async def test_files_and_folder_are_private(slots: SlotFile, path: Path) -> None:
    await slots.allocate(key())
    assert mode(path) == 0o600
    assert mode(path.parent) == 0o700


async def test_a_destroyed_key_is_nowhere_in_the_file(slots: SlotFile, path: Path) -> None:
    secret = os.urandom(SEALED_KEY_BYTES)
    slot = await slots.allocate(secret)
    assert secret in content(path)
    assert await slots.destroy((slot,)) == 1
    assert secret not in content(path)
    with pytest.raises(KeyGone):
        slots.read(slot)


async def test_a_destroyed_slot_is_given_out_only_after_its_release(slots: SlotFile) -> None:
    slot = await slots.allocate(key())
    await slots.destroy((slot,))
    assert slot not in [await slots.allocate(key()) for _ in range(slot_file._GROWTH_SLOTS)]
    slots.release((slot,))
    assert slot in [await slots.allocate(key()) for _ in range(slot_file._GROWTH_SLOTS)]


async def test_a_used_slot_is_never_released(slots: SlotFile) -> None:
    slot = await slots.allocate(key(1))
    slots.release((slot,))
    others = [await slots.allocate(key(2)) for _ in range(slot_file._GROWTH_SLOTS)]
    assert slot not in others
    assert slots.read(slot) == key(1)


async def test_referenced_slots_are_not_given_out_even_when_they_hold_nothing(path: Path) -> None:
    slots = SlotFile.open(path, ())
    await slots.allocate(key())
    await slots.close()
    slots = SlotFile.open(path, (1, 2, 3))
    assert {1, 2, 3}.isdisjoint([await slots.allocate(key()) for _ in range(50)])
    await slots.close()


async def test_concurrent_allocations_share_synchronisations(slots: SlotFile, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = 0
    real = os.fdatasync

    def counted(file: int) -> None:
        nonlocal synced
        synced += 1
        real(file)

    monkeypatch.setattr(os, "fdatasync", counted)
    found = await asyncio.gather(*(slots.allocate(key(n)) for n in range(200)))
    assert len(set(found)) == 200
    assert [slots.read(slot) for slot in found] == [key(n) for n in range(200)]
    assert synced < 20


async def test_no_key_is_handed_out_before_it_is_synchronised(slots: SlotFile, monkeypatch: pytest.MonkeyPatch) -> None:
    await slots.allocate(key())
    events: list[str] = []
    real = os.fdatasync

    def noted(file: int) -> None:
        real(file)
        events.append("synced")

    monkeypatch.setattr(os, "fdatasync", noted)
    await slots.allocate(key())
    events.append("handed out")
    assert events == ["synced", "handed out"]


async def test_a_second_process_is_kept_out(slots: SlotFile, path: Path) -> None:
    with pytest.raises(SlotFileBusy):
        SlotFile.open(path, ())


def test_a_foreign_file_is_refused_and_left_as_it_is(path: Path) -> None:
    path.parent.mkdir()
    foreign = os.urandom(HEADER_BYTES + SLOT_BYTES)
    path.write_bytes(foreign)
    with pytest.raises(SlotFileDamaged):
        SlotFile.open(path, ())
    assert path.read_bytes() == foreign


@pytest.fixture
def torn_header(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"monGARS da")


@pytest.mark.usefixtures("torn_header")
async def test_a_header_torn_at_creation_is_written_anew(path: Path) -> None:
    slots = SlotFile.open(path, ())
    assert slots.read(await slots.allocate(key())) == key()
    await slots.close()


@pytest.mark.parametrize(("number", "refusal"), [(errno.ENOSPC, StorageFull), (errno.EIO, Unavailable)])
async def test_a_failing_disk_hands_out_nothing(
    slots: SlotFile, monkeypatch: pytest.MonkeyPatch, number: int, refusal: type[Exception]
) -> None:
    await slots.allocate(key())

    def fail(_: int) -> None:
        raise OSError(number, "no")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", fail)
        with pytest.raises(refusal):
            await slots.allocate(key())
        assert slots.failure == errno.errorcode[number]
    await slots.allocate(key())
    assert slots.failure is None


async def test_many_keys_take_one_synchronisation_and_each_its_slot(
    slots: SlotFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    await slots.allocate(key())
    synchronised: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synchronised.append)
    given = await slots.allocate_many([key(n) for n in range(200)])
    assert [slots.read(slot) for slot in given] == [key(n) for n in range(200)]
    assert len(synchronised) == 1
    assert await slots.allocate_many([]) == []


async def test_many_keys_that_find_no_room_take_no_slot(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slots = SlotFile.open(path, ())
    await slots.allocate(key())

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patched:
        patched.setattr(os, "posix_fallocate", full)
        with pytest.raises(StorageFull):
            await slots.allocate_many([key(n) for n in range(slots.size)])
        assert len(await slots.allocate_many([key(n) for n in range(slots.size - 1)])) == slots.size - 1
    await slots.close()


async def test_growing_on_a_full_disk_is_refused_and_tried_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slots = SlotFile.open(path, ())

    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "no")

    with monkeypatch.context() as patched:
        patched.setattr(os, "posix_fallocate", full)
        with pytest.raises(StorageFull):
            await slots.allocate(key())
    assert await slots.allocate(key()) == 0
    await slots.close()


@given(st.integers(0, 2**40), st.binary(min_size=SEALED_KEY_BYTES, max_size=SEALED_KEY_BYTES), st.data())
def test_a_slot_torn_or_altered_anywhere_counts_as_free(slot: int, sealed: bytes, data: st.DataObject) -> None:
    whole = encode_slot(slot, sealed)
    assert decode_slot(slot, whole) == sealed
    before = data.draw(st.binary(min_size=SLOT_BYTES, max_size=SLOT_BYTES))
    cut = data.draw(st.integers(0, 8 + SEALED_KEY_BYTES - 1))
    torn = whole[:cut] + before[cut:]
    if torn[: 8 + SEALED_KEY_BYTES] != whole[: 8 + SEALED_KEY_BYTES]:
        assert decode_slot(slot, torn) is None
    assert decode_slot(slot + 1, whole) is None


@settings(deadline=None, max_examples=30)
@given(st.lists(st.sampled_from(["allocate", "destroy", "release", "reopen"]), max_size=60), st.randoms())
def test_what_was_handed_out_is_there_until_it_is_destroyed(steps: list[str], chance: random.Random) -> None:
    import tempfile

    async def play(folder: Path) -> None:
        path = folder / "slots"
        slots = SlotFile.open(path, ())
        held: dict[int, bytes] = {}
        destroyed: set[int] = set()
        for n, step in enumerate(steps):
            if step == "allocate":
                slot = await slots.allocate(key(n))
                assert slot not in held
                assert slot not in destroyed
                held[slot] = key(n)
            elif step == "destroy" and held:
                slot = chance.choice(sorted(held))
                assert await slots.destroy((slot,)) == 1
                del held[slot]
                destroyed.add(slot)
            elif step == "release":
                slots.release(destroyed)
                destroyed.clear()
            elif step == "reopen":
                await slots.close()
                slots = SlotFile.open(path, destroyed)
            assert slots.used == set(held)
            assert {slot: slots.read(slot) for slot in held} == held
        await slots.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(play(Path(folder)))


_WRITER = """
import asyncio, os, sys
from pathlib import Path
from services.persistence.slot_file import SEALED_KEY_BYTES, SlotFile

async def main():
    slots = SlotFile.open(Path(sys.argv[1]), ())
    async def write(worker):
        while True:
            key = os.urandom(SEALED_KEY_BYTES)
            slot = await slots.allocate(key)
            os.write(1, f"+ {slot} {key.hex()}\\n".encode())
            if slot % 3 == worker:
                os.write(1, f"? {slot} {key.hex()}\\n".encode())
                await slots.destroy((slot,))
                os.write(1, f"- {slot} {key.hex()}\\n".encode())
    await asyncio.gather(*(write(worker) for worker in range(8)))

asyncio.run(main())
"""


def _run_and_kill(path: Path, lines: int) -> list[tuple[str, int, bytes]]:
    with subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        told = [writer.stdout.readline() for _ in range(lines)]
        writer.send_signal(signal.SIGKILL)
        told += [line for line in writer.stdout.readlines() if line.endswith("\n")]
    return [(mark, int(slot), bytes.fromhex(secret)) for mark, slot, secret in map(str.split, told)]


def check_nothing_is_lost_in_a_crash(path: Path, told: list[tuple[str, int, bytes]]) -> None:
    """Every key that was told of is there, unless its destruction began; none is there whose destruction ended."""
    content = path.read_bytes()
    slots = SlotFile.open(path, ())
    doomed = {secret for mark, _, secret in told if mark == "?"}
    for mark, slot, secret in told:
        if mark == "+" and secret not in doomed:
            assert slots.read(slot) == secret
        if mark == "-":
            assert secret not in content
    asyncio.run(slots.close())


@pytest.mark.parametrize("lines", [1, 40, 300, 1500])
def test_a_killed_process_loses_no_key_and_keeps_no_destroyed_one(path: Path, lines: int) -> None:
    told = _run_and_kill(path, lines)
    assert len(told) >= lines
    check_nothing_is_lost_in_a_crash(path, told)


_MUTATIONS: dict[str, Callable[[str], str]] = {
    "hand out before writing": lambda source: source.replace(
        "await self._write([(slot, encode_slot", "([(slot, encode_slot"
    ),
    "forget to overwrite": lambda source: source.replace(
        "os.urandom(SLOT_BYTES)", "encode_slot(slot, self.read(slot))"
    ),
}


@pytest.mark.parametrize("mutation", sorted(_MUTATIONS))
def test_the_crash_test_notices(path: Path, tmp_path: Path, mutation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Path(slot_file.__file__).read_text()
    mutated = _MUTATIONS[mutation](source)
    assert mutated != source
    (tmp_path / "mutated_slot_file.py").write_text(mutated)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path.cwd()}")
    monkeypatch.setattr(
        sys.modules[__name__], "_WRITER", _WRITER.replace("services.persistence.slot_file", "mutated_slot_file")
    )
    told = _run_and_kill(path, 300)
    with pytest.raises((AssertionError, KeyGone)):
        check_nothing_is_lost_in_a_crash(path, told)
