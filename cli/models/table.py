"""``mongars models list``: what is served and what lies in the folder, as one table."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from cli.installation import Installation
from cli.models import catalogue, machine, serving, shelf, showing
from cli.models.serving import Serving
from libs.shared.contracts.telemetry import ServedModel, with_adapter

TITLES = ("name", "state", "size", "context", "roles", "licence", "source")
_EXTRACTIVE = "extractive"
_COMMIT = re.compile(r"@([0-9a-f]{8})[0-9a-f]{4,}:")


async def rows(installation: Installation) -> list[dict[str, Any]]:
    """Also of one that doesn't run: then nothing is served."""
    told = await serving.read(installation) if serving.runs(installation) else Serving()
    return joined(shelf.present(installation.folder.models), told)


def joined(present: list[shelf.Present], told: Serving) -> list[dict[str, Any]]:
    """One row a model, by name, and one for each of its adapters behind it. Pure."""
    on_shelf = {model.name: model for model in present}
    names = {name for name, served in told.models.items() if served.backend != _EXTRACTIVE} | on_shelf.keys()
    found = []
    for name in sorted(names):
        row = _row(name, on_shelf.get(name), told)
        # A model that is called so goes before: the adapter can't be asked for by this name.
        adapted = (with_adapter(name, adapter) for adapter in told.adapters(name))
        found += [row, *(_adapted(row, own, told) for own in adapted if own not in names)]
    return found


def _row(name: str, here: shelf.Present | None, told: Serving) -> dict[str, Any]:
    served = told.models.get(name)
    manifest = here.manifest if here else None
    return {
        "name": name,
        "state": _state(name, here, served, told),
        "size": here.size if here else None,
        "context_tokens": served.context_tokens if served else (here.context_tokens if here else None),
        "adapter_of": None,
        "roles": told.holds(name),
        "kind": served.kind if served else "chat",
        "remote": served is not None and served.remote,
        "licence": manifest.licence if manifest else None,
        "source": manifest.origin if manifest else _elsewhere(served),
        "vouched_by": manifest.vouched_by if manifest else None,
        "file": str(here.file) if here else None,
    }


def _adapted(row: dict[str, Any], name: str, told: Serving) -> dict[str, Any]:
    """Of a model with one of its adapters, by the model's own row."""
    own = {"name": name, "adapter_of": row["name"], "roles": told.holds(name)}
    return row | own | dict.fromkeys(("size", "licence", "source", "vouched_by", "file"))


def _state(name: str, here: shelf.Present | None, served: ServedModel | None, told: Serving) -> str:
    if served is not None:
        return "served"
    if here is not None and here.problem is not None:
        return "model_broken"
    return told.trouble(name) or "present"


def _elsewhere(served: ServedModel | None) -> str | None:
    """Of a model without a manifest: what serves it, and whether that lies beyond this network."""
    if served is None:
        return None
    server = served.upstream or served.backend
    return f"{server} (remote)" if served.remote else server


def shown(row: dict[str, Any]) -> tuple[str, ...]:
    """A row for people."""
    return (
        row["name"],
        row["state"],
        showing.size(row["size"]) if row["size"] is not None else "-",
        str(row["context_tokens"] or "-"),
        ", ".join(row["roles"]) or "-",
        row["licence"] or "-",
        _COMMIT.sub(r"@\1:", row["source"] or (f"adapter of {row['adapter_of']}" if row["adapter_of"] else "-")),
    )


def suggested_rows(folder: Path) -> list[dict[str, Any]]:
    """The catalogue, held against this machine as it is now."""
    here = machine.look_at(folder)
    known = catalogue.catalogue()
    profile = catalogue.profile_of(here, known.profiles)
    found = []
    for model in known.models:
        proposed = any(model.file in getattr(profile, role) for role in model.roles)
        reason = catalogue.misfit(model, here, None)
        found.append(
            {
                "name": model.name,
                "size": showing.size(model.size_hint_mib * 2**20),
                "licence": model.licence,
                "role": ", ".join(model.roles),
                "suits": reason or (f"yes ({profile.name})" if proposed else "it fits"),
                "pull": f"{model.repository}:{model.file}",
            }
        )
    return found
