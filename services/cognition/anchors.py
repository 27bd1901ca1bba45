"""Times that hang on an event ("the week before the trip", « le lendemain de la fête »), in English and French. Pure.

The event is looked up in the memory first; from when it took place the time follows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from libs.shared import dates
from libs.shared import text as words_

MOST_EVENT_WORDS = 12
_UNITS = {
    "day": 1, "jour": 1, "night": 1, "evening": 1, "morning": 1, "soir": 1, "soiree": 1, "matin": 1, "nuit": 1,
    "weekend": 3, "week-end": 3, "fin de semaine": 3, "week": 7, "semaine": 7, "month": 30, "mois": 30, "year": 365,
    "an": 365, "annee": 365,
}  # fmt: skip
_COUNTS = {
    "one": 1, "un": 1, "une": 1, "a": 1, "two": 2, "deux": 2, "three": 3, "trois": 3, "four": 4, "quatre": 4, "five": 5,
    "cinq": 5, "six": 6, "a few": 3, "quelques": 3, "few": 3, "a couple of": 2,
}  # fmt: skip
_U = r"(?P<unit>" + "|".join(sorted(_UNITS, key=len, reverse=True)) + r")s?"
_N = r"(?P<count>\d{1,2}|" + "|".join(sorted(_COUNTS, key=len, reverse=True)) + r")"
_EVENT = r"\s+(?P<event>[^,;:.!?]+)"
_FORMS = tuple(
    re.compile(pattern + _EVENT)
    for pattern in (
        rf"\b{_N} {_U} (?P<side>before|after|avant|apres)",
        rf"\b(?:the |that )?{_U} (?P<side>before|after|following|of)(?= (?!yesterday|last|this|next))",
        rf"\b(?:la |le |l'|les )?{_U} (?P<side>d'avant|avant|d'apres|apres|precedant|suivant)",
        r"\b(?:la |le |l')?(?P<unit>semaine|jour|soir|soiree|week-end|mois) (?P<side>de la|du|des|de)(?= )",
        r"\b(?:le )?(?P<unit>lendemain)(?P<side> (?:de la|de l'|du|des|de))",
        r"\b(?:la )?(?P<unit>veille)(?P<side> (?:de la|de l'|du|des|de))",
    )
)
_CLAUSE = re.compile(
    r"\b(?:what|who|where|when|why|how|which|did|do|does|was|were|qu'est-ce|que|qu'|ou|quand|qui|comment|pourquoi|quel\w*)\b"
)


@dataclass(frozen=True)
class Anchor:
    """A stretch of ``days`` that begins ``offset`` days from the event's own."""

    event: str
    """The event as the question calls it, folded."""
    terms: tuple[str, ...]
    offset: int
    days: int

    def time(self, event: datetime) -> dates.Time:
        """The stretch, given the event's day."""
        start = event.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=self.offset)
        return dates.between(start, start + timedelta(days=self.days))


def find(folded: str) -> tuple[Anchor | None, str]:
    """The anchored time of a folded question, and the question without what places it (the event's words stay)."""
    for form in _FORMS:
        match = form.search(folded)
        anchor = _anchor(match.groupdict()) if match else None
        if match is not None and anchor is not None:
            return anchor, folded[: match.start()] + " " + folded[match.start("event") :]
    return None, folded


def _anchor(parts: dict[str, str | None]) -> Anchor | None:
    event = " ".join(_CLAUSE.split(parts["event"] or "")[0].split()[:MOST_EVENT_WORDS])
    terms = words_.query_terms(event, MOST_EVENT_WORDS)
    if not terms or all(term.isdigit() or term in _DATED for term in terms):
        return None
    offset, days = _place(parts["unit"] or "", (parts["side"] or "").strip(), parts.get("count"))
    return Anchor(event, terms, offset, days)


def _place(unit: str, side: str, count: str | None) -> tuple[int, int]:
    if unit in ("lendemain", "veille"):
        return (1, 1) if unit == "lendemain" else (-1, 1)
    days = _UNITS[unit]
    after = side in ("after", "following", "d'apres", "apres", "suivant")
    before = side in ("before", "d'avant", "avant", "precedant")
    if count is not None:
        far = days * (_COUNTS.get(count) or int(count))
        start = far if after else -far
        return start - days // 2, days + days // 2 if days == 1 else days
    if before or after:
        return (1 if after else -days), days
    return -(days // 2), days


_DATED = frozenset(words_.stem(name) for name in (*dates.MONTHS, *dates.WEEKDAYS, *dates.SEASONS, *_UNITS))
