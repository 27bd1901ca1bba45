"""``/api/v1/memories/import/archive`` and ``/export``: a whole memory in, and out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from threading import Event
from typing import Annotated, Any, Literal

from fastapi import Query
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from libs.shared.contracts.common import MemoryMode
from libs.shared.errors import Overloaded, ServiceError
from libs.shared.telemetry import get_logger
from services.api.access import Access, permit_memory
from services.api.archives.importing import ArchiveImport
from services.api.archives.parsing import Contents, Stopped, read_archive
from services.api.body_limits import Room
from services.api.clients import WhileConnected
from services.api.exports import Everything, as_json, as_markdown
from services.api.pages import last_kept
from services.api.parts import Parts
from services.api.routing import CallerOf, Endpoint, PartsOf, caller_of, parts_of
from services.api.settings import ApiSettings
from services.api.spool import SealedSpool
from services.api.uploads import receive_file

log = get_logger(__name__)
_LINES = "application/x-ndjson"
_JOINED_CHARACTERS = 32 * 1024
_COME_AGAIN_S = 30.0


class ArchiveEvent(BaseModel):
    """A line of the answer. ``read``: the archive is whole, and this is in it. ``progress``: so much was imported.
    ``done``: everything can be found. ``failed``: it broke off, and why; importing the same file again goes on."""

    event: Literal["read", "progress", "done", "failed"]
    kind: Literal["chatgpt", "claude", "mongars"] | None = None
    conversations: int | None = None
    turns: int | None = None
    notes: int | None = None
    documents: int | None = None
    left_out: int | None = None
    imported: int | None = None
    present: int | None = None
    of: int | None = None
    degraded: str | None = None
    code: str | None = None
    detail: str | None = None


async def import_archive(request: Request) -> Response:
    """Imports an archive that ChatGPT, Claude or monGARS exported: the ZIP, its conversations.json, or our own JSON.

    Sent as the body itself, or as a form's part. It is read whole before anything is imported; 422
    ``archive_unreadable`` says that nothing was. Then lines of JSON tell how it goes, until ``done`` or ``failed``.
    """
    parts, caller = parts_of(request), caller_of(request)
    permit_memory(caller, MemoryMode.READ_WRITE)
    return _Importing(parts, caller.user_id, request)


class _Importing(Response):
    """Its head waits until the archive was read, so that a refusal still has its own status."""

    def __init__(self, parts: Parts, user_id: str, request: Request) -> None:
        super().__init__()
        self._parts = parts
        self._user_id = user_id
        self._request = request

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        parts, folder = self._parts, self._parts.settings.folder.run
        if self._user_id in parts.importers:
            raise Overloaded("Another archive of yours is being imported: try again.", retry_after_s=_COME_AGAIN_S)
        if parts.archives.locked():
            raise Overloaded("Other archives are being imported: try again.", retry_after_s=_COME_AGAIN_S)
        async with parts.archives:
            parts.importers.add(self._user_id)
            try:
                with SealedSpool(folder) as records:
                    contents = await self._read(records)
                    async with WhileConnected(receive):
                        await self._tell(ArchiveImport(parts, self._user_id, contents, records), send)
            finally:
                parts.importers.discard(self._user_id)

    async def _read(self, records: SealedSpool) -> Contents:
        with SealedSpool(self._parts.settings.folder.run) as uploaded:
            await receive_file(self._request, uploaded.write)
            return await _parsed(uploaded, records, self._parts)

    async def _tell(self, archive: ArchiveImport, send: Send) -> None:
        headers = [(b"content-type", _LINES.encode()), (b"cache-control", b"no-store"), (b"x-accel-buffering", b"no")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        try:
            async for event in archive.events():
                await send(_line(event))
        except ServiceError as error:
            log.warning("archive_import_broke_off", code=error.code)
            await send(_line({"event": "failed", "code": error.code, "detail": error.detail}))
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _parsed(uploaded: SealedSpool, records: SealedSpool, parts: Parts) -> Contents:
    """Reads it in a thread, which has ended in any case when this returns."""
    stop, now = Event(), datetime.fromtimestamp(parts.clock(), UTC)
    most_bytes = parts.settings.archive_inflated_bytes
    reading = asyncio.ensure_future(
        asyncio.to_thread(read_archive, uploaded, records, most_bytes=most_bytes, now=now, stop=stop)
    )
    try:
        return await asyncio.shield(reading)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait([reading])
        if not isinstance(reading.exception(), Stopped | None):
            log.warning("archive_unread", reason=type(reading.exception()).__name__)
        raise


def _line(event: dict[str, Any]) -> dict[str, Any]:
    body = json.dumps(event, ensure_ascii=False).encode() + b"\n"
    return {"type": "http.response.body", "body": body, "more_body": True}


async def export_memory(
    parts: PartsOf,
    caller: CallerOf,
    format: Annotated[Literal["json", "markdown"], Query(description="JSON can be imported again")] = "json",
) -> Response:
    """Everything that is kept of oneself: conversations, notes, facts, and what documents say."""
    permit_memory(caller, MemoryMode.READ)
    everything = Everything(parts, caller.user_id, await last_kept(parts, caller.user_id))
    at = datetime.fromtimestamp(parts.clock(), UTC)
    pieces, kind, suffix = (
        (as_json(everything, at), "application/json", "json")
        if format == "json"
        else (as_markdown(everything, at), "text/markdown", "md")
    )
    joined = _joined(pieces)
    first = await anext(joined)  # before the head, so that a refusal has its status
    return StreamingResponse(
        _after(first, joined),
        media_type=kind,
        headers={"Content-Disposition": f'attachment; filename="mongars-memory-{at:%Y-%m-%d}.{suffix}"'},
    )


async def _after(first: bytes, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in pieces:
        yield piece


async def _joined(pieces: AsyncIterator[str]) -> AsyncIterator[bytes]:
    """Fewer and larger pieces: each costs a write to the socket."""
    held: list[str] = []
    characters = 0
    async for piece in pieces:
        held.append(piece)
        characters += len(piece)
        if characters >= _JOINED_CHARACTERS:
            yield "".join(held).encode("utf-8", "replace")
            held, characters = [], 0
    yield "".join(held).encode("utf-8", "replace")


def _archive_room(settings: ApiSettings) -> Room:
    return Room(
        body_bytes=settings.archive_limit_bytes,
        body_s=settings.upload_timeout_s,
        request_s=settings.archive_timeout_s,
        held=None,  # it goes to the disk as it comes, and ``Parts.archives`` bounds how many there are
    )


_OPTIONS: dict[str, Any] = {"tags": ["memories"]}
_FILE = {"type": "string", "format": "binary"}
_IMPORT: dict[str, Any] = {
    **_OPTIONS,
    "responses": {200: {"description": "Lines of JSON", "model": ArchiveEvent}},
    "openapi_extra": {
        "requestBody": {
            "required": True,
            "content": {
                "application/zip": {"schema": _FILE},
                "application/json": {"schema": {"type": "object"}},
                "multipart/form-data": {"schema": {"type": "object", "properties": {"file": _FILE}}},
            },
        }
    },
}
_EXPORT: dict[str, Any] = {
    **_OPTIONS,
    "response_class": StreamingResponse,
    "responses": {200: {"content": {"application/json": {}, "text/markdown": {}}}},
}
ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/api/v1/memories/import/archive",
        handler=import_archive,
        access=Access.USER,
        plain=True,
        room=_archive_room,
        options=_IMPORT,
    ),
    Endpoint(
        method="GET",
        path="/api/v1/memories/export",
        handler=export_memory,
        access=Access.USER,
        room=_archive_room,
        options=_EXPORT,
    ),
)
