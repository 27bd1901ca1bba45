"""What the installation does for itself while nobody needs it: asked for, told of, and shared between nodes."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from libs.shared.contracts.base import Message
from libs.shared.contracts.common import Id
from libs.shared.contracts.ledger import Measured


class Tried(Message):
    """A value of a setting that was evaluated, and what came of it. It says nothing of what was asked."""

    key: str = Field(max_length=64)
    """A field of RuntimeSettings."""
    value: Any
    measured: tuple[Measured, ...] = Field(default=(), max_length=16)
    proposed: bool = False
    """Whether it became a change in the ledger, which then decides."""
    change_id: Id | None = None


class PhaseProgress(Message):
    """Where a phase stands."""

    doing: str = Field(default="", max_length=120)
    """In a few words, for whoever watches; nothing that a user said."""
    step: int = Field(default=0, ge=0)
    steps: int = Field(default=0, ge=0)
    """0: nobody knows how many."""
