"""Which of the models' adapters a caller is shown: those that everybody may use, and the caller's own."""

from __future__ import annotations

from collections.abc import Collection

from libs.shared.bus.base import Bus
from libs.shared.contracts.adapters import LIST_ADAPTERS
from libs.shared.contracts.base import Empty
from libs.shared.contracts.scheduling import Models
from libs.shared.contracts.telemetry import ServedModel, with_adapter
from libs.shared.errors import ServiceError
from libs.shared.scopes import ON_BEHALF_OF
from services.api.access import Caller


async def visible_to(caller: Caller, models: Models, bus: Bus) -> Models:
    """``models`` without the adapters that the caller may not use; as long as nobody knows whose they are, without any
    that isn't everybody's."""
    if not any(model.restricted for model in models.models):
        return models
    if ON_BEHALF_OF in caller.scopes:
        return without(models, ())
    try:
        told = await bus.request(LIST_ADAPTERS, Empty())
    except ServiceError:
        return without(models, ())
    known = [one for one in told.adapters if one.manifest is not None]
    return without(models, {one.name for one in known if one.owners is None or caller.user_id in one.owners})


def without(models: Models, may_use: Collection[str]) -> Models:
    """A role that has a hidden adapter is shown with the model alone. Pure."""
    hidden = {
        with_adapter(model.name, adapter)
        for model in models.models
        for adapter in model.restricted
        if adapter not in may_use
    }

    def shown(default: str | None) -> str | None:
        return default.rpartition(":")[0] if default in hidden else default

    return models.model_copy(
        update={
            "models": tuple(_without(model, may_use) for model in models.models),
            "default_chat": shown(models.default_chat),
            "default_code": shown(models.default_code),
        }
    )


def _without(model: ServedModel, may_use: Collection[str]) -> ServedModel:
    kept = tuple(name for name in model.adapters if name not in model.restricted or name in may_use)
    return model.model_copy(update={"adapters": kept})
