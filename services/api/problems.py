"""How a refusal looks over HTTP: RFC 9457 problem documents, and OpenAI's error shape under ``/v1``. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from itertools import islice
from math import ceil
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from libs.shared.errors import Forbidden, Internal, InvalidRequest, ServiceError
from services.api.errors import BadRequest, MethodNotAllowed, NotFound

PROBLEM_TYPE = "application/problem+json"
_TYPE_PREFIX = "urn:mongars:error:"
_OPENAI_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_MOST_ERRORS = 20
_UNION_BRANCH = re.compile(r"str|int|float|bool|literal\[.*|tuple\[.*|list\[.*|dict\[.*|function-.*|[A-Z]\w*")


def is_openai(path: str) -> bool:
    """Whether this path speaks OpenAI's dialect."""
    return path.startswith("/v1/")


def status_of(error: ServiceError, path: str) -> int:
    """OpenAI's clients know an invalid request as 400. A denial between services is our fault, not the caller's."""
    if isinstance(error, InvalidRequest) and is_openai(path):
        return 400
    return 500 if isinstance(error, Forbidden) else error.status


def openai_error(error: ServiceError, status: int) -> dict[str, Any]:
    """The object under ``error``."""
    kind = _OPENAI_TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    data = {name: value for name, value in error.data.items() if name not in ("param", "errors")}
    return {"message": error.detail, "type": kind, "param": error.data.get("param"), "code": error.code, **data}


def problem(error: ServiceError, status: int) -> dict[str, Any]:
    """The members of a problem document."""
    return {
        **error.data,
        "type": _TYPE_PREFIX + error.code,
        "title": error.code.replace("_", " ").capitalize(),
        "status": status,
        "detail": error.detail,
        "code": error.code,
    }


def response_to(error: ServiceError, path: str, headers: Mapping[str, str] | None = None) -> Response:
    """The whole response."""
    status = status_of(error, path)
    if is_openai(path):
        body, kind = {"error": openai_error(error, status)}, "application/json"
    else:
        body, kind = problem(error, status), PROBLEM_TYPE
    more = dict(headers or {})
    if status == 401:
        more["WWW-Authenticate"] = "Bearer"
    if status in (408, 413):
        more["Connection"] = "close"  # the rest of the body will not be read
    wait_s = error.data.get("retry_after_s")
    if isinstance(wait_s, int | float):
        more["Retry-After"] = str(max(1, ceil(wait_s)))
    return Response(json.dumps(body, default=str), status, more, kind)


def invalid(errors: Iterable[Mapping[str, Any]]) -> InvalidRequest:
    """What a validator found, without the values that it found."""
    found = [{"field": _field(error["loc"]), "message": str(error["msg"])} for error in islice(errors, _MOST_ERRORS)]
    first = found[0]
    said = f"{first['field']}: {first['message']}" if first["field"] else first["message"]
    return InvalidRequest(said, errors=found, param=_param(first["field"]))


def _field(location: Iterable[str | int]) -> str:
    """The field's path as the caller wrote it, without pydantic's names for the branches of a union."""
    return ".".join(part for part in map(str, location) if not _UNION_BRANCH.fullmatch(part))


def _param(field: str) -> str:
    return field.removeprefix("body.")


def from_exception(error: Exception) -> ServiceError:
    """The refusal that a library's exception stands for."""
    match error:
        case ServiceError():
            return error
        case RequestValidationError():
            return invalid(error.errors())
        case HTTPException() if isinstance(error.__cause__, ServiceError):
            return error.__cause__  # raised by ``receive`` while FastAPI read the body
        case HTTPException(status_code=404):
            return NotFound("There is nothing at this path.")
        case HTTPException(status_code=405):
            return MethodNotAllowed("This path doesn't know the method.")
        case HTTPException() if error.status_code < 500:
            return BadRequest(str(error.detail))
        case _:
            return Internal("A fault of ours: it has been logged.")
