"""Writing out the times that a sentence names only by when it was said: "yesterday (7 May 2023)". Pure."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, tzinfo

from libs.shared.dates import DAY_S, Time, places, written_day, written_month
from libs.shared.text import Language, fold, language

_VAGUE = ("recent", "lately", "the other day", "l'autre jour", "dernierement", "ces ")
"""Forms for a time that nobody could name."""
_POSSESSIVE = re.compile(r"(?:['’]s\b)?")


def dated(sentence: str, at: datetime) -> str:
    """The sentence, each of its relative times followed by the date in brackets, by the clock of ``at``.

    A text whose folding changes its length (ligatures) is left as it is: places in it can't be told.
    """
    folded = fold(sentence)
    if len(folded) != len(sentence):
        return sentence
    code = language(sentence)
    for named in reversed(places(folded, at)):
        if named.absolute or named.time.yearly or folded[named.start : named.end].startswith(_VAGUE):
            continue
        written = written_out(named.time, at.tzinfo, code)
        if written is not None:
            end = named.end + len(_POSSESSIVE.match(sentence[named.end :])[0])  # type: ignore[index]  # may be empty
            sentence = f"{sentence[:end]} ({written}){sentence[end:]}"
    return sentence


def written_out(time: Time, zone: tzinfo | None, code: Language) -> str | None:
    """A day, the days of a weekend, a week by its Monday, a month, or a year; None for any other stretch."""
    begin, end = time.spans[0]
    days = (end - begin) / DAY_S
    first = datetime.fromtimestamp(begin, zone)
    last = datetime.fromtimestamp(end, zone) - timedelta(days=1)
    middle = datetime.fromtimestamp((begin + end) / 2, zone)
    if days < 1.5:
        return written_day(first, code)
    if days < 3:  # from Friday evening on
        saturday = first + timedelta(hours=6)
        opening = str(saturday.day) if saturday.month == last.month else written_day(saturday, code)
        return f"{opening}–{written_day(last, code)}"
    if days < 7.5:
        if first.weekday():  # "two weeks ago": no calendar's week
            return f"{'around' if code == 'en' else 'vers le'} {written_day(middle, code)}"
        return f"{'week of' if code == 'en' else 'semaine du'} {written_day(first, code)}"
    if 27 < days < 32:
        return written_month(middle, code)
    return str(middle.year) if 300 < days < 400 else None
