"""Which models a node should serve: those configured, those found in the models folder, and upstream servers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

ADDRESS = r"https?://[^\s@?#,]+"
"""Of a server, without anything secret in it."""
LOCAL_BACKENDS = ("llama_cpp", "transformers")
UPSTREAM_BACKENDS = ("openai", "ollama", "endpoints")
CONFIGURATION_FILE = "models.json"
EMBEDDER_FOLDER = "embedder"
EMBEDDERS_FOLDER = "embedders"
"""Of those beside the built-in one."""
ADAPTERS_FOLDER = "adapters"
"""Each in a folder of its own."""
_NO_MODELS = (EMBEDDER_FOLDER, EMBEDDERS_FOLDER, ADAPTERS_FOLDER)


def is_address(url: str) -> bool:
    """Whether it is a plain address, with a port that there is, if any."""
    try:
        return re.fullmatch(ADDRESS, url) is not None and urlsplit(url).port != 0
    except ValueError:
        return False


def _address(url: str) -> str:
    if not is_address(url):
        raise ValueError("no plain http:// or https:// address")
    return url


class ModelSpec(BaseModel):
    """One configured source of a model. ``backend`` is a known name, or a plug-in as ``package.module:Class``."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str = Field(default="", max_length=200)
    """Under which it is asked for. Empty with ``openai``: every model that the upstream lists."""
    backend: str = Field(pattern=r"^(openai|ollama|llama_cpp|transformers|extractive|upstreams|endpoints|[\w.]+:\w+)$")
    """`llama_cpp`, `transformers`, `openai`, `ollama`, `endpoints`, or a plug-in as `package.module:Class`."""
    path: Path | None = None
    """A GGUF file or a Hugging Face folder; relative to the models folder."""
    hub: str | None = None
    """A Hugging Face hub id, for ``transformers``."""
    url: str | None = Field(default=None, pattern=r"^https?://\S+$")
    """The upstream server's address, with its `/v1` where it has one."""
    urls: tuple[Annotated[str, AfterValidator(_address)], ...] = ()
    """For ``endpoints``: addresses of servers that speak OpenAI's API, which take turns."""
    context_tokens: int | None = Field(default=None, ge=64)
    """Prompt and answer together; a longer one than the model was trained for is cut to that."""
    upstream: str = Field(default="", max_length=64)
    """The server's own name, with which the models of a remote one are marked; else `name`, or the host."""
    models: tuple[str, ...] = ()
    """Without a `name`: these of the server's models alone."""
    api_key_file: Path | None = None
    """Holds the upstream's key, which never stands in the environment."""
    options: dict[str, Any] = Field(default_factory=dict)
    """`slots`: requests at the same time; `gpu_layers`, `mmproj` (`llama_cpp`); `model`: its name at the upstream;
    `replicas`, `max_replicas`: how many there are in Ray Serve, and how many while requests wait."""

    @model_validator(mode="after")
    def _needs(self) -> ModelSpec:
        if self.backend in LOCAL_BACKENDS and not (self.path or self.hub):
            raise ValueError(f"{self.backend} needs a path (transformers: or a hub id)")
        if self.backend == "openai" and not self.url:
            raise ValueError("openai needs the upstream's url")
        if self.backend == "endpoints" and not self.urls:
            raise ValueError("endpoints needs urls")
        if self.backend in LOCAL_BACKENDS and not self.name:
            raise ValueError(f"{self.backend} needs a name")
        for name in ("slots", "replicas", "max_replicas"):
            if not isinstance(self.options.get(name, 1), int):
                raise ValueError(f"{name} is a number")
        return self

    @property
    def local(self) -> bool:
        """Whether its weights lie in this node's memory."""
        return self.backend in LOCAL_BACKENDS

    def slots(self, default: int) -> int:
        """Requests at the same time, as configured."""
        return max(1, int(self.options.get("slots", default)))

    @property
    def label(self) -> str:
        """For logs and telemetry's ``degraded``: never a URL, which may hold a secret."""
        return self.upstream or self.name or self.backend

    @property
    def coming(self) -> str:
        """The word for what it is until it is served: a server may not be there, and its models are never loaded."""
        return "looking" if self.backend in (*UPSTREAM_BACKENDS, "upstreams") else "loading"

    @property
    def server(self) -> str:
        """What an upstream is called where its models are shown."""
        host = urlsplit(self.url or "").hostname if self.backend == "openai" else None
        return self.upstream or self.name or host or self.backend


@dataclass(frozen=True)
class Catalogue:
    """What to serve, and what was found but can't be (label → reason)."""

    specs: tuple[ModelSpec, ...]
    refused: dict[str, str]


_SPECS = TypeAdapter(list[ModelSpec])


def read_catalogue(folder: Path, configured: Iterable[ModelSpec], ollama_url: str | None) -> Catalogue:
    """Configured models first, then ``models.json``, bare files in ``folder``, an Ollama; names are unique."""
    refused: dict[str, str] = {}
    chosen: dict[str, ModelSpec] = {}
    for spec in (*configured, *_from_file(folder / CONFIGURATION_FILE, refused)):
        placed = _placed(spec, folder)
        key = placed.name or f"{placed.backend} {placed.url or placed.urls}"
        if key in chosen:
            refused[placed.label] = "name-taken"
        else:
            chosen[key] = placed
    known = {spec.path for spec in chosen.values()}
    for bare in _found(folder):
        if bare.path and bare.path.resolve() not in known:
            # A GGUF beside a folder of the same name is told apart by its ending.
            name = bare.path.name if bare.name in chosen else bare.name
            chosen.setdefault(name, bare.model_copy(update={"name": name}))
    if ollama_url and not any(spec.backend == "ollama" for spec in chosen.values()):
        chosen["ollama"] = ModelSpec(backend="ollama", url=ollama_url)
    return Catalogue(tuple(chosen.values()), refused)


def _placed(spec: ModelSpec, folder: Path) -> ModelSpec:
    if spec.path is None:
        return spec
    return spec.model_copy(update={"path": (folder / spec.path.expanduser()).resolve()})


def _from_file(path: Path, refused: dict[str, str]) -> list[ModelSpec]:
    try:
        return _SPECS.validate_json(path.read_bytes())
    except FileNotFoundError:
        return []
    except (OSError, ValidationError):
        refused[CONFIGURATION_FILE] = "unreadable-configuration"
        return []


def _found(folder: Path) -> list[ModelSpec]:
    """Bare ``*.gguf`` files and Hugging Face folders; the later parts of a split GGUF belong to its first."""
    if not folder.is_dir():
        return []
    return [spec for path in sorted(folder.iterdir()) if (spec := _bare(path)) is not None]


def _bare(path: Path) -> ModelSpec | None:
    if path.suffix == ".gguf" and path.is_file() and not path.name.startswith("mmproj"):
        split = re.fullmatch(r"(.+)-(\d{5})-of-\d{5}", path.stem)
        if split and split[2] != "00001":
            return None
        return ModelSpec(name=split[1] if split else path.stem, backend="llama_cpp", path=path)
    if path.is_dir() and path.name not in _NO_MODELS and (path / "config.json").is_file():
        return ModelSpec(name=path.name, backend="transformers", path=path)
    return None
