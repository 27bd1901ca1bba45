"""A user's documents in recall: cognition reads and cuts them, persistence keeps, lists and forgets them."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from libs.shared.contracts.base import MIB, Message, Principal, Rpc
from libs.shared.contracts.common import Id, Page
from libs.shared.contracts.forgetting import Receipt

_API = frozenset({Principal.API})
LARGEST_DOCUMENT = 24 * MIB
"""Bytes of a file."""


class Document(Message):
    """A kept document."""

    document_id: Id
    """Also the conversation id of its passages."""
    name: str
    media_type: str
    size: int
    pages: int | None
    passages: int
    added_at: datetime


class AddDocument(Message):
    """A file to read. The name tells documents apart: the same name with other content replaces what was there.

    Raises ``unsupported_document``, ``scanned_document`` (no text in it), ``document_damaged``, ``too_large``.
    """

    user_id: Id
    name: str = Field(min_length=1, max_length=512)
    media_type: str | None = None
    """None: by the name's ending and the content."""
    content: bytes


class DocumentAdded(Message):
    """Searchable now (by its words alone when ``degraded`` says so)."""

    document: Document
    changed: bool
    """False: it was there already, word for word."""
    degraded: str | None = None


class ListDocuments(Page):
    """Newest first."""

    user_id: Id


class Documents(Message):
    """A page."""

    documents: tuple[Document, ...]
    next_cursor: str | None = None


class DocumentRef(Message):
    """Raises ``document_not_found``, for another user's too."""

    user_id: Id
    document_id: Id


ADD_DOCUMENT = Rpc(
    "mongars.v1.cognition.add_document",
    AddDocument,
    DocumentAdded,
    owner=Principal.COGNITION,
    callers=_API,
    max_bytes=48 * MIB,
    timeout_s=280.0,
)
LIST_DOCUMENTS = Rpc(
    "mongars.v1.persistence.list_documents",
    ListDocuments,
    Documents,
    owner=Principal.PERSISTENCE,
    callers=_API,
)
READ_DOCUMENT = Rpc(
    "mongars.v1.persistence.read_document",
    DocumentRef,
    Document,
    owner=Principal.PERSISTENCE,
    callers=frozenset({Principal.API, Principal.COGNITION}),
)
FORGET_DOCUMENT = Rpc(
    "mongars.v1.persistence.forget_document",
    DocumentRef,
    Receipt,
    owner=Principal.PERSISTENCE,
    callers=_API,
    timeout_s=60.0,
)
