"""What is noted of a text when it is indexed, so that recall can judge it without reading it. Pure.

``traits_of`` gives 32 bits that only cognition understands, ``importance_of`` how much it matters to be remembered.
English and French count alike.
"""

from __future__ import annotations

import re

from libs.shared.text import fold

ASKS = 1 << 0
"""It ends with a question."""
TELLS_TIME = 1 << 1
HAS_NUMBER = 1 << 2
FIRST_PERSON = 1 << 3
TELLS = 1 << 4
"""It has a sentence that is no question."""
NAMES_SHIFT = 8
NAMES_MOST = 3
"""Proper names in it, counted up to this, stand in two bits."""
JUDGED_CHARACTERS = 4000
"""Of a longer text the beginning is judged: an embedder reads no more either."""

_TIME = re.compile(
    r"\b(?:yesterday|today|tonight|tomorrow|last|next|ago|(?:week|weekend|month|year)s?|recently|just|since"
    r"|(?:mon|tues|wednes|thurs|fri|satur|sun)day|january|february|march|april|may|june|july|august|september|october"
    r"|november|december|hier|avant-hier|demain|aujourd'hui|ce (?:matin|soir)|semaines?|mois|annees?|ans?|depuis"
    r"|recemment|derni(?:er|ere)s?|prochaine?s?|passee?s?|lendemain|veille|lundi|mardi|mercredi|jeudi|vendredi|samedi"
    r"|dimanche|janvier|fevrier|mars|avril|mai|juin|juillet|aout|septembre|octobre|novembre|decembre|(?:19|20)\d\d)\b"
)
_NUMBER = re.compile(
    r"\d|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twice|once|couple|dozen|hundred|deux|trois"
    r"|quatre|cinq|sept|huit|neuf|dix|onze|douze|douzaine|vingt|trente|cent)\b"
)
_I = re.compile(r"\b(?:i|i'm|me|my|mine|we|our|je|moi|mon|ma|mes|nous|notre|nos)\b|\b[jm]'")
_PROPER = re.compile(r"(?<![.!?…»] )(?<![\"«“(] )(?<!^)(?<!\n)\b[^\W\d_a-zà-ÿ][^\W\d_A-ZÀ-Þ]+")
_SENTENCE = re.compile(r"[^.!?…\n]+[.!?…]*")
_QUESTION_END = re.compile(r"\?[\s\"'»”)!]*$")

_ASKED_TO_REMEMBER = re.compile(
    r"\b(?:remember (?:that|this|my|to|:)|please remember|don'?t forget|do not forget|never forget|keep in mind"
    r"|make a note|note (?:that|to self)|(?:very |really |it'?s )important"
    r"|n'?oublie[zs]? (?:pas|jamais)|souviens-toi|souvenez-vous|retiens|retenez|rappelle-toi|a retenir|prends note"
    r"|notes? bien|(?:tres |c'est )important)"
)
_LIFE = re.compile(
    r"\b(?:birthday|born|married|marriage|wedding|engaged|divorced?|pregnant|died|death|passed away|funeral|diagnosed"
    r"|allerg\w+|surgery|hospital|moved to|new job|hired|fired|retired|graduat\w+|adopt\w+|password|appointment"
    r"|anniversaire|nee? le|mariee?s?|mariage|fiancee?s?|divorcee?s?|enceinte|decedee?s?|mort|deces|enterrement"
    r"|diagnosti\w+|operation|hopital|demenage\w*|nouvel emploi|nouveau travail|embauchee?|licenciee?|retraite"
    r"|diplom\w+|mot de passe|rendez-vous)\b"
)
_FEELING = re.compile(
    r"\b(?:love[ds]?|hate[ds]?|afraid|scared|proud|sad|happy|excited|worried|favou?rite|prefer|dream|adore|deteste"
    r"|j'aime|peur|fiere?|triste|heureu(?:x|se)|inquiete?|prefere\w*|reve)\b"
)
_FACT = re.compile(
    r"\b(?:i am|i'm|i have|i live|i work|my (?:\w+ ){1,2}(?:is|are|was|has|lives)|je suis|j'ai|j'habite"
    r"|je travaille|je vis|(?:mon|ma|mes) (?:\w+ ){1,2}(?:est|sont|etait|a|habite|s'appelle))\b"
)
ASKED_FOR, LIFE, FEELING, FACT, SAID = 0.9, 0.6, 0.4, 0.3, 0.1


def traits_of(text: str) -> int:
    """The bits of a text."""
    said = text[:JUDGED_CHARACTERS].strip()
    folded = fold(said)
    bits = min(NAMES_MOST, len(set(_PROPER.findall(said)))) << NAMES_SHIFT
    bits |= ASKS if asks(said) else 0
    bits |= TELLS if any(not _QUESTION_END.search(part) for part in _SENTENCE.findall(said) if part.strip()) else 0
    bits |= TELLS_TIME if _TIME.search(folded) else 0
    bits |= HAS_NUMBER if _NUMBER.search(folded) else 0
    bits |= FIRST_PERSON if _I.search(folded) else 0
    return bits


def asks(text: str) -> bool:
    """Whether a text ends with a question."""
    return _QUESTION_END.search(text[-64:]) is not None


def names_in(traits: int) -> int:
    """How many proper names were noted, at most NAMES_MOST."""
    return traits >> NAMES_SHIFT & NAMES_MOST


def importance_of(text: str, speaker: str = "user") -> float:
    """0..1, by rule: what was asked to be remembered, then events of a life, feelings, facts, anything else said.

    A mere question is of no importance, and what the assistant says of little.
    """
    folded = fold(text[:JUDGED_CHARACTERS].strip())
    if _ASKED_TO_REMEMBER.search(folded) and speaker != "assistant":
        return ASKED_FOR
    if not traits_of(text) & TELLS or speaker == "assistant":
        return 0.0
    found = (value for kind, value in ((_LIFE, LIFE), (_FEELING, FEELING), (_FACT, FACT)) if kind.search(folded))
    return next(found, SAID)
