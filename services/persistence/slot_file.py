"""The slot file: sealed keys in fixed places beside the database, so that overwriting one forgets what it sealed.

Layout: a header block, then slots of 128 bytes (none crosses a disk sector): mark, checksum over number and content,
the sealed key, zeros. A slot whose mark or checksum is wrong is free: never used, destroyed (random bytes), or torn by
a crash before it was handed out.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import struct
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from zlib import crc32

from libs.shared.errors import StorageFull, Unavailable

HEADER_BYTES = 4096
SLOT_BYTES = 128
SEALED_KEY_BYTES = 72
"""A 32-byte key in a secretbox: nonce, tag, key."""
_GROWTH_SLOTS = 1024
_MARK = b"KEY1"
_SLOT = struct.Struct(f"<4sI{SEALED_KEY_BYTES}s")
_RECORD = struct.Struct(f"<Q{SEALED_KEY_BYTES}s")
RECORD_BYTES = _RECORD.size
_MAGIC = b"monGARS data keys, format 1\n"
_HEADER = _MAGIC + struct.pack("<I", SLOT_BYTES)


class SlotFileDamaged(Exception):
    """The file is not a slot file of this format: refused at start, so that nothing in it is overwritten."""


class SlotFileBusy(Exception):
    """Another process holds the file."""


class KeyGone(Exception):
    """The slot holds no key: it was destroyed, or never written."""


def _checksum(slot: int, sealed_key: bytes) -> int:
    return crc32(sealed_key, crc32(slot.to_bytes(8, "little")))


def encode_slot(slot: int, sealed_key: bytes) -> bytes:
    """The 128 bytes of a used slot."""
    if len(sealed_key) != SEALED_KEY_BYTES:
        raise ValueError(f"a sealed key has {SEALED_KEY_BYTES} bytes")
    return _SLOT.pack(_MARK, _checksum(slot, sealed_key), sealed_key).ljust(SLOT_BYTES, b"\0")


def decode_slot(slot: int, content: bytes | memoryview) -> bytes | None:
    """The sealed key, or None for a free slot."""
    if len(content) < _SLOT.size:
        return None
    mark, checksum, sealed_key = _SLOT.unpack_from(content)
    return sealed_key if mark == _MARK and checksum == _checksum(slot, sealed_key) else None


def _offset(slot: int) -> int:
    return HEADER_BYTES + slot * SLOT_BYTES


class SlotFile:
    """One process's hold on the file. Writes of concurrent callers share one synchronisation with the disk."""

    def __init__(self, file: int, free: Iterable[int], used: Iterable[int], size: int) -> None:
        self._file = file
        self._size = size
        self._free: OrderedDict[int, None] = OrderedDict.fromkeys(free)
        self._growing = asyncio.Lock()
        self._destroying = asyncio.Lock()
        self._used = set(used)
        self._writes: list[tuple[int, bytes]] = []
        self._synced: asyncio.Future[None] | None = None
        self._flushing: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="slots")
        self.failure: str | None = None
        """Why the last write failed, for the health check; None once one succeeds."""

    @classmethod
    def open(cls, path: Path, referenced: Iterable[int]) -> SlotFile:
        """Blocking. Slots in ``referenced`` are never given out, whatever they hold.

        Raises SlotFileBusy, SlotFileDamaged, OSError.
        """
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _lock(file)
            _ensure_header(file, path)
            size = (os.fstat(file).st_size - HEADER_BYTES) // SLOT_BYTES
            used = _scan(file, size)
        except BaseException:
            os.close(file)
            raise
        taken = used.union(referenced)
        return cls(file, (slot for slot in range(size) if slot not in taken), used, size)

    @property
    def used(self) -> frozenset[int]:
        """Every slot that holds a key."""
        return frozenset(self._used)

    @property
    def size(self) -> int:
        """How many slots the file has."""
        return self._size

    def read(self, slot: int) -> bytes:
        """The sealed key in ``slot``. Raises KeyGone."""
        sealed_key = decode_slot(slot, os.pread(self._file, SLOT_BYTES, _offset(slot)))
        if sealed_key is None:
            raise KeyGone
        return sealed_key

    async def allocate(self, sealed_key: bytes) -> int:
        """A slot that holds ``sealed_key`` on disk. Raises StorageFull, Unavailable.

        A caller that is cancelled leaves a used slot behind, which ``unused keys`` of the housekeeping finds.
        """
        (slot,) = await self.allocate_many((sealed_key,))
        return slot

    async def allocate_many(self, sealed_keys: Sequence[bytes]) -> list[int]:
        """The same for several, with one synchronisation: a slot for each, in order."""
        slots = await self._take_many(len(sealed_keys))
        self._used.update(slots)
        await self._write([(slot, encode_slot(slot, key)) for slot, key in zip(slots, sealed_keys, strict=True)])
        return slots

    async def destroy(self, slots: Iterable[int]) -> int:
        """Overwrites the slots on disk with random bytes and answers how many held a key.

        They aren't given out again before ``release``: a forgetting that is repeated after a crash would
        otherwise hit another turn's key.
        """
        chosen = {slot for slot in slots if 0 <= slot < self._size}
        async with self._destroying:
            held = self._used & chosen
            self._used -= chosen
            if chosen:
                await self._write(tuple((slot, os.urandom(SLOT_BYTES)) for slot in chosen))
        return len(held)

    def undisturbed(self) -> asyncio.Lock:
        """To be held (``async with``) by who reads keys for a backup: none is destroyed meanwhile, so that every key
        that a row needs when it begins is there until it ends. Whoever destroys one waits."""
        return self._destroying

    def records(self, slots: Iterable[int]) -> bytes:
        """Blocking. Slot (8 bytes, little-endian) and sealed key of each that holds one, in order of slots."""
        found = bytearray()
        for first, content in _chunks(self._file, self._size, sorted(slots)):
            for slot in first:
                start = (slot - first[0]) * SLOT_BYTES
                if (key := decode_slot(slot, content[start : start + SLOT_BYTES])) is not None:
                    found += _RECORD.pack(slot, key)
        return bytes(found)

    def release(self, slots: Iterable[int]) -> None:
        """Lets destroyed slots be given out again."""
        self._free.update(dict.fromkeys(s for s in slots if 0 <= s < self._size and s not in self._used))

    def withhold(self, slots: Iterable[int]) -> None:
        """Gives none of these out before it is released, whatever they hold."""
        for slot in slots:
            self._free.pop(slot, None)

    async def close(self) -> None:
        """Finishes what is being written, and lets go of the file."""
        if self._flushing is not None:
            await asyncio.wait((self._flushing,))
        self._thread.shutdown()
        os.close(self._file)

    async def _take(self) -> int:
        while not self._free:
            async with self._growing:
                if not self._free:
                    await self._grow()
        return self._free.popitem(last=False)[0]

    async def _take_many(self, count: int) -> list[int]:
        slots: list[int] = []
        try:
            for _ in range(count):
                slots.append(await self._take())
        except BaseException:
            self.release(slots)
            raise
        return slots

    async def _grow(self) -> None:
        first = self._size
        try:
            await self._in_thread(lambda: _extend(self._file, first))
        except OSError as error:
            raise self._refusal(error) from error
        self._size = first + _GROWTH_SLOTS
        self._free.update(dict.fromkeys(range(first, self._size)))

    async def _in_thread(self, work: Callable[[], None]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _write(self, writes: Iterable[tuple[int, bytes]]) -> None:
        self._writes.extend(writes)
        if self._synced is None:
            self._synced = asyncio.get_running_loop().create_future()
        synced = self._synced
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush())
        try:
            await asyncio.shield(synced)
        except OSError as error:
            raise self._refusal(error) from error

    async def _flush(self) -> None:
        while self._synced is not None:
            synced, writes = self._synced, self._writes
            self._synced, self._writes = None, []
            await self._flush_batch(writes, synced)

    async def _flush_batch(self, writes: list[tuple[int, bytes]], synced: asyncio.Future[None]) -> None:
        try:
            await self._in_thread(lambda: _store(self._file, writes))
        except Exception as error:  # whatever it is, those who wait must hear of it
            synced.set_exception(error)
            synced.exception()  # marks it as read, since every waiter may have been cancelled
        else:
            self.failure = None
            synced.set_result(None)

    def _refusal(self, error: OSError) -> StorageFull | Unavailable:
        self.failure = errno.errorcode.get(error.errno or 0, "OSError")
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return StorageFull("the disk is full")
        return Unavailable("the key file can't be written")


def write_anew(path: Path, records: Iterable[bytes]) -> int:
    """Blocking. Makes a slot file of records as ``SlotFile.records`` gives them, whole on disk; how many keys it has.

    Raises FileExistsError, ValueError for what is no record, OSError.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        _ensure_header(file, path)
        count, last = 0, -1
        for record in records:
            if len(record) != RECORD_BYTES:
                raise ValueError("not a record of a slot file")
            slot, key = _RECORD.unpack(record)
            os.pwrite(file, encode_slot(slot, key), _offset(slot))
            count, last = count + 1, max(last, slot)
        os.posix_fallocate(file, 0, _offset((last // _GROWTH_SLOTS + 1) * _GROWTH_SLOTS))
        os.fsync(file)
    finally:
        os.close(file)
    return count


def _chunks(file: int, size: int, slots: Sequence[int]) -> Iterator[tuple[list[int], memoryview]]:
    """The slots in groups that lie near each other, each with the file's bytes from its first one on."""
    for _, group in groupby((slot for slot in slots if 0 <= slot < size), key=lambda slot: slot // _GROWTH_SLOTS):
        near = list(group)
        length = (near[-1] - near[0] + 1) * SLOT_BYTES
        yield near, memoryview(os.pread(file, length, _offset(near[0])))


def _lock(file: int) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SlotFileBusy("another process holds the slot file") from None


def _ensure_header(file: int, path: Path) -> None:
    header = os.pread(file, len(_HEADER), 0)
    if header == _HEADER:
        return
    if os.fstat(file).st_size > HEADER_BYTES:
        raise SlotFileDamaged(f"{path} is not a slot file of this format")
    # Nothing was handed out before the header was on disk, so a torn one is written anew.
    os.pwrite(file, _HEADER.ljust(HEADER_BYTES, b"\0"), 0)
    os.fsync(file)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def judge_header(header: bytes, path: Path) -> None:
    """For whoever only looks. Raises SlotFileDamaged when ``header`` doesn't begin a slot file."""
    if not header.startswith(_HEADER):
        raise SlotFileDamaged(f"{path} is not a slot file of this format")


def _scan(file: int, size: int) -> set[int]:
    used: set[int] = set()
    for first in range(0, size, _GROWTH_SLOTS):
        chunk = memoryview(os.pread(file, _GROWTH_SLOTS * SLOT_BYTES, _offset(first)))
        for start in range(0, len(chunk), SLOT_BYTES):
            slot = first + start // SLOT_BYTES
            if decode_slot(slot, chunk[start : start + SLOT_BYTES]) is not None:
                used.add(slot)
    return used


def _extend(file: int, first: int) -> None:
    os.posix_fallocate(file, _offset(first), _GROWTH_SLOTS * SLOT_BYTES)
    os.fsync(file)


def _store(file: int, writes: list[tuple[int, bytes]]) -> None:
    for slot, content in writes:
        os.pwrite(file, content, _offset(slot))
    os.fdatasync(file)
