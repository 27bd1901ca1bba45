"""What a sentence tells, as a key: equal for the same words in another order, with other courtesies. Pure.

Two sentences are merged only where their keys are equal, so that no pair is ever compared: a key is made of one
sentence alone, in one pass, and equal ones fall together. What isn't the same word for word, beside courtesies,
spellings and the place of one adjunct, has another key: a number, a name, a day or a "not" more or less always counts.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence

from libs.shared.contracts.digests import TELLING_KEY_BYTES
from libs.shared.text import APOSTROPHES

FEWEST_TURNED = 4
"""Words: of a shorter sentence the order always counts."""
LONGEST_CAPITALS = 4
_WORD = re.compile(r"\d+(?:[.,:/]\d+)*|[^\W\d_]+|[^\W_]+|-(?=\d)|[^\s\w.,;:!?…'()\[\]\-–—*_]")
_CONTRACTED = tuple(
    (re.compile(pattern, re.IGNORECASE), full)
    for pattern, full in (
        (r"\bcan't\b|\bcannot\b", "can not"),
        (r"\bwon't\b", "will not"),
        (r"\bshan't\b", "shall not"),
        (r"(?<=\w)n't\b", " not"),
        (r"(?<=\w)'re\b", " are"),
        (r"(?<=\w)'ve\b", " have"),
        (r"(?<=\w)'ll\b", " will"),
        (r"\bI'm\b", "I am"),
        (r"\b(he|she|it|that|there|here|what|who)'s\b", r"\1 is"),
        (r"\b(have|has) got\b(?! to\b)", r"\1"),
        (r"\bgonna\b", "going to"),
        (r"\bwanna\b", "want to"),
    )
)


def _each(words: str) -> frozenset[str]:
    return frozenset(words.split())


def _phrases(told: str) -> tuple[tuple[str, ...], ...]:
    """The longest first."""
    return tuple(sorted((tuple(one.split()) for one in told.split("|")), key=len, reverse=True))


_SPELLINGS = {
    "favourite": "favorite",
    "colour": "color",
    "neighbour": "neighbor",
    "grey": "gray",
    "mum": "mom",
}
_ARTICLES = _each("a an the")
_ASIDE = _each("actually honestly basically frankly btw anyway please pls stp svp")
"""Words that say how something is told, wherever they stand."""
_OPENINGS = _phrases(
    "hey|hi|hello|well|oh|ah|so|ok|okay|yes|yeah|yep|sure|thanks|thank you|by way|as i said|as i told you|"
    "as you know|you know|i told you that|i already told you that|just so you know|for record|to be honest|"
    "remember that|do not forget that|in case you forgot|good morning|good evening|fyi|"
    "bonjour|bonsoir|salut|coucou|oui|merci|au fait|d ailleurs|comme je te l ai dit|comme je l ai dit|tu sais|"
    "pour info|rappelle toi que|n oublie pas que|je te rappelle que|à vrai dire|voilà|alors"
)
_CLOSINGS = _phrases(
    "thanks|thank you|by way|as i said|as i told you|as you know|you know|just so you know|to be honest|haha|"
    "lol|in case you forgot|s il te plaît|s il vous plaît|merci|au fait|d ailleurs|tu sais|"
    "comme je te l ai dit|comme je l ai dit|pour info"
)
_ADJUNCTS = _each(
    "in on at since for during after before with without when whenever while if because every yesterday today tomorrow "
    "last next this once twice en à au aux depuis pendant après avant avec sans quand lorsque si parce chaque hier "
    "demain dans chez"
)
"""Words with which a part begins that may as well stand first."""
_ORDERED = _each(
    "not no never none nor nothing nobody neither only even just almost nearly hardly barely all both each than "
    "ne n pas jamais rien personne aucun aucune seulement que même presque tout tous toute toutes moins plus"
)
"""Words that mean something else in another place: where one stands, the order counts."""
_POINTING = _each(
    "it its this that these those he she him her his hers they them their theirs there then here one ones such same "
    "il elle ils elles lui eux ça ca ce cela ceci celui celle ceux celles y en leur leurs son sa ses là  ici "
    "so too also"
)
"""Words whose meaning lies in what was said around them."""


def telling_keys(sentences: Sequence[str], speaker: str, memory: str) -> bytes:
    """One key of TELLING_KEY_BYTES a sentence (with its times written out), one after another.

    What is understood only with what was said around it has a key of its own, by its memory's id.
    """
    return b"".join(telling_key(one, speaker, f"{memory} {place}") for place, one in enumerate(sentences))


def telling_key(sentence: str, speaker: str, where: str = "") -> bytes:
    """Equal for what the same speaker tells by the same words; ``where`` counts for what points at something else."""
    words = said_words(sentence)
    told = (speaker, "" if _POINTING.isdisjoint(words) else where, *turned(words))
    return hashlib.blake2b("\0".join(told).encode(errors="replace"), digest_size=TELLING_KEY_BYTES).digest()


def said_words(sentence: str) -> tuple[str, ...]:
    """Its words and numbers in order, in one spelling, without articles and what only says how it is told."""
    plain = unicodedata.normalize("NFKC", sentence).translate(APOSTROPHES)
    for pattern, full in _CONTRACTED:
        plain = pattern.sub(full, plain)
    shouted = plain.isupper()
    found = [_folded(word, shouted=shouted) for word in _WORD.findall(plain)]
    return _bare([_SPELLINGS.get(word, word) for word in found if word not in _ARTICLES and word not in _ASIDE])


def _folded(word: str, *, shouted: bool) -> str:
    """In small letters, but for a few capitals that may be another word in them: "US", "IT"."""
    capitals = not shouted and 1 < len(word) <= LONGEST_CAPITALS and word.isupper()
    return word if capitals else word.casefold()


def _bare(words: Sequence[str]) -> tuple[str, ...]:
    """Without courtesies at either end; of courtesies alone, all of them."""
    start, end = 0, len(words)
    while opening := next((one for one in _OPENINGS if tuple(words[start : start + len(one)]) == one), None):
        start += len(opening)
    while closing := next((one for one in _CLOSINGS if tuple(words[max(start, end - len(one)) : end]) == one), None):
        end -= len(closing)
    return tuple(words[start:end]) or tuple(words)


def turned(words: tuple[str, ...]) -> tuple[str, ...]:
    """The same for a sentence and for the one whose last adjuncts stand first: "on Sundays I run".

    Where two begin alike ("in Lyon … in Paris") the order counts: turned, each might go with what the other went with.
    """
    adjuncts = [word for word in words if word in _ADJUNCTS]
    if len(words) < FEWEST_TURNED or len(set(adjuncts)) < len(adjuncts) or not _ORDERED.isdisjoint(words):
        return words
    places = (place for place, word in enumerate(words) if word in _ADJUNCTS)
    return min((words[place:] + words[:place] for place in places), default=words)
