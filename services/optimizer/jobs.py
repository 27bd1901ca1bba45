"""The work that is done in a child process, by name: a module for each, imported there alone."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

JobFunction = Callable[[bytes], bytes]

JOBS: dict[str, str] = {
    "digest": "services.optimizer.digesting.making:job",
    "evaluate": "services.optimizer.replay.evaluating:run",
    "tune": "services.optimizer.tuning.jobs:run",
    "tune_placement": "services.optimizer.tuning.placement:run",
    "tune_cache": "services.optimizer.tuning.caches:run",
}
"""Name → ``module:function``; the function takes a payload and returns a result, and may be stopped in the middle."""


def found(name: str) -> JobFunction:
    """Raises KeyError for a name that nothing stands under."""
    module, _, function = JOBS[name].partition(":")
    job: JobFunction = getattr(import_module(module), function)
    return job
