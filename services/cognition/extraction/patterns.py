"""How a rule is written: a pattern with a value, and the attribute that it tells. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

from services.cognition.extraction.cues import Cues, cues_of

PROPER = r"(?-i:[A-ZÀ-ÖØ-Þ][\w'’.-]*)"
"""A word with a capital."""
NAME = rf"{PROPER}(?:\s+{PROPER}){{0,2}}"
END_EN = (
    r"(?=\s*(?:[,;:!?()…]|\.(?:\s|$)|$)|\s+(?:now|nowadays|since|because|with|for|and|but|when|while|where|who|which|"
    r"that|so|as|until|after|before|these|this|anymore|any|at|right|too|again|on|every|each|although|though|if|instead|"
    r"than|lately|recently|currently|from|last|next|in|during|by|near|ago|today|already|here|there)\b)"
)
END_FR = (
    r"(?=\s*(?:[,;:!?()…]|\.(?:\s|$)|$)|\s+(?:maintenant|désormais|depuis|parce|car|avec|pour|et|mais|quand|lorsque|"
    r"où|qui|que|donc|comme|jusqu|après|avant|ce|cette|en ce|plus|aussi|encore|chaque|tous|toutes|si|plutôt|"
    r"récemment|actuellement|dernièrement|il y a|le (?:mois|week)|la semaine|l'an|dans|pendant|depuis|déjà|ici|"
    r"en (?:janvier|février|mars|avril|mai|juin|juillet|août|septembre|octobre|novembre|décembre|\d))\b)"
)

_GROUP = re.compile(r"\(\?P<(\w+)>")


def split_words(words: str) -> frozenset[str]:
    """The words of a list that is written as a text."""
    return frozenset(words.split())


CARS = (
    r"(?:alfa romeo|audi|bmw|chevrolet|citro[eë]n|cupra|dacia|fiat|ford|honda|hyundai|jaguar|jeep|kia|lexus|mazda|"
    r"mercedes|"
    r"mini|mitsubishi|nissan|opel|peugeot|polestar|porsche|renault|saab|seat|skoda|smart|subaru|suzuki|tesla|toyota|"
    r"vauxhall|volkswagen|volvo|vw)"
)

Check = Callable[[str], bool]


@dataclass(frozen=True)
class Rule:
    """``attribute`` may hold ``{thing}``, a group of the pattern. ``value`` None: the pattern's own group."""

    attribute: str
    written: str
    ended: bool = False
    value: str | None = None
    check: Check | None = None
    many: bool = False
    """The value is a list: each of it is a fact."""
    dated: bool = False
    """A time that the clause tells is when it began, or ended."""

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Compiled when it is first needed: all of them together take a while. A group may stand in it twice."""
        count: Counter[str] = Counter()

        def numbered(match: re.Match[str]) -> str:
            name = match.group(1)
            count[name] += 1
            return f"(?P<{name}__{count[name]}>"

        return re.compile(_GROUP.sub(numbered, self.written), re.I)

    @cached_property
    def cues(self) -> Cues:
        """One of them stands in every clause that matches."""
        return cues_of(self.pattern.pattern)

    def matches(self, clause: str, lowered: str) -> Iterator[dict[str, str]]:
        """The groups that took part, by name."""
        if self.cues and not any(cue in lowered for cue in self.cues):
            return
        for match in self.pattern.finditer(clause):
            parts = match.groupdict().items()
            yield {name.partition("__")[0]: part for name, part in parts if part is not None}


def rule(
    attribute: str,
    pattern: str,
    *,
    ended: bool = False,
    value: str | None = None,
    check: Check | None = None,
    many: bool = False,
    dated: bool = False,
) -> Rule:
    """Patterns are searched in a clause, without regard to case."""
    return Rule(attribute, pattern, ended, value, check, many, dated)
