"""What the value of a fact may look like: cleaned of what surrounds it, and checked for the kind that is told. Pure."""

from __future__ import annotations

import re

from libs.shared.text import fold
from services.cognition.extraction.patterns import PROPER, split_words

_OPENERS = split_words(
    "it that this these those there here them him her you me us he she they we i someone something nothing anything "
    "everything everyone what how when where why who which because so very really too not just all much more a-lot ca "
    "cela ceci lui elle eux toi moi ici la-bas y en quelqu'un quelque rien tout tous quand comment pourquoi ou qui "
    "que quoi tres trop pas vraiment juste beaucoup"
)
"""What no value begins with."""
_ARTICLE = re.compile(
    r"^(?:the|an?|some|my|our|un|une|des|du|de la|de l'|le|la|les|l'|mon|ma|mes|notre|d'|de|aux?|à la|à l')(?:\s+|"
    r"(?<='))"
)
_TRAILING = re.compile(
    r"[\s,]+(?:now|nowadays|too|again|anymore|any more|currently|at the moment|right now|these days|already|actually|"
    r"though|instead|as well|today|please|recently|lately|here|there|so much|a lot|very much|the most|"
    r"maintenant|désormais|aussi|encore|en ce moment|actuellement|déjà|d'ailleurs|aujourd'hui|récemment|ici|"
    r"beaucoup|énormément|finalement|plus que tout|à présent)$",
    re.I,
)
_EMPHASIS = re.compile(
    r"^(?:now|actually|really|still|currently|called|named|maintenant|désormais|vraiment|plutôt)\s+", re.I
)
MOST_WORDS = 6


def cleaned(value: str, *, keep_article: bool = False) -> str | None:
    """The value without what surrounds it; None when it says nothing by itself."""
    value = value.strip(" \t\"'“”«».,;:!…-")
    while True:
        shorter = _TRAILING.sub("", _EMPHASIS.sub("", value)).strip(" ,.")
        if shorter == value:
            break
        value = shorter
    if not keep_article:
        value = _ARTICLE.sub("", value)
    found = value.split()
    if not found or len(found) > MOST_WORDS or len(value) > 80:
        return None
    proper = len(found) > 1 and found[0][0].isupper()
    return None if fold(found[0]) in _OPENERS and not proper else value


def listed(value: str) -> list[str]:
    """The parts of an enumeration; « mixed berry and lemon flavours » is none, but one thing."""
    parts = [
        part
        for part in re.split(r"\s*,\s*(?:(?:and|or|et|ou)\s+)?|\s+(?:and|or|nor|et|ou|ni)\s+", value)
        if part.strip()
    ]
    alike = (
        "," in value
        or len({len(cleaned(part) or part) and len((cleaned(part) or part).split()) for part in parts}) == 1
    )
    return parts if alike else [value]


def is_place(value: str) -> bool:
    """A name of a place: with a capital, unless its writer uses none; never a kind of dwelling or a state of mind."""
    return bool(re.search(r"[A-ZÀ-ÖØ-Þ]", value)) and _NO_PLACE.search(fold(value)) is None


_NO_PLACE = re.compile(
    r"^(?:st|ste|mt|ft)$|\b(?:then|puis|ensuite)\b|"
    r"\b(?:fear|hope|peace|past|present|moment|middle|house|flat|apartment|home|room|building|maison|appartement|"
    r"immeuble|studio|peur|espoir|paix|monday|tuesday|wednesday|thursday|friday|saturday|sunday|lundi|mardi|mercredi|"
    r"jeudi|vendredi|samedi|dimanche)\b"
)


def is_workplace(value: str) -> bool:
    """A firm's name, or a kind of place where people work."""
    folded = fold(value)
    if _NO_WORKPLACE.search(folded):
        return False
    return bool(re.search(rf"\b{PROPER}", value)) or _WORKPLACE.search(folded) is not None


_NO_WORKPLACE = re.compile(
    r"\b(?:group|club|team|class|gym|choir|band|army|christmas|easter|noel|paques|home|night|weekend|groupe|equipe|"
    r"cours|"
    r"chorale|salle de sport|maison|nuit|(?:mon|tues|wednes|thurs|fri|satur|sun)day|lundi|mardi|mercredi|jeudi|"
    r"vendredi|"
    r"samedi|dimanche)s?\b"
)


_WORKPLACE = re.compile(
    r"\b(?:hospital|school|bank|bakery|restaurant|university|library|museum|clinic|pharmacy|company|firm|agency|"
    r"factory|"
    r"shop|store|startup|start-up|government|council|hotel|garage|newspaper|studio|lab|archives?|authority|office|"
    r"ministry|court|theatre|zoo|laboratory|farm|airport|"
    r"hopital|ecole|banque|boulangerie|universite|bibliotheque|musee|clinique|pharmacie|entreprise|societe|agence|"
    r"usine|magasin|mairie|hotel|journal|laboratoire|ferme|aeroport|cabinet|librairie|capitainerie|imprimerie|"
    r"presses|laboratoires|archives|ministere|college|lycee)\b"
)


def is_liking(value: str) -> bool:
    """Something that can be liked for long: no person addressed, no clause."""
    return (
        len(value.split()) <= 5
        and not value.endswith((" of", " in", " with", " to", " up", " de"))
        and _NO_LIKING.search(fold(value)) is None
    )


_NO_LIKING = re.compile(
    r"^(?:(?:neither|nor|ni)\b|(?:to|every|each|some|any|having|getting|going|coming|curling|makes|made|seeing|making|being|holding|doing|knowing|hearing|thinking|"
    r"d'avoir|avoir|voir|"
    r"chaque|quand|comment)\b|idea|way|fact|look|sound|feel|your|his|their|her|its|être|etre|ton|ta|tes|votre|vos|"
    r"son|sa|leur|idee|fait|"
    r"facon|one|same|other)|\b(?:you|your|is|was|are|were|est|etait|them|it|our|my|this|that|these|those|them|ce|"
    r"cette|ces|mon|ma|notre|idea|idee|a|as|ai)\b"
)


def is_detail(value: str) -> bool:
    """What a thing can be: a name, number or description, no judgement and no clause."""
    return _NO_DETAIL.search(fold(value)) is None


_NO_DETAIL = re.compile(
    r"^(?:great|good|bad|nice|fine|ok|okay|amazing|awesome|terrible|awful|broken|dead|gone|missing|full|empty|late|"
    r"early|"
    r"slow|fast|dirty|clean|ready|done|due|hard|difficult|easy|boring|fun|funny|cool|wonderful|horrible|beautiful|cute|"
    r"big|small|old|new|expensive|cheap|too|so|very|really|pretty|quite|better|worse|not|no|doing|going|coming|being|"
    r"getting|having|making|driving|killing|acting|out|over|down|up|off|away|about|like|to|super|perfect|lovely|"
    r"genial|bien|bon|bonne|mauvais|mauvaise|nul|nulle|casse\w*|mort|morte|perdu\w*|plein\w*|vide|en retard|lent\w*|"
    r"rapide|sale|propre|pret\w*|difficile|facile|ennuyeu\w*|drole|grand\w*|petit\w*|vieu\w*|vieille|nouveau|nouvelle|"
    r"cher|chere|trop|tres|vraiment|assez|mieux|pire|pas|en train|en panne|tombe\w*|magnifique|superbe|parfait\w*)\b"
)
