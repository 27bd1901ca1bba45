"""Importing without collecting garbage: what is imported stays, and looking through it took a sixth of the time.

Nor does pydantic look through all that is installed for plugins, of which we have none: that took another tenth.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager

NO_PLUGINS = ("PYDANTIC_DISABLE_PLUGINS", "__all__")


@contextmanager
def imports_that_stay() -> Iterator[None]:
    """For a process that begins: nothing is collected within, and what it made is never looked at again."""
    os.environ.setdefault(*NO_PLUGINS)
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()
