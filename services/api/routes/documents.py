"""``/api/v1/documents``: one's own documents, which recall quotes by page."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from libs.shared.contracts.base import MIB
from libs.shared.contracts.common import Id, MemoryMode
from libs.shared.contracts.documents import (
    ADD_DOCUMENT,
    FORGET_DOCUMENT,
    LARGEST_DOCUMENT,
    LIST_DOCUMENTS,
    READ_DOCUMENT,
    AddDocument,
    Document,
    DocumentAdded,
    DocumentRef,
    Documents,
    ListDocuments,
)
from libs.shared.contracts.forgetting import Receipt
from libs.shared.errors import TooLarge
from services.api.access import Access, permit_memory
from services.api.bodies import invalid
from services.api.body_limits import Held, Room
from services.api.clients import WhileConnected
from services.api.errors import BadRequest
from services.api.pages import PageOf
from services.api.routing import CallerOf, Endpoint, PartsOf, caller_of, parts_of
from services.api.settings import ApiSettings
from services.api.uploads import Upload, receive_file

DocumentId = Annotated[Id, Path()]
_FORM_BYTES = MIB
"""What a form may have around its file."""


async def add_document(request: Request) -> Response:
    """Reads a file (the body itself with ``?name=``, or a form's part ``file``) and answers when it can be found.

    201: it is new, or its content is; 200: it was there already, word for word.
    """
    parts, caller = parts_of(request), caller_of(request)
    permit_memory(caller, MemoryMode.READ_WRITE)
    content = bytearray()
    upload = await receive_file(request, content.extend)
    wanted = _wanted(caller.user_id, request.query_params.get("name"), upload, bytes(content))
    async with WhileConnected(request.receive):
        added = await parts.bus.request(ADD_DOCUMENT, wanted)
    return JSONResponse(added.model_dump(mode="json"), 201 if added.changed else 200)


def _wanted(user_id: str, asked_name: str | None, upload: Upload, content: bytes) -> AddDocument:
    name = (asked_name or upload.name or "").strip()
    if not name or not name.isprintable():
        raise BadRequest("Give the document a printable name: ?name=…", param="name")
    if len(content) > LARGEST_DOCUMENT:
        raise TooLarge(f"A document may have {LARGEST_DOCUMENT} bytes.", limit_bytes=LARGEST_DOCUMENT)
    try:
        return AddDocument(user_id=user_id, name=name, media_type=upload.media_type, content=content)
    except ValidationError as error:
        raise invalid(error) from None


async def list_documents(parts: PartsOf, caller: CallerOf, page: PageOf) -> Documents:
    """Newest first."""
    permit_memory(caller, MemoryMode.READ)
    return await parts.bus.request(
        LIST_DOCUMENTS, ListDocuments(user_id=caller.user_id, limit=page.limit, cursor=page.cursor)
    )


async def read_document(parts: PartsOf, caller: CallerOf, document_id: DocumentId) -> Document:
    """What is known of one document; its passages are memories of the kind ``passage``."""
    permit_memory(caller, MemoryMode.READ)
    return await parts.bus.request(READ_DOCUMENT, DocumentRef(user_id=caller.user_id, document_id=document_id))


async def forget_document(parts: PartsOf, caller: CallerOf, document_id: DocumentId) -> Receipt:
    """Forgets a document with all its passages; the receipt says what went."""
    permit_memory(caller, MemoryMode.READ_WRITE)
    return await parts.bus.request(FORGET_DOCUMENT, DocumentRef(user_id=caller.user_id, document_id=document_id))


_DOCUMENTS_HELD = Held(3)


def _document_room(settings: ApiSettings) -> Room:
    return Room(
        body_bytes=LARGEST_DOCUMENT + _FORM_BYTES,
        body_s=settings.upload_timeout_s,
        request_s=settings.request_timeout_s,
        held=_DOCUMENTS_HELD,
    )


_OPTIONS: dict[str, Any] = {"tags": ["documents"]}
_FILE = {"type": "string", "format": "binary"}
_ADD: dict[str, Any] = {
    **_OPTIONS,
    "responses": {200: {"model": DocumentAdded}, 201: {"model": DocumentAdded}},
    "openapi_extra": {
        "parameters": [{"name": "name", "in": "query", "schema": {"type": "string", "maxLength": 512}}],
        "requestBody": {
            "required": True,
            "content": {
                "application/octet-stream": {"schema": _FILE},
                "multipart/form-data": {"schema": {"type": "object", "properties": {"file": _FILE}}},
            },
        },
    },
}
_ALL = "/api/v1/documents"
_ONE = _ALL + "/{document_id}"
ENDPOINTS = (
    Endpoint(method="GET", path=_ALL, handler=list_documents, access=Access.USER, options=_OPTIONS),
    Endpoint(
        method="POST",
        path=_ALL,
        handler=add_document,
        access=Access.USER,
        status=201,
        plain=True,
        room=_document_room,
        options=_ADD,
    ),
    Endpoint(method="GET", path=_ONE, handler=read_document, access=Access.USER, options=_OPTIONS),
    Endpoint(method="DELETE", path=_ONE, handler=forget_document, access=Access.USER, options=_OPTIONS),
)
