"""The embedders that were installed beside the built-in one: a folder each, told apart by name and version."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from libs.shared.errors import ModelBroken
from services.inference.embedder_graph import DIMENSIONS, EMBEDDER, EMBEDDER_ID, GRAPH_FILE, digest, weights_folder

SPEC_FILE = "embedder.json"
TOKENIZER_FILE = "tokenizer.json"
ONNX_FILE = "model.onnx"
WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
BUILT_FILE = "built.onnx"
"""What is made of ``model.safetensors``."""
BUILT_WEIGHTS = "built.weights"
"""Of a decoder, which may be larger than one file of ONNX."""
BUILT_MANIFEST = "built.json"
VERSION_FILE = ".version.json"
_MADE = (BUILT_FILE, BUILT_WEIGHTS, BUILT_MANIFEST)
BUILT_IN_TOKENS = 256
LEAST_TOKENS = 16
BEHIND_PADDING = frozenset({"xlm-roberta", "roberta", "camembert"})
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_VERSION_DIGITS = 8

Purpose = Literal["query", "passage"]


class Description(BaseModel):
    """``embedder.json``: how texts become vectors. Whatever changes a vector is part of the version."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    pooling: Literal["mean", "cls"] = "mean"
    """Over the tokens' vectors, where the model gives those rather than the text's."""
    normalise: bool = True
    max_tokens: int = Field(default=512, ge=LEAST_TOKENS, le=8192)
    """The rest of a longer text is not read."""
    query_prefix: str = Field(default="", max_length=1000)
    """What the model was trained to see before a question, such as ``query: ``."""
    passage_prefix: str = Field(default="", max_length=1000)
    dimensions: int | None = Field(default=None, ge=1, le=8192)
    """None: as ``config.json`` says."""
    version: str | None = Field(default=None, pattern=r"^[A-Za-z0-9._-]{1,32}$")
    """None: of the files' content."""


@dataclass(frozen=True)
class Spec:
    """An embedder that can be loaded."""

    name: str
    version: str
    folder: Path
    graph: Path
    tokenizer: Path
    description: Description
    dimensions: int
    built_in: bool = False

    @property
    def id(self) -> str:
        """``name@version``."""
        return f"{self.name}@{self.version}"

    @property
    def weights(self) -> Path:
        """What the graph is built from, or the graph itself where it was brought."""
        return self.folder / WEIGHTS_FILE if self.graph.name == BUILT_FILE else self.graph

    @property
    def weight_bytes(self) -> int:
        """As they are loaded, with those that stand beside the graph; a decoder's in bfloat16 take twice their size."""
        beside = sum(p.stat().st_size for p in self.folder.glob(f"{ONNX_FILE}_data*"))
        built = self.folder / BUILT_WEIGHTS
        return max(self.weights.stat().st_size + beside, built.stat().st_size if built.is_file() else 0)

    def prefix(self, purpose: Purpose) -> str:
        return self.description.query_prefix if purpose == "query" else self.description.passage_prefix


def built_in(folder: Path) -> Spec:
    """The one that every installation has; its graph is built into ``folder``. Raises ModuleNotFoundError."""
    description = Description(max_tokens=BUILT_IN_TOKENS)
    tokenizer = weights_folder() / TOKENIZER_FILE
    version = EMBEDDER_ID.partition("@")[2]
    return Spec(EMBEDDER, version, folder, folder / GRAPH_FILE, tokenizer, description, DIMENSIONS, built_in=True)


def candidates(root: Path) -> Iterator[Path]:
    """The folders under ``root`` that claim to be embedders, by name; those that begin with a dot are on their way."""
    if root.is_dir():
        yield from sorted(path for path in root.iterdir() if path.is_dir() and NAME.fullmatch(path.name))


def read_spec(folder: Path, name: str | None = None, *, unknown_dimensions: bool = False) -> Spec:
    """Raises ModelBroken with what is missing. The first time it reads the weights whole, for their version."""
    name = name or folder.name
    if name == EMBEDDER:
        raise ModelBroken(f"{name} is the built-in embedder's name: give this one another")
    graph = _graph_of(folder)
    if not (folder / TOKENIZER_FILE).is_file():
        raise ModelBroken(f"{name} has no {TOKENIZER_FILE}")
    description = _description(folder, name)
    if (positions := _positions(folder)) is not None and positions < description.max_tokens:
        description = description.model_copy(update={"max_tokens": positions})
    dimensions = description.dimensions or hidden_size(folder)
    if dimensions is None and not unknown_dimensions:
        raise ModelBroken(f"nothing says how many dimensions {name} has: add it with mongars embedders add")
    version = description.version or _version(folder, description)
    return Spec(name, version, folder, graph, folder / TOKENIZER_FILE, description, dimensions or 0)


def _graph_of(folder: Path) -> Path:
    if (folder / ONNX_FILE).is_file():
        return folder / ONNX_FILE
    if (folder / WEIGHTS_FILE).is_file() and (folder / CONFIG_FILE).is_file():
        return folder / BUILT_FILE
    raise ModelBroken(f"{folder.name} has neither {ONNX_FILE} nor {WEIGHTS_FILE} with {CONFIG_FILE}")


def _description(folder: Path, name: str) -> Description:
    try:
        return Description.model_validate_json((folder / SPEC_FILE).read_bytes())
    except FileNotFoundError:
        return Description()
    except (OSError, ValidationError) as error:
        raise ModelBroken(f"{name}'s {SPEC_FILE} can't be read") from error


def hidden_size(folder: Path) -> int | None:
    """As ``config.json`` tells it."""
    return _number(read_config(folder), "hidden_size")


def read_config(folder: Path) -> dict[str, Any]:
    """``config.json``; empty where there is none that can be read."""
    try:
        found = json.loads((folder / CONFIG_FILE).read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def first_position(config: dict[str, Any]) -> int:
    """RoBERTa and its kin count positions from behind their padding."""
    if config.get("model_type") not in BEHIND_PADDING:
        return 0
    padding = _number(config, "pad_token_id")
    return 2 if padding is None else padding + 1


def _positions(folder: Path) -> int | None:
    """Tokens that the model has places for."""
    config = read_config(folder)
    most = _number(config, "max_position_embeddings")
    return None if most is None else max(LEAST_TOKENS, most - first_position(config))


def _number(config: dict[str, Any], key: str) -> int | None:
    found = config.get(key)
    return found if isinstance(found, int) and found >= 0 else None


def _version(folder: Path, description: Description) -> str:
    """Of the weights and the words that they are asked with: kept beside them, since reading them whole takes long."""
    files = {p.name: p for p in (folder / n for n in (ONNX_FILE, WEIGHTS_FILE, CONFIG_FILE, TOKENIZER_FILE))}
    files |= {p.name: p for p in folder.glob(f"{ONNX_FILE}_data*")}
    seen = {name: _stamp(path) for name, path in sorted(files.items()) if path.is_file()}
    known = _known_digests(folder / VERSION_FILE, seen) or {name: digest(folder / name) for name in seen}
    _remember(folder / VERSION_FILE, seen, known)
    asked = description.model_dump(include={"pooling", "normalise", "max_tokens", "query_prefix", "passage_prefix"})
    told = json.dumps([known, asked], sort_keys=True).encode()
    return hashlib.sha256(told).hexdigest()[:_VERSION_DIGITS]


def _stamp(path: Path) -> list[int]:
    state = path.stat()
    return [state.st_size, state.st_mtime_ns]


def _known_digests(path: Path, seen: dict[str, list[int]]) -> dict[str, str] | None:
    try:
        kept = json.loads(path.read_bytes())
        return dict(kept["digests"]) if kept["seen"] == seen else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _remember(path: Path, seen: dict[str, list[int]], digests: dict[str, str]) -> None:
    """A spoilt one is as good as none: it is made again."""
    aside = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        aside.write_text(json.dumps({"seen": seen, "digests": digests}))
        aside.replace(path)
    except OSError:
        aside.unlink(missing_ok=True)


def fingerprint(root: Path) -> tuple[tuple[str, int, int], ...]:
    """Changes when an embedder comes, goes or is altered; reads no file."""
    return tuple(
        (f"{folder.name}/{path.name}", path.stat().st_size, path.stat().st_mtime_ns)
        for folder in candidates(root)
        for path in sorted(folder.iterdir())
        if not path.name.startswith(".") and path.name not in _MADE and path.is_file()
    )
