"""Encoders as artefacts: the files of one, the name under which it embeds, and whether it may be put to use. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from libs.shared.contracts.adapters import Manifest
from libs.shared.errors import AdapterMismatched

WEIGHTS_FILE = "model.safetensors"
DESCRIPTION_FILE = "embedder.json"
FILES = ("config.json", DESCRIPTION_FILE, WEIGHTS_FILE, "tokenizer.json")
"""All that a node needs of one; whatever else training left beside them stays where it was."""
ACCEPTED = "accepted"
"""In a run's metrics: 1 where its evaluation found it better, 0 where it didn't; not there: nothing could be told."""
_VERSION = re.compile(r"[A-Za-z0-9._-]{1,32}")
_VERSION_DIGITS = 8


def check_encoder(manifest: Manifest) -> None:
    """Raises AdapterMismatched for what can't be an encoder."""
    if tuple(sorted(file.name for file in manifest.files)) != FILES:
        raise AdapterMismatched(f"{manifest.name} doesn't have the files of an encoder: {', '.join(FILES)}")
    embedder_of(manifest)


def embedder_of(manifest: Manifest) -> str:
    """``name@version``, as settings and nodes name it. Raises AdapterMismatched."""
    version = manifest.configuration.get("version")
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        raise AdapterMismatched(f"{manifest.name} doesn't say which version of an embedder it is")
    return f"{manifest.name}@{version}"


def version_of(hashes: Mapping[str, str], description: Mapping[str, Any]) -> str:
    """Of all that makes its vectors: the files' SHA-256 by name, and how texts become vectors."""
    told = json.dumps([dict(hashes), dict(description)], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:_VERSION_DIGITS]


def accepted(metrics: Mapping[str, Any]) -> bool:
    """Whether its evaluation found it better: nothing else is put to use unless somebody insists."""
    return metrics.get(ACCEPTED) == 1.0


def refused(metrics: Mapping[str, Any]) -> bool:
    """Whether its evaluation found it no better: it isn't kept."""
    return metrics.get(ACCEPTED) == 0.0
