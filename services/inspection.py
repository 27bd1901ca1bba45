"""``python -m services.inspection STATE WHAT…``: looks at what only the services understand, for ``mongars doctor``.

Prints one JSON object with what was asked for: ``settings``, ``models``, ``slots``. Nothing is changed.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import SettingsError

from libs.shared import gguf
from libs.shared.errors import ModelBroken
from libs.shared.layout import StateFolder
from libs.shared.settings import ServiceSettings

_SERVICES = ("api", "cognition", "persistence", "scheduler", "inference", "trainer", "optimizer")
_PREFIX = "MONGARS_"


def settings(_folder: StateFolder) -> dict[str, Any]:
    """Every variable that a service reads, and what is wrong with those that are set: never a value."""
    known: set[str] = set()
    problems: list[dict[str, str]] = []
    for service in _SERVICES:
        model = _settings_of(service)
        known |= {_PREFIX + name.upper() for name in model.model_fields}
        problems += _problems(service, model)
    return {"known": sorted(known), "problems": problems}


def _settings_of(service: str) -> type[ServiceSettings]:
    module = importlib.import_module(f"services.{service}.settings")
    return next(
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, ServiceSettings) and value is not ServiceSettings
    )


def _problems(service: str, model: type[ServiceSettings]) -> Iterator[dict[str, str]]:
    try:
        model()
    except ValidationError as error:
        for one in error.errors(include_input=False, include_url=False):
            variable = _PREFIX + str(one["loc"][0] if one["loc"] else "").upper()
            # a validator of ours may quote the value; the library's own messages don't
            reason = one["msg"] if one["type"] != "value_error" else "it is not what it has to be"
            yield {"service": service, "variable": variable, "reason": reason}
    except SettingsError as error:
        field = next((name for name in model.model_fields if f'"{name}"' in str(error)), "")
        yield {"service": service, "variable": _PREFIX + field.upper(), "reason": "it is not JSON"}


def models(folder: StateFolder) -> dict[str, Any]:
    """Model files that can't be read whole, a configuration that can't be read, weights that aren't the pinned ones."""
    from services.inference.models import read_catalogue

    configured = _configured_models()
    catalogue = read_catalogue(folder.models, configured, None)
    broken = [{"name": label, "reason": reason} for label, reason in catalogue.refused.items()]
    for spec in catalogue.specs:
        if spec.local and spec.path is not None and (reason := _broken(spec.path, spec.backend)):
            broken.append({"name": spec.label, "reason": reason})
    return {"broken": broken, "embedder": _embedder()}


def _configured_models() -> Any:
    from services.inference.settings import InferenceSettings

    try:
        return InferenceSettings().models
    except (ValidationError, SettingsError):
        return ()


def _broken(path: Path, backend: str) -> str:
    if not path.exists():
        return "not-found"
    if backend != "llama_cpp":
        return "" if (path / "config.json").is_file() else "not-found"

    try:
        gguf.read_header(path)
        expected = gguf.expected_bytes(path)
    except ModelBroken as error:
        return error.detail
    return "" if path.stat().st_size >= expected else "cut-short"


def _embedder() -> str:
    """``""`` when the weights are the pinned ones; else what is wrong."""
    from services.inference.embedder_graph import (
        TOKENIZER_SHA256,
        WEIGHTS_SHA256,
        WeightsDiffer,
        verify,
        weights_folder,
    )

    try:
        source = weights_folder()
        verify(source / "model.safetensors", WEIGHTS_SHA256)
        verify(source / "tokenizer.json", TOKENIZER_SHA256)
    except ModuleNotFoundError:
        return "not-installed"
    except WeightsDiffer:
        return "changed"
    return ""


def slots(folder: StateFolder) -> dict[str, Any]:
    """``file``: ``whole``, ``missing``, ``damaged``; ``size``: slots; ``opens``: whether a user's key in
    ``users`` (slots, given on standard input as JSON) opens, None where there is none."""
    from services.persistence.slot_file import HEADER_BYTES, SLOT_BYTES, SlotFileDamaged, judge_header

    try:
        with folder.slots.open("rb") as file:
            judge_header(file.read(HEADER_BYTES), folder.slots)
            content = folder.slots.stat().st_size - HEADER_BYTES
            wanted = json.loads(sys.stdin.read() or "[]")
            opens = _opens(folder, file.fileno(), wanted) if wanted else None
    except FileNotFoundError:
        return {"file": "missing"}
    except SlotFileDamaged:
        return {"file": "damaged"}
    if content < 0 or content % SLOT_BYTES:
        return {"file": "damaged"}
    return {"file": "whole", "size": content // SLOT_BYTES, "opens": opens}


def _opens(folder: StateFolder, file: int, user_slots: list[int]) -> bool | None:
    from libs.shared.sealing import Unreadable, unseal
    from services.persistence.sealing import InstallationKeyMissing, read_installation_key
    from services.persistence.slot_file import HEADER_BYTES, SLOT_BYTES, decode_slot

    try:
        key = read_installation_key(folder.installation_key)
    except InstallationKeyMissing:
        return None
    for slot in user_slots:
        sealed = decode_slot(slot, os.pread(file, SLOT_BYTES, HEADER_BYTES + slot * SLOT_BYTES))
        try:
            if sealed is not None:
                unseal(key, sealed)
                return True
        except Unreadable:
            continue
    return False


_LOOKS: dict[str, Callable[[StateFolder], dict[str, Any]]] = {"settings": settings, "models": models, "slots": slots}


def main(arguments: list[str]) -> None:
    folder = StateFolder(Path(arguments[0]))
    print(json.dumps({what: _LOOKS[what](folder) for what in arguments[1:]}))  # noqa: T201 - what it is for


if __name__ == "__main__":
    main(sys.argv[1:])
