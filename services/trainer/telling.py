"""What a run's process says to the service: one line of JSON each."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from libs.shared.contracts.training import RunProgress

REFUSED = 3
"""The exit code of a run that said why it can't be."""
STOPPED = 4
"""Of one that was asked to stop, and goes on from where it was."""
UNDER_WAY = 5
"""Of one whose folder another process has."""


class _Word(BaseModel):
    model_config = ConfigDict(frozen=True)


class Stands(_Word):
    """Where it stands."""

    kind: Literal["stands"] = "stands"
    progress: RunProgress


class Done(_Word):
    """It has ended well."""

    kind: Literal["done"] = "done"
    artefact: str | None
    """The folder in the run's; None where the evaluation refused what was trained, or could tell nothing."""
    metrics: dict[str, float]
    detail: str | None = None
    """How the evaluation decided."""


class Refused(_Word):
    """It can't be done: trying again changes nothing."""

    kind: Literal["refused"] = "refused"
    code: str
    detail: str


Word = Annotated[Stands | Done | Refused, Field(discriminator="kind")]
_WORD: TypeAdapter[Stands | Done | Refused] = TypeAdapter(Word)


def understood(line: bytes) -> Stands | Done | Refused | None:
    """The word of a line; None for what a library printed."""
    try:
        return _WORD.validate_json(line)
    except ValueError:
        return None
