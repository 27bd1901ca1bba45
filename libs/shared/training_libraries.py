"""The libraries that training needs: looked for, and not imported, which takes seconds and hundreds of megabytes."""

from __future__ import annotations

from importlib.util import find_spec

LIBRARIES = ("torch", "transformers", "peft", "safetensors", "faker")
REMEDY = "make install EXTRAS=trainer"


def missing_libraries() -> tuple[str, ...]:
    """Those of ``LIBRARIES`` that aren't installed."""
    return tuple(name for name in LIBRARIES if find_spec(name) is None)
