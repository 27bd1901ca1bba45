"""Programs that people have, as their requests look: the shapes lie in ``tests/data/clients``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SHAPES = Path(__file__).resolve().parents[1] / "data" / "clients"


@dataclass(frozen=True)
class Shape:
    """What one client sends; ``{names}`` in it are filled in."""

    name: str
    headers: Mapping[str, str]
    system: str | None
    turn: Mapping[str, Any]
    tasks: Mapping[str, Mapping[str, Any]]
    with_sources: str = ""


def shape(name: str) -> Shape:
    """``open_webui``, ``librechat`` or ``llm``."""
    told = json.loads((_SHAPES / f"{name}.json").read_text())
    return Shape(
        name, told["headers"], told["system"], told["turn"], told["tasks"], with_sources=told.get("with_sources", "")
    )


def filled(value: Any, about: Mapping[str, Any]) -> Any:
    """``value`` with each ``{name}`` of ``about`` in its place; a text that is one name alone becomes what it names."""
    if isinstance(value, Mapping):
        return {key: filled(one, about) for key, one in value.items()}
    if isinstance(value, list):
        return [filled(one, about) for one in value]
    if not isinstance(value, str):
        return value
    for name, told in about.items():
        if value == f"{{{name}}}":
            return told
        value = value.replace(f"{{{name}}}", str(told))
    return value
