"""Which conversations have what only a share of them has: a model's adapter, or a setting that is tried out. Pure."""

from __future__ import annotations

import hashlib

from libs.shared.contracts.ledger import Trial
from libs.shared.contracts.watching import Arm


def place(what: str, conversation: str) -> float:
    """In [0, 1), by the ids alone: those below a share have it, so that a conversation keeps it while the share grows;
    another for each ``what``, so that it aren't always the same that try things out."""
    digest = hashlib.sha256(f"{what}\0{conversation}".encode()).digest()
    return int.from_bytes(digest[:7]) / 2**56


def arm_of(trial: Trial, conversation: str) -> Arm:
    """Whether the conversation has what is tried out."""
    return Arm(change_id=trial.change_id, tried=place(trial.change_id, conversation) < trial.share)
