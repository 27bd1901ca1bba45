"""What a rule or a model has read out of a text, before it is held against what is known."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from libs.shared.text import fold, terms


@dataclass(frozen=True)
class Drawn:
    """One statement. ``ended`` says that it holds no longer (a negation), from ``at`` on."""

    subject: str
    attribute: str
    value: str
    """Empty in an ended one: whatever it was."""
    text: str
    at: datetime
    """From when on, or until when: the time told, else when it was said."""
    source: str
    said_at: datetime
    extractor: str
    mark: str
    """Tells it apart from whatever else was drawn from the same source, and says nothing of what it tells."""
    ended: bool = False
    version: int | None = None
    """Of the source's text; None: not known, as of what was kept before."""


def value_key(value: str) -> tuple[str, ...]:
    """Equal for values that say the same: case, accents, articles and endings aside."""
    return tuple(terms(value)) or (fold(value).strip(),)
