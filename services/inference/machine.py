"""What the machine offers to backends: threads by its physical cores, memory as it is now."""

from __future__ import annotations

from libs.shared.hardware import Sensors, recommended_worker_count
from services.inference.backends.choose import Node
from services.inference.consent import Consent
from services.inference.settings import InferenceSettings

THREAD_MIB = 16
"""Memory that one more computing thread takes: cores are the limit, not memory."""


def threads() -> int:
    """Threads for work that keeps a core busy."""
    return recommended_worker_count(THREAD_MIB)


def node_of(settings: InferenceSettings, consent: Consent | None = None) -> Node:
    """This node, for backends; without a consent none of them leaves this network."""
    sensors = Sensors(settings.folder.root)
    return Node(
        models_folder=settings.folder.models,
        loads_folder=settings.folder.loads,
        default_context_tokens=settings.default_context_tokens,
        ollama_context_tokens=settings.ollama_context_tokens,
        threads=threads(),
        adapters_resident=settings.adapters_resident,
        available_mib=lambda: sensors.sample().memory.available_mib,
        consent=consent or Consent(),
    )
