"""Finds in a text what tells who somebody is or opens what is theirs: by its form, and by its check digits. Pure.

What has a form of its own is found whoever wrote it. A name has none: those are found that a text itself says to be
one (after a title, "my name is", "je m'appelle"), and first names that are listed (``names.py``); an address's street
and number, where the street is called one. ``docs/decisions/curation.md`` has how much of each is found.
"""

from __future__ import annotations

from services.trainer.curation.forms import FORMS, Form, Found, Kind
from services.trainer.curation.names import Mentioned

_ALL: tuple[Form | Mentioned, ...] = (*FORMS, Mentioned())
_RANK = {kind: at for at, kind in enumerate(Kind)}


def find(text: str) -> list[Found]:
    """What is in ``text``, in order and apart: of two that overlap, the one of the earlier kind, then the longer."""
    candidates = [found for form in _ALL for found in form.find(text) if found.end > found.start]
    candidates.sort(key=lambda found: (_RANK[found.kind], found.start - found.end, found.start))
    kept: list[Found] = []
    for found in candidates:
        if all(found.end <= other.start or found.start >= other.end for other in kept):
            kept.append(found)
    return sorted(kept, key=lambda found: found.start)
