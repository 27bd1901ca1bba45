"""Finds first names that a text merely mentions, by Faker's lists of how people are called in twenty countries. Pure.

A listed name counts wherever it stands with a capital, except where it is more likely something else: a common word
that begins a sentence, a month, a town. Those count only beside somebody: "my sister April", "I told Grace".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from importlib import import_module

from services.trainer.curation.forms import FULL_NAME, Found, Kind

COUNTRIES = (
    "da_DK", "de_AT", "de_DE", "en_GB", "en_IE", "en_IN", "en_NG", "en_US", "es_ES", "es_MX", "fr_BE", "fr_CA",
    "fr_CH", "fr_DZ", "fr_FR", "it_IT", "nl_NL", "pl_PL", "pt_BR", "pt_PT", "ro_RO", "sv_SE", "tr_TR",
)  # fmt: skip
"""Those of Faker's that write names in Latin letters and speak, or live among those who speak, English or French."""
LEAST_LETTERS = 3
_LISTS = ("first_names", "first_names_male", "first_names_female", "first_names_nonbinary")

NEVER = frozenset(
    """
    africa america asia berlin bible brussels christ dublin earth english europe french genève german israel jesus
    london lyon madrid marseille paris rome santa spanish vienna
    """.split()  # noqa: SIM905 - a list would be a screen long
)
"""Listed, and still nobody one knows."""
PLACES_AND_TIMES = frozenset(
    """
    april august austin avril brooklyn carolina charlotte chelsea chester dakota december denver easter florence
    georgia houston india ireland israël jackson janvier jordan june lincoln lorraine lourdes madison marseille may
    mai milan montana nevada noël october orlando phoenix preston sahara savannah september sienna sydney tennessee
    valencia victoria virginia washington
    """.split()  # noqa: SIM905
)
"""Places and times that people are also called after: counted beside somebody alone."""
WORDS = frozenset(
    """
    aimé amber amine angel art autumn bas bent bill blanche blessing bob brandy buck can canal chance charity chase
    chip christian clair claire clay clément cliff comfort constant coral dawn dean del destiny diamond don drew
    duke earl ebony edit edu else eve faith fidel floor forest forum frank gene ginger grace grant grit gun gunner
    guy harm harmony harry harsh heath heather heaven herb holly hope hunter iris ivy jack jade jasmine jay jean jet
    jewel job journey joy junior juste justice kick king lance lane laurel lean lily line loan lone lot love lucky
    major marc marin marine mark martial mason max maximum melody mercy merle miles misty nadir neo nick olive owe
    page parker pat patience peace pearl peer penny per pier pierre piper prince princess ray reed rich rim river
    rob robin rocky rod rose ruby rusty sage said sandy scout serene skip sky sole star stela sterling stone storm
    sue summer sunny tad taylor tea terry ties till tore toy trinity urban van victor violet wade ward west will
    wolf wren
    """.split()  # noqa: SIM905
)
"""English and French words, too: at the beginning of a sentence they count beside somebody alone."""

_RELATION = (
    r"\b(?:sister|brother|mother|father|mum|mom|dad|wife|husband|partner|son|daughter|cousin|aunt|uncle|niece|nephew"
    r"|friends?|neighbou?rs?|colleagues?|boss|girlfriend|boyfriend|fiancée?|grandmother|grandfather|grandma|grandpa"
    r"|met|told|asked|called|phoned|texted|emailed|invited|married|hugged|thanked|named"
    r"|sœur|soeur|frère|mère|père|femme|mari|fils|fille|cousine?|tante|oncle|nièce|neveu|amie?|copine?|copain|voisine?"
    r"|collègue|rencontré|invité|épousé|appelée?|remercié|prévenu)"
)
_SOMEBODY = re.compile(rf"{_RELATION}[ \u00a0]$", re.IGNORECASE)
_SMALL = re.compile(rf"{_RELATION}[ \u00a0](?P<it>[a-zà-öø-ÿ]{{{LEAST_LETTERS},}})\b")
_BEGINS = re.compile(r"(?:^|[.!?…:\n\"«“(]|- )\s*$")
_CANDIDATE = re.compile(rf"(?<![\w<@/#-]){FULL_NAME}")
_POSSESSIVE = re.compile(r"['’][sS]$")


@lru_cache(maxsize=1)
def first_names() -> frozenset[str]:
    """All listed ones, in small letters. Raises ModuleNotFoundError where Faker isn't installed."""
    people = (import_module(f"faker.providers.person.{country}").Provider for country in COUNTRIES)
    listed = (name for person in people for list_ in _LISTS for name in getattr(person, list_, None) or ())
    return frozenset(name.lower() for name in listed if len(name) >= LEAST_LETTERS and name[0].isupper()) - NEVER


class Mentioned:
    """A listed first name, with the names behind it."""

    def find(self, text: str) -> Iterator[Found]:
        """Each run of capitalised words from its first listed name on, and "my sister sophie" as it is typed."""
        listed = first_names()
        for match in _SMALL.finditer(text):
            if (name := match["it"]) in listed and name not in WORDS | PLACES_AND_TIMES:
                yield Found(Kind.NAME, match.start("it"), match.end("it"), name.upper())
        for match in _CANDIDATE.finditer(text):
            words = list(re.finditer(r"\S+", match[0]))
            for at, word in enumerate(words):
                start = match.start() + word.start()
                name = _bare(word[0])
                if (
                    not name.isupper()
                    and name.lower() in listed
                    and _is_somebody(name.lower(), text, start, alone=at + 1 == len(words))
                ):
                    whole = _bare(match[0][word.start() :])
                    yield Found(Kind.NAME, start, start + len(whole), whole.upper())
                    break


def _bare(word: str) -> str:
    """Without the ``'s`` of what belongs to somebody."""
    return _POSSESSIVE.sub("", word)


def _is_somebody(name: str, text: str, start: int, *, alone: bool) -> bool:
    """Whether a listed name is one where it stands; ``alone``: no other capitalised word follows it."""
    before = text[max(0, start - 40) : start]
    if _SOMEBODY.search(before):
        return True
    if name in PLACES_AND_TIMES:
        return False
    return name not in WORDS or not (alone and _BEGINS.search(before))
