"""How messages, refusals and headers look in bytes: the same for every implementation of the bus."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, TypeVar

from pydantic import ValidationError

from libs.shared.contracts.base import KIB, Message
from libs.shared.errors import Internal, InvalidRequest, ServiceError, TooLarge

PART_BYTES = 512 * KIB
"""A body over this crosses in parts."""

M = TypeVar("M", bound=Message)

_LINE = b"NATS/1.0\r\n"
MESSAGE_ID = "Nats-Msg-Id"
ERROR = "Nats-Service-Error"
ERROR_CODE = "Nats-Service-Error-Code"
CHUNK = "Mongars-Chunk"
PART = "Mongars-Part"
PARTS = "Mongars-Parts"
GRANT = "Mongars-Grant"
ALIVE = "Mongars-Alive"


class Incoming:
    """One message as it came: ``raw`` is its header block, None when it has none."""

    __slots__ = ("body", "raw", "reply", "subject")

    def __init__(self, subject: str, reply: str, body: bytes, raw: bytes | None) -> None:
        self.subject = subject
        self.reply = reply
        self.body = body
        self.raw = raw

    def header(self, name: str) -> str | None:
        """The first value of ``name``, which is matched as it was written."""
        return None if self.raw is None else header(self.raw, name)

    @property
    def status(self) -> int:
        """A status that the broker sends instead of a body (503: nobody listens); 0 for an ordinary message."""
        return 0 if self.raw is None or self.raw[8:9] != b" " else int(self.raw[9:12])


def header(raw: bytes, name: str) -> str | None:
    """One header out of a block, without building a dictionary of them."""
    mark = b"\r\n%b:" % name.encode()
    at = raw.find(mark)
    if at < 0:
        return None
    at += len(mark)
    return raw[at : raw.index(b"\r\n", at)].strip().decode("utf-8", "replace")


def block(headers: Mapping[str, str], lines: bytes = b"") -> bytes:
    """A header block; ``lines`` are ready-made ones. Raises ValueError for what could forge a line."""
    for name, value in headers.items():
        if not value.isprintable():
            raise ValueError(f"header {name} holds control characters")
        lines += f"{name}: {value}\r\n".encode()
    return _LINE + lines + b"\r\n"


def encode(message: Message, limit: int) -> bytes:
    """JSON. Raises TooLarge."""
    body: bytes = message.__pydantic_serializer__.to_json(message)
    if len(body) > limit:
        raise too_large(limit)
    return body


def decode(model: type[M], body: bytes) -> M:
    """The message that ``body`` holds. Raises InvalidRequest, which names fields and never repeats a value."""
    try:
        # pydantic types its validator as Any
        found: M = model.__pydantic_validator__.validate_json(body or b"{}")
    except ValidationError as error:
        raise InvalidRequest("the message does not fit its contract", errors=_problems(model, error)) from None
    return found


def decode_reply(model: type[M], body: bytes) -> M:
    """As ``decode``, where the fault is the server's: an answer that breaks its contract is Internal."""
    try:
        return decode(model, body)
    except InvalidRequest as error:
        raise Internal("the answer does not fit its contract", **error.data) from None


def too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body is larger than {limit} bytes", limit_bytes=limit)


def error_block(error: ServiceError) -> bytes:
    """Headers that mark a refusal, as NATS micro services send them."""
    return block({ERROR: error.code, ERROR_CODE: str(error.status)})


def encode_error(error: ServiceError) -> bytes:
    return json.dumps({"code": error.code, "detail": error.detail, "data": error.data}, default=str).encode()


def decode_error(incoming: Incoming) -> ServiceError | None:
    """The refusal that a message carries, None when it carries none."""
    if incoming.raw is None or (code := incoming.header(ERROR)) is None:
        return None
    try:
        told = json.loads(incoming.body)
        return ServiceError.named(str(told["code"]), str(told["detail"]), dict(told["data"]))
    except (ValueError, KeyError, TypeError):
        return ServiceError.named(code, "", {})


def parts_of(body: bytes) -> list[bytes]:
    """``body`` in pieces of PART_BYTES; one piece when it is small."""
    if len(body) <= PART_BYTES:
        return [body]
    return [body[at : at + PART_BYTES] for at in range(0, len(body), PART_BYTES)]


def _problems(model: type[Message], error: ValidationError) -> list[dict[str, str]]:
    known = _field_names(model)
    return [
        {
            # a dictionary's key is a value too, so only declared names and indices are repeated
            "field": ".".join(str(p) if isinstance(p, int) or p in known else "*" for p in problem["loc"]),
            "problem": problem["type"],
        }
        for problem in error.errors(include_url=False, include_context=False, include_input=False)[:20]
    ]


@lru_cache(maxsize=256)
def _field_names(model: type[Message]) -> frozenset[str]:
    return frozenset(_properties(model.model_json_schema()))


def _properties(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        yield from schema.get("properties", {})
        for value in schema.values():
            yield from _properties(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _properties(value)
