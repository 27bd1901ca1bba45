"""Downloading one file: resumed by range where the server can, tried again when it breaks, held against a checksum."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from cli.errors import CommandError, Exit
from cli.models import part as parts
from cli.models.catalogue import DISK_RESERVE_MIB
from cli.models.checksums import PIECE, Checksum, of_headers
from cli.models.hub import refusal, unreachable
from cli.models.part import Identity, Part

_FULL, _PARTIAL, _UNSATISFIABLE = 200, 206, 416
_TRANSIENT = (500, 502, 503, 504)
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_LOOK_AT_DISK_EVERY = 32 * PIECE

Watch = Callable[[int, int | None], None]
"""Hears how many bytes are there, and of how many."""


@dataclass(frozen=True)
class Patience:
    """How often in a row a connection may break without a byte gained, and the first pause, which doubles."""

    tries: int = 5
    first_wait_s: float = 1.0


@dataclass(frozen=True)
class Wanted:
    """A file to download. ``checksum`` None: the server's own headers may bring one."""

    url: str
    label: str
    size: int | None = None
    checksum: Checksum | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def identity(self) -> Identity:
        return Identity(url=self.url, checksum=self.checksum.value if self.checksum else None, size=self.size)


@dataclass(frozen=True)
class Fetched:
    """A whole file in its part; ``vouched`` is the checksum that it was held against, and ``sha256`` its own."""

    part: Path
    size: int
    digest: str
    vouched: Checksum | None


class _Again(Exception):
    """The server answered something that the next try will do better with."""


async def fetch(
    session: aiohttp.ClientSession, wanted: Wanted, path: Path, watch: Watch, patience: Patience | None = None
) -> Fetched:
    """Brings the file into ``path``, verified and on disk. Raises CommandError; what can be resumed is left there."""
    kind = wanted.checksum.kind if wanted.checksum else "sha256"
    with parts.opened(path, wanted.identity, kind) as part:
        await asyncio.to_thread(part.take_up)
        download = _Download(session, wanted, part, watch)
        if part.length != wanted.size:
            await _persist(download, patience or Patience())
        part.flush()
        digest = part.digest()
        vouched = wanted.checksum or download.told
        if vouched is not None and digest != vouched.value:
            parts.discard(path)
            raise _not_vouched(wanted, vouched, digest)
        return Fetched(path, part.length, digest, vouched)


async def _persist(download: _Download, patience: Patience) -> None:
    failures = 0
    while True:
        before = download.part.length
        try:
            await download.attempt()
        except (aiohttp.ClientError, TimeoutError, _Again) as error:
            failures = 1 if download.part.length > before else failures + 1
            if failures >= patience.tries:
                raise unreachable(download.wanted.label, error) from None
            await asyncio.sleep(patience.first_wait_s * 2 ** (failures - 1))
        else:
            return


class _Download:
    """One file's tries. ``told`` is the checksum that the server's headers bring."""

    def __init__(self, session: aiohttp.ClientSession, wanted: Wanted, part: Part, watch: Watch) -> None:
        self._session = session
        self.wanted = wanted
        self.part = part
        self._watch = watch
        self.told: Checksum | None = None

    async def attempt(self) -> None:
        """Brings the rest. Raises aiohttp's errors and _Again, after which another try makes sense."""
        async with self._session.get(self.wanted.url, headers=self._request_headers()) as reply:
            self._check_word(reply)
            if self._is_whole(reply):
                return
            self._check_status(reply)
            total = self._settle(reply)
            if total is not None:
                require_disk(self.part.path.parent, total - self.part.length, self.wanted.label)
            await self._receive(reply, total)

    def _request_headers(self) -> dict[str, str]:
        headers = {**self.wanted.headers, "Accept-Encoding": "identity"}
        if self.part.length and self.part.etag is None and self.wanted.checksum is None:
            self.part.restart()  # nothing would tell whether the rest belongs to what is here
        if self.part.length:
            headers["Range"] = f"bytes={self.part.length}-"
            if self.part.etag is not None:
                headers["If-Range"] = self.part.etag
        return headers

    def _is_whole(self, reply: aiohttp.ClientResponse) -> bool:
        """Whether an earlier try had brought everything, and only the end of it was missed."""
        return reply.status == _UNSATISFIABLE and reply.headers.get("Content-Range") == f"bytes */{self.part.length}"

    def _check_status(self, reply: aiohttp.ClientResponse) -> None:
        if reply.status == _UNSATISFIABLE:
            self.part.restart()
            raise _Again("the server has less than is here")
        if reply.status in _TRANSIENT:
            raise _Again(f"the server answered {reply.status}")
        if reply.status not in (_FULL, _PARTIAL):
            raise refusal(reply, self.wanted.label)

    def _check_word(self, reply: aiohttp.ClientResponse) -> None:
        """The checksum in the headers, first those of whoever redirected."""
        for answer in (*reply.history, reply):
            said = of_headers(answer.headers)
            if said is not None:
                self.told = self.told or said
        expected, told = self.wanted.checksum, self.told
        if expected is None or told is None or expected.kind != told.kind:
            return
        if expected.value != told.value:
            parts.discard(self.part.path)
            raise CommandError(
                f"{self.wanted.label} is not what it was: {told.source} tells {told.value}, and "
                f"{expected.source} {expected.value}",
                "run it again",
                code=Exit.REFUSED,
            )

    def _settle(self, reply: aiohttp.ClientResponse) -> int | None:
        """Begins anew unless the answer goes on with exactly what is here; the whole size, if told."""
        etag = _strong(reply.headers.get("ETag"))
        if reply.status == _PARTIAL:
            found = _RANGE.fullmatch(reply.headers.get("Content-Range", ""))
            other = etag is not None and self.part.etag is not None and etag != self.part.etag
            if found is None or int(found[1]) != self.part.length or other:
                self.part.restart()
                raise _Again("the server sent another range")
            total = None if found[2] == "*" else int(found[2])
        else:
            self.part.restart()
            total = reply.content_length
        if self.wanted.size is not None and total not in (None, self.wanted.size):
            parts.discard(self.part.path)
            raise CommandError(
                f"{self.wanted.label} has {total} bytes where {self.wanted.size} were told", "run it again"
            )
        self.part.knows(etag)
        return total if total is not None else self.wanted.size

    async def _receive(self, reply: aiohttp.ClientResponse, total: int | None) -> None:
        looked = self.part.length
        self._watch(self.part.length, total)
        async for piece in reply.content.iter_chunked(PIECE):
            self.part.write(piece)
            self._watch(self.part.length, total)
            if self.part.length - looked >= _LOOK_AT_DISK_EVERY:
                looked = self.part.length
                require_disk(self.part.path.parent, 0, self.wanted.label)
        if total is not None and self.part.length < total:
            raise _Again("the connection ended early")


def require_disk(folder: Path, more_bytes: int, label: str) -> None:
    """Raises CommandError when the disk would be left with less than the installation needs."""
    free_mib = shutil.disk_usage(folder).free / 2**20
    needed_mib = max(0, more_bytes) / 2**20 + DISK_RESERVE_MIB
    if free_mib < needed_mib:
        raise CommandError(
            f"{label} needs {needed_mib:.0f} MiB ({DISK_RESERVE_MIB} of them are kept free), "
            f"and the disk of {folder} has {free_mib:.0f} MiB free",
            "make room there, or choose a smaller model; what was downloaded is kept and gone on with",
        )


def _strong(etag: str | None) -> str | None:
    return None if etag is None or etag.startswith("W/") else etag


def _not_vouched(wanted: Wanted, vouched: Checksum, digest: str) -> CommandError:
    return CommandError(
        f"{wanted.label} is not the file that {vouched.source} vouches for ({vouched.kind} {digest}, "
        f"where {vouched.value} was told); it was thrown away",
        "pull it again; if that repeats, don't trust what lies between you and its source",
        code=Exit.REFUSED,
    )
