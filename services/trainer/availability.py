"""Whether this machine has the libraries that training needs: looked for, and not imported.

The service itself imports none of them: they take seconds and hundreds of megabytes, in the process of a run alone.
"""

from __future__ import annotations

from importlib.util import find_spec

LIBRARIES = ("torch", "transformers", "peft", "safetensors", "faker")
REMEDY = "make install EXTRAS=trainer"


def missing_libraries() -> tuple[str, ...]:
    """Those of ``LIBRARIES`` that aren't installed."""
    return tuple(name for name in LIBRARIES if find_spec(name) is None)


def lacking() -> str | None:
    """Why nothing can be trained here, and what to do about it; None: it can."""
    missing = missing_libraries()
    return f"{', '.join(missing)} can't be found; install what training needs with: {REMEDY}" if missing else None
