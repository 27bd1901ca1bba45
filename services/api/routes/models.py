"""``GET /v1/models``: what any live node can answer with."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import Path
from pydantic import BaseModel

from libs.shared.contracts.base import Empty
from libs.shared.contracts.scheduling import LIST_MODELS, Models
from libs.shared.contracts.telemetry import ServedModel, with_adapter
from libs.shared.errors import ModelNotFound
from libs.shared.roles import PREFIX, Role
from services.api.access import Access, Caller
from services.api.adapters import visible_to
from services.api.parts import Parts
from services.api.routing import CallerOf, Endpoint, PartsOf

_EXTRACTIVE = "extractive"


class Whereabouts(BaseModel):
    """Where a model answers. ``remote``: what is asked leaves this network for ``upstream``."""

    remote: bool
    upstream: str | None


class Model(BaseModel):
    """A model in OpenAI's words, with what it can do."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str
    kind: str
    context_tokens: int
    tools: bool
    images: bool
    json_schema: bool
    mongars: Whereabouts
    alias_of: str | None = None
    """Of a role: the model that has it now."""
    adapter_of: str | None = None
    """Of an adapter: the model that it changes."""


class ModelList(BaseModel):
    """The default comes first, then what can chat, then what embeds, then models with an adapter, then the
    roles that may be named instead."""

    object: Literal["list"] = "list"
    data: list[Model]


def listed(models: Models) -> list[Model]:
    """In the order in which a client that takes the first one is served best."""

    def rank(model: ServedModel) -> tuple[bool, bool, str]:
        return (model.kind != "chat", model.name == _EXTRACTIVE, model.name)

    ranked = sorted(models.models, key=rank)
    own = {model.name for model in ranked}
    adapted = [_adapted(model, adapter) for model in ranked for adapter in model.adapters]
    # A model that is called so goes before: the adapter can't be asked for by this name.
    every = [*map(_described, ranked), *(one for one in adapted if one.id not in own)]
    every.sort(key=lambda model: model.id != models.default_chat)
    return [*every, *_aliases(models, every)]


def _adapted(model: ServedModel, adapter: str) -> Model:
    """A model with one of its adapters, which is asked for as a model of its own."""
    name = with_adapter(model.name, adapter)
    return _described(model).model_copy(update={"id": name, "adapter_of": model.name})


def _described(model: ServedModel) -> Model:
    return Model(
        id=model.name,
        owned_by=model.backend,
        kind=model.kind,
        context_tokens=model.context_tokens,
        tools=model.tools,
        images=model.images,
        json_schema=model.json_schema,
        mongars=Whereabouts(remote=model.remote, upstream=model.upstream),
    )


def _aliases(models: Models, every: list[Model]) -> list[Model]:
    """The roles under names of their own, each with what its model can do."""
    served = {model.id: model for model in every}
    holders: dict[Role, str | None] = {
        "chat": models.default_chat,
        "code": models.default_code,
        "embed": models.default_embed,
    }
    return [
        served[name].model_copy(update={"id": PREFIX + role, "owned_by": "mongars", "alias_of": name})
        for role, name in holders.items()
        if name in served
    ]


async def list_models(parts: PartsOf, caller: CallerOf) -> ModelList:
    """Every model that the caller's requests may name."""
    return ModelList(data=await _models(parts, caller))


async def read_model(parts: PartsOf, caller: CallerOf, model_id: str = Path(max_length=256)) -> Model:
    """One model."""
    for model in await _models(parts, caller):
        if model.id == model_id:
            return model
    raise ModelNotFound("No node serves this model.", param="model")


async def _models(parts: Parts, caller: Caller) -> list[Model]:
    told = await parts.bus.request(LIST_MODELS, Empty())
    return listed(await visible_to(caller, told, parts.bus))


_OPTIONS: dict[str, Any] = {"tags": ["openai"]}
ENDPOINTS = (
    Endpoint(method="GET", path="/v1/models", handler=list_models, access=Access.CHAT, options=_OPTIONS),
    Endpoint(method="GET", path="/v1/models/{model_id:path}", handler=read_model, access=Access.CHAT, options=_OPTIONS),
)
