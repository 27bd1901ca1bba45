"""Has a document read in a child process, which is killed when it takes more than it may."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from contextlib import suppress
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, ValidationError

from libs.shared.contracts.keeping import MOST_PASSAGES, Passage
from libs.shared.errors import DocumentDamaged, Overloaded, ServiceError, TooLarge
from libs.shared.telemetry import get_logger
from services.cognition.documents.kinds import MEDIA_TYPES, Kind, text_kind

PROGRAM = "services.cognition.documents.reader_process"
MOST_WAITING = 8
ANSWER_BYTES = 64 * 1024 * 1024
_CHUNK = 1024 * 1024
_CPU_MARGIN_S = 5
"""The clock ends the child first, so that the answer can say why."""
_TOO_LONG = "the document takes too long to read; split it, or save it as text"

log = get_logger(__name__)


@dataclass(frozen=True)
class Allowance:
    """What reading one document may take."""

    time_s: float
    memory_mib: int
    """Of address space, libraries included."""


@dataclass(frozen=True)
class Document:
    """A document as it was read."""

    media_type: str
    pages: int | None
    passages: tuple[Passage, ...]


class _Answer(BaseModel):
    """The child's words, which may be anything once a hostile file has got the better of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind | None = None
    pages: int | None = None
    passages: tuple[tuple[str, int | None], ...] = ()
    refused: str | None = None
    detail: str = ""


class Reader:
    """Reads one document at a time: it is quick, and memory on a board is short."""

    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance
        self._turn = asyncio.Semaphore(1)
        self._waiting = 0

    async def read(self, content: bytes, name: str, media_type: str | None) -> Document:
        """Raises as AddDocument says, InvalidRequest when there is no text in it, Overloaded."""
        if self._waiting >= MOST_WAITING:
            raise Overloaded("too many documents wait to be read", retry_after_s=5.0)
        self._waiting += 1
        try:
            async with self._turn:
                return _checked(await self._ask(content, text_kind(name, media_type)))
        finally:
            self._waiting -= 1

    async def _ask(self, content: bytes, if_text: Kind) -> _Answer:
        process = await self._start(if_text)
        try:
            async with asyncio.timeout(self._allowance.time_s):
                told = await _exchanged(process, content)
                code = await process.wait()
        except TimeoutError as error:
            raise TooLarge(_TOO_LONG) from error
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if code != 0:
            log.warning("document_reader_ended", exit_code=code)
            raise DocumentDamaged("the document can't be read: save it again, or as text")
        try:
            return _Answer.model_validate_json(told)
        except ValidationError:
            log.warning("document_reader_babbled")
            raise DocumentDamaged("the document can't be read: save it again, or as text") from None

    async def _start(self, if_text: Kind) -> Process:
        """Without the environment, and whatever it may hold; its words go nowhere, since they may quote the file."""
        cpu_s = int(self._allowance.time_s) + _CPU_MARGIN_S
        leash = map(str, (os.getpid(), self._allowance.memory_mib, cpu_s))
        return await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", PROGRAM, if_text, *leash,
            stdin=PIPE, stdout=PIPE, stderr=DEVNULL, limit=_CHUNK,
            env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONUTF8": "1"},
        )  # fmt: skip


async def _exchanged(process: Process, content: bytes) -> bytes:
    """Everything the child says, up to a bound."""
    assert process.stdin is not None
    assert process.stdout is not None
    with suppress(BrokenPipeError, ConnectionResetError):  # its exit says what there is to say
        process.stdin.write(content)
        await process.stdin.drain()
    process.stdin.close()
    told = bytearray()
    while chunk := await process.stdout.read(_CHUNK):
        told += chunk
        if len(told) > ANSWER_BYTES:
            raise TooLarge("there is more text in the document than can be kept; split it")
    return bytes(told)


def _checked(told: _Answer) -> Document:
    if told.refused is not None:
        raise ServiceError.named(told.refused, told.detail, {})
    if told.kind is None or not told.passages:
        raise DocumentDamaged("the document can't be read: save it again, or as text")
    if len(told.passages) > MOST_PASSAGES:
        raise TooLarge("there is more text in the document than can be kept; split it", most_passages=MOST_PASSAGES)
    passages = tuple(Passage(text=text, page=page) for text, page in told.passages)
    return Document(MEDIA_TYPES[told.kind], told.pages, passages)
