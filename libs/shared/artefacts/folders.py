"""The folders that artefacts are made of, and telling a model's files from others of the same name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from libs.shared.contracts.adapters import ArtefactFile
from libs.shared.errors import InvalidRequest, ModelBroken
from libs.shared.gguf import read_header

MANIFEST_FILE = "manifest.json"
"""The signed manifest, in an artefact's folder on a node."""
ABOUT_FILE = "adapter.json"
"""Written by the node, from the manifest."""
_NOT_OF_IT = frozenset({MANIFEST_FILE, ABOUT_FILE})
_ADAPTER = (("adapter_config.json", "adapter_model.safetensors"),)
_BLOCK = 1024 * 1024
_SAMPLES = 3
_DESCRIBING = ("config.json", "tokenizer.json", "tokenizer.model")
_MOST_FILES = 16


def files_of(folder: Path) -> tuple[ArtefactFile, ...]:
    """Its plain files with their hashes, by name. Raises InvalidRequest for what is no adapter's folder, OSError."""
    paths = [path for path in sorted(folder.iterdir()) if path.name not in _NOT_OF_IT and not path.name.startswith(".")]
    strange = [path.name for path in paths if path.is_symlink() or not path.is_file()]
    if strange:
        raise InvalidRequest(f"an adapter's folder holds plain files alone, and this one has {strange[0]!a}")
    names = {path.name for path in paths}
    if not any(names >= set(needed) for needed in _ADAPTER) and not any(name.endswith(".gguf") for name in names):
        raise InvalidRequest(f"{folder.name} has neither {' and '.join(_ADAPTER[0])} nor a GGUF file")
    if len(paths) > _MOST_FILES:
        raise InvalidRequest(f"{folder.name} has more than {_MOST_FILES} files")
    return tuple(ArtefactFile(name=path.name, size=path.stat().st_size, sha256=sha256_of(path)) for path in paths)


def named_base(folder: Path) -> str | None:
    """The model that an adapter's own description names, without the path before it; None where it names none."""
    for name, key in ((ABOUT_FILE, "base"), ("adapter_config.json", "base_model_name_or_path")):
        try:
            told = json.loads((folder / name).read_bytes()).get(key)
        except (OSError, ValueError, AttributeError):
            continue
        if isinstance(told, str) and Path(told).name:
            return Path(told).name
    names = (_named_in(path) for path in folder.glob("*.gguf"))
    return next((told for told in names if told is not None), None)


def _named_in(path: Path) -> str | None:
    """As llama.cpp's converter writes it."""
    try:
        told = read_header(path).metadata.get("general.base_model.0.name")
    except (ModelBroken, OSError):
        return None
    return told if isinstance(told, str) else None


def sha256_of(path: Path) -> str:
    """Hexadecimal. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(model: Path) -> str | None:
    """Tells a model's files from others of the same name: its description whole, of each file of weights the size and
    the first, middle and last MiB. A copy has the same. ``model``: a GGUF file or a Hugging Face folder; None: neither.
    """
    if model.is_file():
        return _digest("gguf", [model])
    weights = sorted([*model.glob("*.safetensors"), *model.glob("*.bin")])
    described = [model / name for name in _DESCRIBING if (model / name).is_file()]
    return _digest("safetensors", [*described, *weights]) if weights else None


def _digest(kind: str, paths: list[Path]) -> str:
    total = hashlib.sha256()
    for path in paths:
        name = "" if kind == "gguf" else path.name
        total.update(f"{name}\0{path.stat().st_size}\0".encode())
        for block in _samples(path):
            total.update(block)
    return f"{kind}:{total.hexdigest()}"


def _samples(path: Path) -> Iterator[bytes]:
    size = path.stat().st_size
    with path.open("rb") as file:
        if size <= _SAMPLES * _BLOCK or path.name in _DESCRIBING:
            yield file.read()
            return
        for number in range(_SAMPLES):
            file.seek(number * (size - _BLOCK) // (_SAMPLES - 1))
            yield file.read(_BLOCK)
