"""The JSON documents within an uploaded file: the file itself, or members of a ZIP archive, read within bounds."""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from libs.shared.contracts.base import KIB, MIB
from libs.shared.errors import ArchiveUnreadable
from services.api.spool import SealedSpool, SpoolReader

_PIECE = 64 * KIB
_LARGEST_DIRECTORY = 4 * MIB
"""Of a ZIP archive: its list of members is read at once, and each takes ten times as much in memory."""
_MEMBER = re.compile(r"(?:^|/)(?:conversations|mongars)[^/]*\.json$", re.IGNORECASE)
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OSError)


def documents(spool: SealedSpool, most_bytes: int) -> Iterator[Iterator[bytes]]:
    """Each document's pieces, to be read before the next one is asked for.

    Raises ArchiveUnreadable, also once more than ``most_bytes`` were read in all.
    """
    if spool.piece(0)[:2] != b"PK":
        yield _bounded(_pieces(spool), [most_bytes])
        return
    left = [most_bytes]
    with _opened(spool) as archive:
        members = sorted((m for m in archive.infolist() if _MEMBER.search(m.filename)), key=lambda m: m.filename)
        if not members:
            raise ArchiveUnreadable("There is no conversations.json in this archive.")
        for member in members:
            yield _bounded(_inflated(archive, member), left)


def _pieces(spool: SealedSpool) -> Iterator[bytes]:
    index = 0
    while piece := spool.piece(index):
        yield piece
        index += 1


@contextmanager
def _opened(spool: SealedSpool) -> Iterator[zipfile.ZipFile]:
    try:
        archive = zipfile.ZipFile(SpoolReader(spool, _LARGEST_DIRECTORY))
    except _BROKEN:
        raise ArchiveUnreadable("This ZIP archive is damaged, or has too many members.") from None
    with archive:
        yield archive


def _inflated(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Iterator[bytes]:
    try:
        with archive.open(member) as file:
            while piece := file.read(_PIECE):
                yield piece
    except _BROKEN:
        raise ArchiveUnreadable("The conversations in this ZIP archive can't be read: damaged, or encrypted.") from None


def _bounded(pieces: Iterator[bytes], left: list[int]) -> Iterator[bytes]:
    for piece in pieces:
        left[0] -= len(piece)
        if left[0] < 0:
            raise ArchiveUnreadable("What this archive unpacks to is too large.")
        yield piece
