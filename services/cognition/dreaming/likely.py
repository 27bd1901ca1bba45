"""Which questions will probably be asked in the coming hours, by what was asked at such hours before. Pure.

Two patterns are looked for. A *habit*: the share of earlier days on which a question was asked at the same time of day,
and the share of the same weekdays, the greater of the two; a day counts half as much every two weeks back, and a
question that came on one day alone is none. A *sequel*: what was asked soon after another question, more than once, is
as likely as that one, times how often it followed. Only questions as they were worded before are foreseen.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from libs.shared.text import words

DAYS = 28
HALF_LIFE_DAYS = 14.0
SLACK = timedelta(hours=1)
"""Either side of the hours in question: people are not punctual, and clocks change."""
DOUBT_DAILY, DOUBT_WEEKLY = 1.0, 0.5
"""Days on which it wasn't asked, added to those that are known: two of two are no certainty."""
LEAST_CHANCE = 0.1
LEAST_TIMES = 2
SOON = timedelta(minutes=30)
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Past:
    """A question that was asked."""

    text: str
    at: datetime
    conversation_id: str


@dataclass(frozen=True)
class Likely:
    """A question that will probably be asked, as it was worded last; ``chance`` is 0..1."""

    text: str
    chance: float


def likely(past: Sequence[Past], now: datetime, hours: float, most: int) -> list[Likely]:
    """The likeliest first, each once."""
    known = [one for one in past if now - DAYS * _DAY - SLACK <= one.at < now]
    if not known:
        return []
    worded = {said(one.text): one.text for one in sorted(known, key=lambda one: one.at)}
    chances = _habits(known, now, timedelta(hours=hours))
    for (first, then), share in _sequels(known).items():
        chances[then] = max(chances.get(then, 0.0), chances.get(first, 0.0) * share)
    found = [Likely(worded[name], chance) for name, chance in chances.items() if chance >= LEAST_CHANCE]
    return sorted(found, key=lambda one: (-one.chance, one.text))[:most]


def foreseen(past: Sequence[Past], now: datetime, hours: float, most: int, days: int) -> tuple[int, int]:
    """(asked, of these foreseen) in the same hours of each of so many days back, from what came before it alone."""
    asked = hits = 0
    for back in range(1, days + 1):
        began = now - back * _DAY
        expected = {said(one.text) for one in likely(past, began, hours, most)}
        came = [said(one.text) for one in past if began <= one.at < began + timedelta(hours=hours)]
        asked += len(came)
        hits += sum(name in expected for name in came)
    return asked, hits


def said(text: str) -> str:
    """By what two wordings are the same question: its words alone."""
    return " ".join(words(text))


def _habits(known: Sequence[Past], now: datetime, hours: timedelta) -> dict[str, float]:
    """By question, how likely it is by the days on which it was asked at such hours."""
    age = min(DAYS, max(1, -((min(one.at for one in known) - now) // _DAY)))
    asked_on: dict[str, set[int]] = defaultdict(set)
    for one in known:
        for back in range(1, age + 1):
            start = now - back * _DAY
            if start - SLACK <= one.at < start + hours + SLACK:
                asked_on[said(one.text)].add(back)
    weights = {back: 0.5 ** (back / HALF_LIFE_DAYS) for back in range(1, age + 1)}
    weekly = [back for back in weights if back % 7 == 0]
    return {
        name: max(_share(days, list(weights), weights, DOUBT_DAILY), _share(days, weekly, weights, DOUBT_WEEKLY))
        for name, days in asked_on.items()
        if len(days) >= LEAST_TIMES
    }


def _share(days: set[int], among: Sequence[int], weights: dict[int, float], doubt: float) -> float:
    return sum(weights[back] for back in among if back in days) / (sum(weights[back] for back in among) + doubt)


def _sequels(known: Sequence[Past]) -> dict[tuple[str, str], float]:
    """By (question, what followed it), the share of times that it did."""
    times = Counter(said(one.text) for one in known)
    in_order = sorted(known, key=lambda one: (one.conversation_id, one.at))
    followed = Counter(
        (said(one.text), said(then.text))
        for one, then in pairwise(in_order)
        if one.conversation_id == then.conversation_id and then.at - one.at <= SOON
    )
    return {pair: count / times[pair[0]] for pair, count in followed.items() if count >= LEAST_TIMES}
