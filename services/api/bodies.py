"""Reading a request's body once, straight into the model that it must fit."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.types import Receive

from libs.shared.errors import InvalidRequest
from services.api import problems
from services.api.clients import ClientGone

B = TypeVar("B", bound=BaseModel)


class Body(BaseModel):
    """A body under ``/api``: unknown fields and wrong types are refused."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class OpenAIBody(BaseModel):
    """A body under ``/v1``: unknown fields are ignored, as OpenAI-compatible servers do; wrong types are refused."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, allow_inf_nan=False, protected_namespaces=())


async def read_body(receive: Receive) -> bytes:
    """The whole body. Raises ClientGone when the client leaves before its end."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        part = message.get("body", b"")
        if not message.get("more_body", False):
            return b"".join((*parts, part)) if parts else part
        parts.append(part)


def parse(model: type[B], body: bytes) -> B:
    """Raises InvalidRequest, which names the fields and repeats no value."""
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise invalid(error) from None


def invalid(error: ValidationError) -> InvalidRequest:
    """The refusal for what pydantic found."""
    return problems.invalid(error.errors(include_url=False, include_input=False, include_context=False))
