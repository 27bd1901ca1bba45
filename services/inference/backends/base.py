"""What a replica asks of whatever generates: one Protocol for local models, upstream servers and plug-ins."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Protocol, runtime_checkable

from libs.shared.contracts.inference import GenerateChunk, GenerateRequest
from libs.shared.contracts.telemetry import ServedModel
from libs.shared.errors import Unsupported

Changed = Callable[[], None]
"""Told when the models that a backend can answer with, or its ``slots``, have changed."""


class Backend(Protocol):
    """One source of generated tokens. Made, loaded, asked many times at once, closed."""

    name: str
    """``openai``, ``ollama``, ``llama_cpp``, ``transformers``, ``extractive`` or a plug-in's."""

    @property
    def slots(self) -> int:
        """Requests it works on at the same time; further ones wait in the replica's queue."""
        ...

    async def load(self, changed: Changed) -> None:
        """Makes ready. Raises ModelDoesNotFit, ModelBroken, BackendFailed; an upstream that is away is no error."""
        ...

    def models(self) -> tuple[ServedModel, ...]:
        """What it can answer with now; rates are the replica's to add."""
        ...

    def troubles(self) -> tuple[str, ...]:
        """Words for telemetry's ``degraded``: what it should serve and can't, such as ``upstream-unreachable``."""
        ...

    def generate(self, request: GenerateRequest) -> AsyncIterator[GenerateChunk]:
        """Chunks as they are made; the last has ``finish_reason`` and ``usage``. Closing it stops the work."""
        ...

    async def close(self) -> None: ...


@runtime_checkable
class TakesAdapters(Protocol):
    """A backend whose models answer with LoRA adapters, too: those that ``ServedModel.adapters`` names."""

    def loaded_adapters(self) -> tuple[str, ...]:
        """In memory now, as ``model:adapter``."""
        ...

    async def prepare(self, request: GenerateRequest) -> None:
        """Brings the request's adapter into memory, before its time is measured.

        Raises AdapterNotFound, AdapterBroken, AdapterMismatched, ModelDoesNotFit.
        """
        ...


def refuse_unsupported(request: GenerateRequest, model: ServedModel) -> None:
    """Raises Unsupported naming the first thing that ``request`` needs and ``model`` can't do."""
    if request.tools.tools and not model.tools:
        raise Unsupported(f"{model.name} can't call tools", feature="tools")
    if wants_schema(request) and not model.json_schema:
        raise Unsupported(f"{model.name} can't keep to a response format", feature="response_format")
    if has_images(request) and not model.images:
        raise Unsupported(f"{model.name} can't see images", feature="images")


def wants_schema(request: GenerateRequest) -> bool:
    """Whether the answer's shape is constrained; ``{"type": "text"}`` constrains nothing."""
    wanted = request.tools.response_format
    return wanted is not None and wanted.get("type") != "text"


def has_images(request: GenerateRequest) -> bool:
    """Whether any message holds an image."""
    return any(
        part.type == "image_url"
        for message in request.messages
        if isinstance(message.content, tuple)
        for part in message.content
    )


def prompt_bytes(request: GenerateRequest) -> int:
    """Bytes of text in the prompt, tools and schema included; images are not counted."""
    size = sum(len(message.text.encode()) for message in request.messages)
    if request.tools.tools or request.tools.response_format:
        size += len(request.tools.model_dump_json())
    return size


def reads_on(request: GenerateRequest) -> str | None:
    """The session whose prompt is read on from where it was read last. With a seed there is none: read in other
    portions, a prompt's figures differ in their last bits, and answers are to be the same."""
    return request.session if request.sampling.seed is None else None
