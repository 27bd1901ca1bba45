"""``POST /v1/embeddings``: texts as vectors, from whichever replica the scheduler names."""

from __future__ import annotations

import base64
import json
import struct
from typing import Literal

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from libs.shared.contracts.inference import EMBED, Embeddings, EmbedRequest
from libs.shared.contracts.scheduling import PLACE, Placement, PlaceRequest
from libs.shared.errors import BackendFailed, Overloaded, ServiceError, TimedOut, Unavailable
from services.api.access import Access
from services.api.bodies import OpenAIBody, parse, read_body
from services.api.clients import WhileConnected
from services.api.errors import BadRequest, UnsupportedParameter
from services.api.gate import ALLOWANCE
from services.api.parts import Parts
from services.api.routing import Endpoint, parts_of

_BATCH = 32
"""Texts that one replica is asked for at a time: few enough that a small board has them well within its time."""
_ATTEMPTS = 3
_CHARACTERS_PER_TOKEN = 3
_ANOTHER_MAY = (Unavailable, TimedOut, Overloaded, BackendFailed)
"""Failures of one replica that say nothing of the others."""


class EmbeddingRequest(OpenAIBody):
    """Texts; tokens of a tokenizer that isn't known here are refused."""

    input: str | tuple[str, ...] | tuple[int, ...] | tuple[tuple[int, ...], ...]
    model: str | None = Field(default=None, max_length=256)
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(default=None, ge=1)

    def texts(self) -> tuple[str, ...]:
        """Raises BadRequest, UnsupportedParameter."""
        texts = (self.input,) if isinstance(self.input, str) else self.input
        if not texts or any(text == "" for text in texts):
            raise BadRequest("There is nothing to embed.", param="input")
        if len(texts) > 2048:
            raise BadRequest("A request may have 2,048 texts.", param="input")
        strings = tuple(text for text in texts if isinstance(text, str))
        if len(strings) != len(texts):
            raise UnsupportedParameter("Send texts, not tokens.", param="input")
        return strings


async def create_embeddings(request: Request) -> Response:
    """One vector a text, in order."""
    parts = parts_of(request)
    await parts.preemption.tell("embed")
    wanted = parse(EmbeddingRequest, await read_body(request.receive))
    texts = wanted.texts()
    async with WhileConnected(request.receive):
        model, embedded = await _embed(parts, wanted, texts)
    tokens = sum(batch.prompt_tokens for batch in embedded)
    parts.limits.spend_tokens(request.scope[ALLOWANCE], tokens)
    return Response(_told(model, embedded, tokens, wanted.encoding_format), media_type="application/json")


async def _embed(parts: Parts, wanted: EmbeddingRequest, texts: tuple[str, ...]) -> tuple[str, list[Embeddings]]:
    embedded: list[Embeddings] = []
    model = wanted.model
    for start in range(0, len(texts), _BATCH):
        placement, batch = await _embed_batch(parts, wanted, texts[start : start + _BATCH])
        model = placement.model.name
        embedded.append(batch)
    return model or "", embedded


async def _embed_batch(parts: Parts, wanted: EmbeddingRequest, texts: tuple[str, ...]) -> tuple[Placement, Embeddings]:
    """Asks up to three replicas. Raises ModelNotFound, NoModel, NoNode, Unsupported."""
    tried: tuple[str, ...] = ()
    failure: ServiceError = Unavailable("No replica could be asked.")
    tokens = sum(map(len, texts)) // _CHARACTERS_PER_TOKEN
    for _ in range(_ATTEMPTS):
        try:
            placement = await parts.bus.request(
                PLACE, PlaceRequest(kind="embed", model=wanted.model, prompt_tokens=tokens, exclude=tried)
            )
        except ServiceError as error:
            raise failure if tried else error from None
        _check_dimensions(wanted, placement)
        try:
            return placement, await parts.bus.request(
                EMBED, EmbedRequest(model=placement.model.name, texts=texts), replica=placement.replica
            )
        except _ANOTHER_MAY as error:
            failure, tried = error, (*tried, placement.replica)
    raise failure


def _check_dimensions(wanted: EmbeddingRequest, placement: Placement) -> None:
    if wanted.dimensions is not None and wanted.dimensions != placement.model.dimensions:
        raise UnsupportedParameter(
            f"This model's vectors have {placement.model.dimensions} dimensions.", param="dimensions"
        )


def _told(model: str, embedded: list[Embeddings], tokens: int, encoding: str) -> str:
    vectors = [vector for batch in embedded for vector in batch.vectors]
    data = [
        {"object": "embedding", "index": index, "embedding": _encoded(vector, encoding)}
        for index, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return json.dumps({"object": "list", "data": data, "model": model, "usage": usage}, separators=(",", ":"))


def _encoded(vector: bytes, encoding: str) -> str | list[float]:
    """Little-endian float32 is what OpenAI's base64 holds, too."""
    if encoding == "base64":
        return base64.b64encode(vector).decode()
    return list(struct.unpack(f"<{len(vector) // 4}f", vector))


ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/v1/embeddings",
        handler=create_embeddings,
        access=Access.CHAT,
        plain=True,
        body=EmbeddingRequest,
        options={"tags": ["openai"]},
    ),
)
