"""A node as backends see it, for the tiny models of the tests."""

from __future__ import annotations

from pathlib import Path

from services.inference.backends.choose import Node


def small_node(models: Path) -> Node:
    """With adapters, and the marks of their loading, in ``models``."""
    return Node(
        models_folder=models,
        loads_folder=models / "loads",
        default_context_tokens=512,
        ollama_context_tokens=2048,
        threads=1,
        available_mib=lambda: 8192.0,
    )
