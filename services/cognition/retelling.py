"""What is noted behind a sentence: the days on which it was told again, and until when it held. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from datetime import date

from libs.shared.dates import written_day
from libs.shared.text import Language, terms
from services.cognition.selection import Hit

MOST_DAYS = 2
"""Of the other tellings, each by its day; of more their number and the last day stand."""


def other_days(first: date, days: Iterable[date]) -> tuple[date, ...]:
    """In order, each once, without that of the telling that stands."""
    return tuple(sorted(set(days) - {first}))


def told_again(text: str, days: Sequence[date], code: Language) -> str:
    """The sentence, and when else it was said."""
    if not days:
        return text
    last = written_day(days[-1], code)
    if len(days) > MOST_DAYS:
        count = f"on {len(days)} other days, last on" if code == "en" else f"{len(days)} autres jours, en dernier le"
        return f"{text} ({'also said' if code == 'en' else 'dit aussi'} {count} {last})"
    told = ", ".join(written_day(day, code) for day in days)
    return f"{text} ({'also said on' if code == 'en' else 'dit aussi le'} {told})"


def ended(hit: Hit, said: Set[str], *, alone: bool) -> date | None:
    """When what a sentence tells ceased to hold: the end of a fact that its terms ``said`` have the value of.

    ``alone``: its memory tells nothing else, so that what is known of the memory is known of it.
    """
    told = [(fact, value) for fact in hit.item.facts if (value := frozenset(terms(fact.value))) and value <= said]
    over = {value: fact.valid_to.date() for fact, value in told if fact.valid_to is not None}
    if any(fact.valid_to is None and value not in over for fact, value in told):
        return None  # it tells something beside it that holds: "I moved from Lyon to Nantes."
    ends = list(over.values())
    if not ends and alone and hit.until is not None:
        return hit.until.date()
    return max(ends, default=None)


def told_until(text: str, end: date | None, code: Language) -> str:
    """The sentence, and until when it held."""
    if end is None:
        return text
    return f"{text} ({'until' if code == 'en' else 'jusqu’au'} {written_day(end, code)})"
