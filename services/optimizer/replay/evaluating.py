"""Evaluating a change of a setting, whoever proposed it, on questions that no search saw."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from libs.shared.contracts.ledger import Measured
from libs.shared.contracts.replay import Evidence
from libs.shared.contracts.runtime_settings import RuntimeSettings
from libs.shared.errors import InvalidRequest
from services.optimizer.replay.held import parted
from services.optimizer.replay.judging import EVIDENCE, IN_PROMPT, RANK, RECALL, judge

REPLAYABLE = {
    "recall_weights": RECALL,
    "recall_k": IN_PROMPT,
    "recall_min_score": IN_PROMPT,
    "prompt_memory_share": IN_PROMPT,
}
"""The settings that a replay can tell of, and the measure that must not worsen."""


@dataclass(frozen=True)
class Evaluated:
    """``accepted`` None: a replay says nothing of that setting, or too little was asked."""

    accepted: bool | None
    reason: str
    measured: tuple[Measured, ...] = ()
    worse: bool = False
    """Beyond noise, in what is found or in what would stand in a prompt."""


class ReplayEvaluation:
    """Reads what may be replayed when it is asked, and keeps none of it."""

    def __init__(self, read: Callable[[], Awaitable[Sequence[Evidence]]]) -> None:
        self._read = read

    async def __call__(self, key: str, value: Any, in_force: RuntimeSettings) -> tuple[Measured, ...]:
        """What changes when ``key`` becomes ``value``: ``evaluate`` without its verdict."""
        return (await self.evaluate(key, value, in_force)).measured

    async def evaluate(self, key: str, value: Any, in_force: RuntimeSettings) -> Evaluated:
        """Raises InvalidRequest for a value that the setting doesn't take, before anything is read; ServiceError."""
        after = changed(in_force, key, value)
        if key not in REPLAYABLE:
            return Evaluated(None, f"no replay tells of {key}")
        evidence = await self._read()
        return await asyncio.to_thread(evaluated, evidence, in_force, after, REPLAYABLE[key])


def changed(in_force: RuntimeSettings, key: str, value: Any) -> RuntimeSettings:
    """Raises InvalidRequest."""
    if key not in RuntimeSettings.model_fields:
        raise InvalidRequest("there is no such setting", errors=["key"])
    try:
        return RuntimeSettings.model_validate({**in_force.model_dump(), key: value})
    except ValidationError as error:
        raise InvalidRequest(
            "the setting doesn't take this value", errors=[str(e["loc"]) for e in error.errors()]
        ) from None


def evaluated(evidence: Sequence[Evidence], before: RuntimeSettings, after: RuntimeSettings, primary: str) -> Evaluated:
    """On the part that is held out. Pure."""
    _, held_out = parted(evidence)
    if not len(held_out):
        return Evaluated(None, "nothing that was asked may be replayed")
    judgement = judge(held_out, before, after, primary)
    worse = any(_worse(one) for one in judgement.measured if one.measure in (RECALL, EVIDENCE, RANK, IN_PROMPT))
    few = judgement.verdict.why in ("too_few", "not_measured")
    return Evaluated(
        None if few else judgement.verdict.accepted, judgement.verdict.reason, judgement.measured, worse and not few
    )


def _worse(one: Measured) -> bool:
    return one.high < 0.0
