"""The times that a question names, in English and French, resolved against the asker's clock. Pure.

A named time only raises what was said then or soon after, so a misread one costs little.
"""

from __future__ import annotations

import calendar
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from libs.shared.text import Language

DAY_S = 86_400.0
YEARS_BACK = 60
"""Of a day or month without a year, so many years are thought of."""
MONTHS = {
    name: number
    for number, names in enumerate(
        (
            "january jan janvier janv", "february feb fevrier fevr", "march mar mars", "april apr avril avr", "may mai",
            "june jun juin", "july jul juillet juil", "august aug aout", "september sept sep septembre",
            "october oct octobre", "november nov novembre", "december dec decembre",
        ),
        1,
    )
    for name in names.split()
}  # fmt: skip
_AMBIGUOUS = frozenset({"may", "march", "mar", "mars", "sept", "jan", "dec", "avr"})
"""Words of another meaning too: next to a number alone they are no date."""
SEASONS = {
    "spring": 3, "printemps": 3, "summer": 6, "ete": 6, "autumn": 9, "fall": 9, "automne": 9, "winter": 12, "hiver": 12,
}  # fmt: skip
WEEKDAYS = {
    name: number
    for number, names in enumerate(
        ("monday lundi", "tuesday mardi", "wednesday mercredi", "thursday jeudi", "friday vendredi", "saturday samedi",
         "sunday dimanche")
    )
    for name in names.split()
}  # fmt: skip
_UNITS = {
    "day": 1.0, "jour": 1.0, "night": 1.0, "week": 7.0, "semaine": 7.0, "fortnight": 14.0, "quinzaine": 14.0,
    "month": 30.44, "mois": 30.44, "year": 365.25, "an": 365.25, "annee": 365.25,
}  # fmt: skip
_COUNTS = {
    "a": 1, "an": 1, "one": 1, "un": 1, "une": 1, "two": 2, "deux": 2, "couple": 2, "a couple": 2, "a couple of": 2,
    "three": 3, "trois": 3, "few": 3, "a few": 3, "some": 3, "quelques": 3, "several": 4, "plusieurs": 4, "four": 4,
    "quatre": 4, "five": 5, "cinq": 5, "six": 6, "seven": 7, "sept": 7, "eight": 8, "huit": 8, "nine": 9, "neuf": 9,
    "ten": 10, "dix": 10, "eleven": 11, "onze": 11, "twelve": 12, "douze": 12,
}  # fmt: skip


def _any(names: Iterable[str]) -> str:
    return "|".join(sorted(names, key=lambda name: (-len(name), name)))


_M = rf"(?P<month>{_any(MONTHS)})\b\.?"
_D = r"(?P<day>[0-3]?\d)(?P<ordinal>st|nd|rd|th|er)?"
_Y = r"(?P<year>(?:19|20)\d\d)"
_S = rf"(?P<season>{_any(SEASONS)})"
_W = rf"(?P<weekday>{_any(WEEKDAYS)})"
_N = rf"(?P<count>\d{{1,3}}|{_any(_COUNTS)})"
_U = rf"(?P<unit>{_any(_UNITS)})s?"
_IN = r"(?P<in>\b(?:in|during|since|by|until|on|of|the|en|durant|pendant|depuis|debut|fin|de|du|au|le|mi)\s+)"


@dataclass(frozen=True)
class Time:
    """A named time: one stretch of seconds since 1970, or one for each year when no year was named."""

    spans: tuple[tuple[float, float], ...]
    """In order; an end is not in its span."""

    @property
    def yearly(self) -> bool:
        """Whether no year was named."""
        return len(self.spans) > 1

    def nearness(self, at: float) -> float:
        """1 inside, halved with every step away: an event is told soon after it, seldom before."""
        place = bisect_right(self.spans, (at, float("inf")))
        return max(_nearness(at, *span) for span in self.spans[max(0, place - 1) : place + 1])

    def ended(self, now: float) -> bool:
        """Whether all of it that is thought of lies behind."""
        return self.spans[0][1] <= now

    def latest(self, now: float, most: int) -> tuple[tuple[float, float], ...]:
        """The newest spans that have begun, at most ``most``."""
        return tuple(span for span in self.spans if span[0] <= now)[-most:] or self.spans[:most]


def _nearness(at: float, start: float, end: float) -> float:
    step = 2 * DAY_S + (end - start) / 4
    if at < start:
        return float(0.5 ** ((start - at) / (step / 2)))
    return float(0.5 ** ((at - end) / step)) if at >= end else 1.0


def between(start: datetime, end: datetime) -> Time:
    """A time of its own."""
    return Time(((start.timestamp(), end.timestamp()),))


Parts = dict[str, str | None]


@dataclass(frozen=True)
class _Form:
    """A way to name a time; ``read`` gives None for what only looks like one."""

    pattern: re.Pattern[str]
    read: Callable[[Parts, datetime], Time | None]


def find(folded: str, now: datetime, *, day_first: bool = False) -> tuple[tuple[Time, ...], str]:
    """The times that a folded text names, and the text without them. ``day_first``: 5/4/2023 is in April."""
    found: list[Time] = []

    def keep(form: _Form, match: re.Match[str]) -> str:
        parts = match.groupdict() | {"day_first": "1" if day_first else None}
        try:
            time = form.read(parts, now)
        except (ValueError, OverflowError):
            time = None
        if time is None:
            return match.group()
        found.append(time)
        return " "

    for form in _FORMS:
        folded = form.pattern.sub(lambda match, form=form: keep(form, match), folded)  # type: ignore[misc]
    return tuple(found), folded


@dataclass(frozen=True)
class Named:
    """A time where a text names it."""

    start: int
    end: int
    """Characters of the folded text; ``end`` is not in it."""
    time: Time
    absolute: bool
    """It says its year itself."""


def places(folded: str, now: datetime) -> list[Named]:
    """Every time that a folded text names, in order; of two that overlap the one whose form is tried first."""
    found: list[Named] = []
    for form in (*_FORMS, *_AHEAD):
        for match in form.pattern.finditer(folded):
            if any(one.start < match.end() and match.start() < one.end for one in found):
                continue
            parts = match.groupdict() | {"day_first": None}
            try:
                time = form.read(parts, now)
            except (ValueError, OverflowError):
                continue
            if time is not None:
                found.append(Named(match.start(), match.end(), time, bool(parts.get("year"))))
    return sorted(found, key=lambda one: one.start)


def _midnight(at: datetime) -> datetime:
    return at.replace(hour=0, minute=0, second=0, microsecond=0)


def _days_back(first: float, length: float = 1.0) -> Callable[[Parts, datetime], Time]:
    """From so many days before today's midnight, so many days long."""

    def read(_: Parts, now: datetime) -> Time:
        start = _midnight(now) - timedelta(days=first)
        return between(start, start + timedelta(days=length))

    return read


def _month(year: int, month: int, now: datetime) -> tuple[datetime, datetime]:
    start = datetime(year, month, 1, tzinfo=now.tzinfo)
    return start, start + timedelta(days=calendar.monthrange(year, month)[1])


def _every_year(now: datetime, one: Callable[[int], tuple[datetime, datetime]]) -> Time:
    years = range(now.year - YEARS_BACK, now.year + 2)
    pairs = (one(year) for year in years)
    return Time(tuple((start.timestamp(), end.timestamp()) for start, end in pairs))


def _day(year: int, month: int, day: int, now: datetime) -> tuple[datetime, datetime]:
    last = calendar.monthrange(year, month)[1]
    start = datetime(year, month, min(day, last), tzinfo=now.tzinfo)
    return start, start + timedelta(days=1)


def _read_numeric(parts: Parts, now: datetime) -> Time | None:
    year, first, second = int(parts["year"] or 0), int(parts["first"] or 0), int(parts["second"] or 0)
    month, day = (second, first) if first > 12 or (parts["day_first"] and second <= 12) else (first, second)
    start = datetime(year, month, day, tzinfo=now.tzinfo)
    return between(start, start + timedelta(days=1))


def _read_iso(parts: Parts, now: datetime) -> Time | None:
    start = datetime(int(parts["year"] or 0), int(parts["number"] or 0), int(parts["day"] or 0), tzinfo=now.tzinfo)
    return between(start, start + timedelta(days=1))


def _read_day(parts: Parts, now: datetime) -> Time | None:
    """A day of a month; "may 5 people come" names none."""
    month, day = MONTHS[parts["month"] or ""], int(parts["day"] or 0)
    sure = parts["year"] or parts["ordinal"] or parts["in"] or parts["ends"] is not None
    if (parts["month"] in _AMBIGUOUS and not sure) or not 1 <= day <= calendar.monthrange(2024, month)[1]:
        return None
    if parts["year"]:
        start = datetime(int(parts["year"]), month, day, tzinfo=now.tzinfo)
        return between(start, start + timedelta(days=1))
    return _every_year(now, lambda year: _day(year, month, day, now))


def _read_first(parts: Parts, now: datetime) -> Time | None:
    """French has an ordinal for the first alone, which is written out as often."""
    return _read_day({**parts, "day": "1", "ordinal": "er", "in": None, "ends": None}, now)


def _read_month(parts: Parts, now: datetime) -> Time | None:
    month = MONTHS[parts["month"] or ""]
    if parts["year"]:
        return between(*_month(int(parts["year"]), month, now))
    return _every_year(now, lambda year: _month(year, month, now))


def _read_last_month(parts: Parts, now: datetime) -> Time | None:
    month = MONTHS[parts["month"] or ""]
    return between(*_month(now.year if month < now.month else now.year - 1, month, now))


def _read_this_month(parts: Parts, now: datetime) -> Time | None:
    month = MONTHS[parts["month"] or ""]
    return between(*_month(now.year, month, now))


def _season(year: int, season: str, now: datetime) -> tuple[datetime, datetime]:
    start = datetime(year, SEASONS[season], 1, tzinfo=now.tzinfo)
    return start, start + timedelta(days=91)


def _read_season(parts: Parts, now: datetime) -> Time | None:
    season = parts["season"] or ""
    if parts["year"]:
        return between(*_season(int(parts["year"]), season, now))
    return _every_year(now, lambda year: _season(year, season, now))


def _read_last_season(parts: Parts, now: datetime) -> Time | None:
    season = parts["season"] or ""
    years = (now.year, now.year - 1, now.year - 2)
    return next((between(*_season(year, season, now)) for year in years if _season(year, season, now)[1] <= now), None)


def _read_this_season(parts: Parts, now: datetime) -> Time | None:
    season = parts["season"] or ""
    start, end = _season(now.year, season, now)
    return between(start, end) if start <= now else between(*_season(now.year - 1, season, now))


def _read_year(parts: Parts, now: datetime) -> Time | None:
    year = int(parts["year"] or 0)
    return between(datetime(year, 1, 1, tzinfo=now.tzinfo), datetime(year + 1, 1, 1, tzinfo=now.tzinfo))


def _read_weekday(parts: Parts, now: datetime) -> Time | None:
    """The newest one before today."""
    back = (now.weekday() - WEEKDAYS[parts["weekday"] or ""] - 1) % 7 + 1
    return _days_back(back)(parts, now)


def _read_weekend(parts: Parts, now: datetime) -> Time | None:
    """The newest one that has begun; the last one is over."""
    saturday = _midnight(now) - timedelta(days=(now.weekday() - 5) % 7)
    if parts.get("last") and now < saturday + timedelta(days=2):
        saturday -= timedelta(days=7)
    start = saturday - timedelta(hours=6)
    return between(start, saturday + timedelta(days=2))


def _read_unit(parts: Parts, now: datetime) -> Time | None:
    """The calendar's week, month or year, the one before when ``last``."""
    days, midnight = _UNITS[parts["unit"] or ""], _midnight(now)
    back = 1 if parts.get("last") else 0
    if days > 300:
        year = now.year - back
        return between(datetime(year, 1, 1, tzinfo=now.tzinfo), datetime(year + 1, 1, 1, tzinfo=now.tzinfo))
    if days > 28:
        first = midnight.replace(day=1)
        before = first - timedelta(days=1)
        return between(*_month(*((before.year, before.month) if back else (first.year, first.month)), now))
    monday = midnight - timedelta(days=now.weekday() + 7 * back)
    return between(monday, monday + timedelta(days=7)) if days > 1 else _days_back(back)(parts, now)


def _counted(parts: Parts) -> int:
    counted = parts.get("count") or ("quelques" if parts.get("these") else "1")
    return _COUNTS.get(counted) or min(int(counted), 200)


def _read_ago(parts: Parts, now: datetime) -> Time | None:
    days = _UNITS[parts["unit"] or ""]
    back, midnight = days * _counted(parts), _midnight(now)
    half = days / 2 if days > 1 else 0.0
    start = midnight - timedelta(days=back + half)
    return between(start, start + timedelta(days=max(1.0, days)))


def _read_past(parts: Parts, now: datetime) -> Time | None:
    """A stretch of so many units up to now."""
    return between(_midnight(now) - timedelta(days=_UNITS[parts["unit"] or ""] * _counted(parts)), now)


def _also(read: Callable[[Parts, datetime], Time | None], **named: str) -> Callable[[Parts, datetime], Time | None]:
    """``read``, where a part may stand under another name too: a pattern can name a group once only."""

    def either(parts: Parts, now: datetime) -> Time | None:
        return read({**parts, **{part: parts[part] or parts[other] for part, other in named.items()}}, now)

    return either


_LAST = r"(?P<last>derni(?:er|ere)s?|passe?e?s?)"
_END = r"(?P<ends>\s*(?:$|[,.;:?!)]))?"
_FORMS = tuple(
    _Form(re.compile(pattern), read)
    for pattern, read in (
        (r"\b(?:the )?day before yesterday\b|\bavant-?\s?hier\b", _days_back(2)),
        (r"\b(?:last|yesterday) (?:night|evening)\b|\bhier (?:soir|matin|apres-midi)\b"
         r"|\bla nuit (?:derniere|passee)\b|\byesterday\b|\bhier\b", _days_back(1)),
        (r"\b(?:today|tonight|this (?:morning|afternoon|evening))\b|\baujourd'?\s?hui\b"
         r"|\bce (?:matin|soir)\b|\bcet apres-midi\b", _days_back(0)),
        (r"\bthe other day\b|\bl'autre jour\b|\brecently\b|\blately\b|\brecemment\b"
         r"|\bces (?:derniers jours|jours-ci)\b|\bdernierement\b", _days_back(20, 21)),
        (rf"\b(?:{_N}) {_U} ago\b", _read_ago),
        (rf"\b(?:il y a|voila|ca fait) (?:environ |a peu pres |deja )?{_N} {_U}\b", _read_ago),
        (rf"\b(?:the |these |in the |over the )?(?:last|past) {_N} {_U}\b", _read_past),
        (rf"\b(?:les|ces|des) {_N} derni(?:er|ere)s {_U}\b|\b(?:ces|les) derni(?:er|ere)s (?P<these>semaine|mois|an)",
         _also(_read_past, unit="these")),
        (r"\b(?:the )?(?P<last>last|past) week-?\s?end\b|\b(?:le |la )?(?:week-?\s?end|fin de semaine)"
         rf" {_LAST.replace('<last>', '<dernier>')}\b",
         _also(_read_weekend, last="dernier")),
        (r"\b(?:this|the|on the|over the) weekend\b|\b(?:ce|le|pendant le) week-?\s?end\b"
         r"|\b(?:cette|la|en|a la|durant la) fin de semaine\b", _read_weekend),
        (rf"\b(?:la |l'|le )?{_U} {_LAST}\b|\b(?:the )?(?P<past>last|previous) (?P<of>day|week|month|year)\b",
         _also(_read_unit, unit="of", last="past")),
        (r"\b(?:the )?past (?P<unit>week|month|year)\b", _read_past),
        (r"\b(?:this|cette|ce) (?P<unit>week|month|year|semaine|mois|annee)(?:-ci)?\b", _read_unit),
        (rf"\b(?:(?:in|en|de|du|le|mois de) )?(?:last|past) {_M}(?!\w)", _read_last_month),
        (rf"\b(?:(?:en|de|du|le|au) )?(?:mois de |mois d')?{_M} (?:passe|dernier)\b", _read_last_month),
        (rf"\bthis {_M}(?!\w)|\bce mois de (?P<mois>{_any(MONTHS)})\b",
         _also(_read_this_month, month="mois")),
        (rf"\b(?:last|past) {_S}\b", _read_last_season),
        (rf"\b(?:l'|le |au |en )?{_S} (?:dernier|passe)\b", _read_last_season),
        (rf"\bthis {_S}\b|\bcet? (?P<saison>{_any(SEASONS)})\b",
         _also(_read_this_season, season="saison")),
        (rf"\b(?:last|on|this past) {_W}\b", _read_weekday),
        (rf"\b(?:le )?{_W} (?:dernier|passe)\b", _read_weekday),
        (rf"\b{_Y}-(?P<number>[01]\d)-(?P<day>[0-3]\d)\b", _read_iso),
        (rf"\b(?P<first>[0-3]?\d)[/.](?P<second>[0-3]?\d)[/.]{_Y}\b", _read_numeric),
        (rf"\b(?:le |du |au |en )?premier {_M}(?:\s+{_Y})?(?!\w)", _read_first),
        (rf"{_IN}?\b{_D}\s+(?:of\s+)?{_M}(?:,?\s*{_Y})?(?!\d){_END}", _read_day),
        (rf"{_IN}?\b{_M}\s+(?:the\s+)?{_D}\b(?!\d)(?:,?\s*{_Y})?{_END}", _read_day),
        (rf"\b{_M},?\s*(?:of\s+|de\s+)?{_Y}\b", _read_month),
        (rf"\b(?:in|during|since|by|of|early in|late in|(?:in )?(?:early|late|mid)|en|durant|depuis|debut"
         rf"|fin|mi|de|d'|au mois (?:de|d'))"
         rf"[\s-]*(?<=[\s'-]){_M}(?!\w)(?P<year>)", _read_month),
        (rf"\b(?:the |l'|le |en |in |au )?{_S}\s+(?:of\s+|de\s+)?{_Y}\b", _read_season),
        (rf"\b(?:in|during|over) (?:the )?{_S}(?!\w)(?P<year>)"
         r"|\b(?:en |durant l'|pendant l'|l'|au |durant le |pendant le )(?P<saison>ete|automne|hiver|printemps)\b",
         _also(_read_season, season="saison")),
        (rf"\b(?:in|during|since|by|of|en|depuis|durant|dans)\s+(?:l'annee\s+)?{_Y}\b", _read_year),
    )
)  # fmt: skip


def _read_next_weekday(parts: Parts, now: datetime) -> Time | None:
    """The first one after today."""
    ahead = (WEEKDAYS[parts["weekday"] or ""] - now.weekday() - 1) % 7 + 1
    return _days_back(-ahead)(parts, now)


def _read_next_unit(parts: Parts, now: datetime) -> Time | None:
    """The calendar's week, month or year after this one."""
    days, midnight = _UNITS[parts["unit"] or ""], _midnight(now)
    if days > 300:
        return between(datetime(now.year + 1, 1, 1, tzinfo=now.tzinfo), datetime(now.year + 2, 1, 1, tzinfo=now.tzinfo))
    if days > 28:
        return between(*_month(now.year + now.month // 12, now.month % 12 + 1, now))
    monday = midnight - timedelta(days=now.weekday() - 7)
    return between(monday, monday + timedelta(days=7))


_AHEAD = tuple(
    _Form(re.compile(pattern), read)
    for pattern, read in (
        (r"\btomorrow\b(?: (?:morning|evening|night))?|\bdemain\b(?: (?:matin|soir))?", _days_back(-1)),
        (r"\bnext (?P<unit>week|month|year)\b|\b(?:la |le |l')?(?P<fois>semaine|mois|an|annee) prochaine?\b",
         _also(_read_next_unit, unit="fois")),
        (rf"\b(?:next|this coming) {_W}\b", _read_next_weekday),
        (rf"\b(?P<jour>{_any(WEEKDAYS)}) prochain\b", _also(_read_next_weekday, weekday="jour")),
    )
)  # fmt: skip
"""What lies ahead: for reading what was said, since a question seldom asks for it."""

_FRENCH_MONTHS = (
    *("janvier", "février", "mars", "avril", "mai", "juin"),
    *("juillet", "août", "septembre", "octobre", "novembre", "décembre"),
)


def written_day(day: date, language: Language) -> str:
    """As one says it: 7 May 2023."""
    return f"{day.day} {written_month(day, language)}"


def written_month(day: date, language: Language) -> str:
    """May 2023."""
    name = f"{day:%B}" if language == "en" else _FRENCH_MONTHS[day.month - 1]
    return f"{name} {day.year}"
