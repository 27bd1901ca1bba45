"""Dreaming ahead: the optimizer says when, cognition knows what its users ask, and is told nothing but counts."""

from __future__ import annotations

from pydantic import Field

from libs.shared.contracts.base import Message, Principal, Rpc


class PrepareAhead(Message):
    """Asks for what will probably be asked in the coming hours to be made ready, for users who allow their questions to
    be replayed."""

    hours: float = Field(default=12.0, gt=0, le=48)
    most: int = Field(default=64, ge=1, le=256)
    """Questions, over all users; the likeliest."""


class PreparedAhead(Message):
    """``asked`` and ``foreseen`` are of the past week's days, each foretold from what came before it alone."""

    users: int = 0
    """Who allow it, and asked something."""
    questions: int = 0
    """Expected."""
    prepared: int = 0
    """Of those, made ready: fewer where nothing embeds, or somebody was served all the time."""
    drafted: int = 0
    """And answered beforehand, where a language model had room."""
    drafts_given: int = 0
    """Of the answers drafted before, how many were given since cognition was asked last."""
    asked: int = 0
    foreseen: int = 0
    """Of what was asked, what would have been prepared."""


PREPARE_AHEAD = Rpc(
    "mongars.v1.cognition.prepare_ahead",
    PrepareAhead,
    PreparedAhead,
    owner=Principal.COGNITION,
    callers=frozenset({Principal.OPTIMIZER}),
    timeout_s=300.0,
)
"""Waits while somebody else is served."""
