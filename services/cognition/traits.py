"""What is noted of a text when it is indexed, so that a ranking needs no texts: traits as bits, and importance. Pure."""

from __future__ import annotations

import re
from enum import IntFlag

from libs.shared.text import fold

NAMED = 2
"""Two bits: how many proper names, up to three."""
_TIME = re.compile(
    r"\b(?:yesterday|today|tonight|tomorrow|last|next|ago|weeks?|weekend|months?|years?|recently|just|since|"
    r"(?:mon|tues|wednes|thurs|fri|satur|sun)day|january|february|march|april|june|july|august|september|october|"
    r"november|december|hier|demain|aujourd'hui|semaines?|mois|annees?|depuis|derniere?s?|prochaine?s?|lundi|mardi|"
    r"mercredi|jeudi|vendredi|samedi|dimanche|janvier|fevrier|mars|avril|mai|juin|juillet|aout|septembre|octobre|"
    r"novembre|decembre|(?:19|20)\d\d)\b"
)
_NUMBER = re.compile(
    r"\d|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|twice|once|couple|dozen|deux|trois|quatre|cinq|sept|huit|"
    r"neuf|dix)\b"
)
_PROPER = re.compile(r"(?<![.!?…] )(?<!^)\b[A-Z][^\W\d_]+")
_ASKED_TO_KEEP = re.compile(
    r"\b(?:remember (?:that|this|to)|don't forget|do not forget|important|keep in mind|n'oublie[zs]? pas|souviens-toi|"
    r"rappelle-toi|retiens)\b"
)


class Trait(IntFlag):
    """A bit each; the two from ``NAMES`` on count proper names."""

    ASKS = 1
    TELLS_TIME = 2
    HAS_NUMBER = 4
    NAMES = 8


def traits_of(text: str) -> int:
    """The bits of a text."""
    folded = fold(text)
    bits = Trait.ASKS * text.rstrip().endswith("?")
    bits |= Trait.TELLS_TIME * bool(_TIME.search(folded))
    bits |= Trait.HAS_NUMBER * bool(_NUMBER.search(folded))
    return int(bits) | min(3, len(_PROPER.findall(text))) * Trait.NAMES


def importance_of(text: str) -> float:
    """0..1: what its speaker asked to keep is important."""
    return 0.9 if _ASKED_TO_KEEP.search(fold(text)) else 0.3
