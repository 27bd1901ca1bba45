"""Taking a file out of a request, piece by piece: sent as the body itself, or as a part of a form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from services.api.clients import ClientGone
from services.api.errors import BadRequest

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

_NO_KIND = frozenset({"", "application/octet-stream", "application/x-www-form-urlencoded"})
"""What clients say of a body whose kind they don't know."""
_LONGEST_HEADER = 8192
_MOST_PARTS = 16

Sink = Callable[[bytes], object]


@dataclass(frozen=True)
class Upload:
    """What the client said of its file."""

    name: str | None
    media_type: str | None


async def receive_file(request: Request, sink: Sink) -> Upload:
    """Gives the file's bytes to ``sink`` as they come. Raises BadRequest, and ClientGone when the client leaves."""
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind != b"multipart/form-data":
        await _pieces(request, sink)
        return Upload(None, _media_type(kind))
    form = _Form(sink)
    try:
        parser = MultipartParser(options.get(b"boundary", b""), form.callbacks())
        await _pieces(request, parser.write)
        parser.finalize()
    except FormParserError:
        raise BadRequest("The form can't be read: is its boundary right, and is it whole?") from None
    if form.found is None:
        raise BadRequest("The form has no file: send one as the part “file”.", param="file")
    return form.found


async def _pieces(request: Request, sink: Sink) -> None:
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        if body := message.get("body", b""):
            sink(body)
        if not message.get("more_body", False):
            return


@dataclass
class _Form:
    """Passes on the first part that is a file, and reads past the others."""

    sink: Sink
    found: Upload | None = None
    _parts: int = 0
    _taking: bool = False
    _name: bytearray = field(default_factory=bytearray)
    _value: bytearray = field(default_factory=bytearray)
    _headers: dict[bytes, bytes] = field(default_factory=dict)

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._add_name,
            "on_header_value": self._add_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_part_data": self._data,
        }

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > _MOST_PARTS:
            raise BadRequest("The form has too many parts.")
        self._headers = {}
        self._taking = False

    def _add_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]
        self._bound()

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        self._bound()

    def _bound(self) -> None:
        if len(self._name) + len(self._value) > _LONGEST_HEADER:
            raise BadRequest("A header in the form is too long.")

    def _end_header(self) -> None:
        self._headers[bytes(self._name).lower()] = bytes(self._value)
        self._name, self._value = bytearray(), bytearray()

    def _end_headers(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        name = options.get(b"filename")
        if self.found is None and name is not None:
            kind, _ = parse_options_header(self._headers.get(b"content-type"))
            self.found = Upload(name.decode("utf-8", "replace") or None, _media_type(kind))
            self._taking = True

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._taking:
            self.sink(data[start:end])


def _media_type(kind: bytes) -> str | None:
    said = kind.decode("latin-1").lower()
    return None if said in _NO_KIND else said
