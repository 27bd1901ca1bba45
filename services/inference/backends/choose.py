"""The one place that knows every backend: a model's specification in, its backend out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from libs.shared.errors import BackendFailed
from libs.shared.layout import StateFolder
from services.inference.backends.base import Backend
from services.inference.consent import Consent
from services.inference.models import ModelSpec

_LIBRARIES = {"llama_cpp": "xllamacpp", "transformers": "transformers"}


@dataclass(frozen=True)
class Node:
    """What a backend may know of the node that it runs on."""

    models_folder: Path
    loads_folder: Path
    """Of the marks of adapters that are being loaded."""
    default_context_tokens: int
    ollama_context_tokens: int
    threads: int
    available_mib: Callable[[], float]
    adapters_resident: int = 4
    """Adapters that one model keeps in memory at most."""
    consent: Consent = field(default_factory=Consent)
    """Whether upstreams may lie beyond this network; without one they may not."""


def installed(backend: str) -> bool:
    """Whether the library that a backend stands on is there; loads nothing."""
    return backend not in _LIBRARIES or find_spec(_LIBRARIES[backend]) is not None


def make_backend(spec: ModelSpec, node: Node) -> Backend:
    """Not loaded yet. Raises BackendFailed (``not_installed``, ``bad_plug_in``)."""
    if not installed(spec.backend):
        raise BackendFailed(f"{spec.backend} needs {_LIBRARIES[spec.backend]} installed", reason="not_installed")
    if ":" in spec.backend:
        return _plug_in(spec)
    return _MAKERS[spec.backend](spec, node)


def _openai(spec: ModelSpec, node: Node) -> Backend:
    from services.inference.backends.openai import OpenAIBackend

    return OpenAIBackend(spec, node.consent, default_context_tokens=node.default_context_tokens)


def _ollama(spec: ModelSpec, node: Node) -> Backend:
    from services.inference.backends.ollama import OllamaBackend

    return OllamaBackend(spec, node.consent, context_tokens=node.ollama_context_tokens)


def _upstreams(spec: ModelSpec, node: Node) -> Backend:
    from services.inference.backends.added import AddedUpstreams

    assert spec.path is not None
    return AddedUpstreams(StateFolder(spec.path), lambda added: make_backend(added, node))


def _endpoints(spec: ModelSpec, node: Node) -> Backend:
    from services.inference.backends.endpoints import EndpointPool

    return EndpointPool(spec, lambda one: make_backend(one, node))


def _llama_cpp(spec: ModelSpec, node: Node) -> Backend:
    from services.inference.backends.llama_cpp import LlamaCppBackend

    return LlamaCppBackend(
        spec,
        folder=node.models_folder,
        loads=node.loads_folder,
        default_context_tokens=node.default_context_tokens,
        threads=node.threads,
        available_mib=node.available_mib,
    )


def _transformers(spec: ModelSpec, node: Node) -> Backend:
    from services.inference.backends.transformers import TransformersBackend

    return TransformersBackend(
        spec,
        folder=node.models_folder,
        loads=node.loads_folder,
        default_context_tokens=node.default_context_tokens,
        threads=node.threads,
        available_mib=node.available_mib,
        adapters_resident=node.adapters_resident,
    )


def _extractive(spec: ModelSpec, node: Node) -> Backend:
    from services.inference.backends.extractive import ExtractiveBackend

    return ExtractiveBackend()


_MAKERS: dict[str, Callable[[ModelSpec, Node], Backend]] = {
    "openai": _openai,
    "ollama": _ollama,
    "upstreams": _upstreams,
    "endpoints": _endpoints,
    "llama_cpp": _llama_cpp,
    "transformers": _transformers,
    "extractive": _extractive,
}


def _plug_in(spec: ModelSpec) -> Backend:
    """``package.module:Class``, called with the specification, as the documentation of plug-ins says."""
    module, _, name = spec.backend.partition(":")
    try:
        made: Backend = getattr(import_module(module), name)(spec)
    except (ImportError, AttributeError, TypeError) as error:
        raise BackendFailed(f"the plug-in for {spec.label} can't be made", reason="bad_plug_in") from error
    return made
