"""Which words a pattern can't match without: a text that has none of them needs no closer look. Pure.

A few hundred patterns are searched in each clause; on ordinary talk nine out of ten are passed over this way.
"""

from __future__ import annotations

import re._constants as kinds  # type: ignore[import-not-found]  # no types, as for the next
import re._parser as parser  # type: ignore[import-not-found]
from collections.abc import Iterable, Sequence
from typing import Any

SHORTEST = 3
Cues = frozenset[str]
NONE: Cues = frozenset()


def cues_of(pattern: str) -> Cues:
    """In lower case; one of them stands in whatever matches. Empty: nothing is certain."""
    return _of_sequence(parser.parse(pattern))


def _of_sequence(items: Iterable[tuple[Any, Any]]) -> Cues:
    found: list[Cues] = []
    run = ""
    for kind, about in items:
        if kind is kinds.LITERAL:
            run += chr(about).lower()
            continue
        found += [frozenset({run}), _of_item(kind, about)]
        run = ""
    found.append(frozenset({run}))
    return _most_telling(found)


def _of_item(kind: Any, about: Any) -> Cues:
    if kind is kinds.SUBPATTERN:
        return _of_sequence(about[3])
    if kind in (kinds.MAX_REPEAT, kinds.MIN_REPEAT) and about[0] > 0:
        return _of_sequence(about[2])
    if kind is kinds.BRANCH:
        branches = [_of_sequence(branch) for branch in about[1]]
        return frozenset().union(*branches) if all(branches) else NONE
    return NONE


def _most_telling(found: Sequence[Cues]) -> Cues:
    """Of the sets that must each occur, the one whose words are rarest: long ones, and few."""
    useful = [cues for cues in found if cues and min(map(len, cues)) >= SHORTEST]
    return max(useful, key=lambda cues: (min(min(map(len, cues)), 5), -len(cues)), default=NONE)
