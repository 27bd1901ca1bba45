"""What goes to the child process that evaluates a change, and what comes back; needs no numpy, as that alone does."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from libs.shared.contracts.ledger import Measured
from libs.shared.contracts.replay import Evidence
from libs.shared.contracts.runtime_settings import RuntimeSettings

REPLAYABLE = frozenset({"recall_weights", "recall_k", "recall_min_score", "prompt_memory_share"})
"""The settings that a replay can tell of: ``evaluating.JUDGES`` has by what."""


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class EvaluateJob(_Value):
    """Whether ``after`` finds better than ``before``, which differ in ``key`` alone."""

    key: str
    before: RuntimeSettings
    after: RuntimeSettings
    evidence: tuple[Evidence, ...]


class Evaluated(_Value):
    """``accepted`` None: a replay says nothing of that setting, or too little was asked."""

    accepted: bool | None
    reason: str
    measured: tuple[Measured, ...] = ()
    worse: bool = False
    """Beyond noise, in what is found or in what would stand in a prompt."""
