"""Words to terms, so that a question finds what was said: folding, elision, light stemming, stop words. Pure.

One stemmer serves English and French, since a term's hash must not depend on a guess of the language of a short
question. It takes off plurals, verb endings and adverbs in the way of Harman's S-stemmer (1991) and Savoy's light
French stemmer (1999); both sides of a search go through it, so a stem need not be a word.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from typing import Literal

MAX_TERM_CHARACTERS = 64
"""Longer runs (hashes, base64) are cut: no one asks for their ends."""
SHORTEST_STEM = 3

_LIGATURES = str.maketrans({"œ": "oe", "æ": "ae", "ß": "ss", "ø": "o", "đ": "d", "ł": "l"})
APOSTROPHES = str.maketrans(dict.fromkeys("\u2019\u2018\u02bc\uff07`\u00b4", "'"))
_ELISION = re.compile(r"\b(?:l|d|j|m|t|s|c|n|qu|jusqu|lorsqu|puisqu|quoiqu)'(?=\w)")
_CONTRACTION = re.compile(r"(?<=\w)n't\b|(?<=\w)'(?:s|re|ve|ll|d|m)\b")
_WORD = re.compile(r"[^\W_]+")
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]+")


def _split(words: str) -> frozenset[str]:
    return frozenset(words.split())


ENGLISH = _split(
    "a about am an and any are as at be because been being both but by can could did do does doing down during each "
    "few for from further had has have having he her here hers him his how i if in into is it its itself just me more "
    "most my no nor not now of off on once only or other our out over own she should so some such than that the their "
    "them then there these they this those through to too under until up very was we were what when where which while "
    "who whom why will with would you your"
)
FRENCH = _split(
    "a ai alors apres as au aussi aux avait avec avez avoir avons bien c ca car ce ceci cela ces cet cette chez comme "
    "comment d dans de depuis des donc du elle elles en encore entre es est et etaient etais etait ete etes etre eu "
    "eux fait il ils j je l la le les leur leurs lui m ma mais me meme mes moi mon n ne ni nos notre nous on ont ou "
    "par pas peu plus pour pourquoi qu quand que quel quelle quelles quels qui quoi s sa sans se sera ses si soi son "
    "sont sous suis sur t ta te tes toi ton tous tout toute toutes tres tu un une vos votre vous y"
)
_STOP = ENGLISH | FRENCH
_ENGLISH_MARKS = _split(
    "hello hi hey thanks thank please yes ok okay sorry today tomorrow yesterday tell know birthday"
)
_FRENCH_MARKS = _split(
    "bonjour bonsoir salut coucou merci oui stp svp combien rappelle rappelles souviens souvient sais savez peux peut "
    "pouvez veux dois faut vais vas va dis dit parle parles habite habites appelle appelles aujourd hui hier demain "
    "toujours jamais rien quoi voici voila anniversaire rendez"
)
"""Frequent words that tell the language of a question of two or three words; they stay terms of a search."""
_TELLING = {"en": (ENGLISH | _ENGLISH_MARKS) - FRENCH, "fr": (FRENCH | _FRENCH_MARKS) - ENGLISH}
_FRENCH_SPACING = re.compile(r"\w[ \u00a0\u202f][?!;:»]")
"""French sets these apart."""


def is_stop(word: str) -> bool:
    """Whether a folded word is one of the small ones that say nothing of what a text is about."""
    return word in _STOP


def fold(text: str) -> str:
    """Lower case without accents, ligatures spelled out, one kind of apostrophe."""
    if text.isascii():
        return text.replace("`", "'").lower()
    text = unicodedata.normalize("NFKC", text).translate(APOSTROPHES).casefold().translate(_LIGATURES)
    if text.isascii():
        return text
    decomposed = unicodedata.normalize("NFD", text)
    kept = (c for c in decomposed if not unicodedata.combining(c) or not "\u0300" <= c <= "\u036f")
    return unicodedata.normalize("NFC", "".join(kept))


def words(text: str) -> list[str]:
    """Folded words in order, without elided articles and English contractions; unspaced scripts give bigrams."""
    bare = fold(text)
    if "'" in bare:
        bare = _CONTRACTION.sub("", _ELISION.sub("", bare))
    if bare.isascii():
        return [word[:MAX_TERM_CHARACTERS] for word in _WORD.findall(bare)]
    found: list[str] = []
    for word in _WORD.findall(bare):
        found += _bigrams(word) if _CJK.search(word) else (word[:MAX_TERM_CHARACTERS],)
    return found


def _bigrams(word: str) -> list[str]:
    if len(word) < 2:
        return [word]
    return [word[i : i + 2] for i in range(len(word) - 1)]


def _pairs(endings: str) -> tuple[tuple[str, str], ...]:
    parted = (pair.partition(">") for pair in endings.split())
    return tuple((ending, instead) for ending, _, instead in parted)


_ENDINGS = _pairs(
    "eusement>eu issement>iss eaient> ation>at ement> aient> ingly> ment> edly> ness> eait> euse>eu eux>eu ive>if "
    "aux>al eai> ing> ied>i ait> ant> ent> ai> ez> er> ir> ed> ee> ly> y>i e> x>"
)
"""Ending of a singular → what takes its place, longer ones before the shorter that they end in."""
_BY_LAST = {last: tuple(pair for pair in _ENDINGS if pair[0][-1] == last) for last in {end[-1] for end, _ in _ENDINGS}}
"""The endings by their last letter: most words have none of them, and are through at once."""


def stem(word: str) -> str:
    """The light stem of a folded word. Numbers and short words stay as they are."""
    if len(word) <= SHORTEST_STEM or not word.isalpha() or not word.isascii():
        return word
    singular = word[:-1] if word.endswith("s") and not word.endswith("ss") else word
    for ending, instead in _BY_LAST.get(singular[-1], ()):
        if singular.endswith(ending) and len(singular) - len(ending) + len(instead) >= SHORTEST_STEM:
            return _undouble(singular[: len(singular) - len(ending)] + instead)
    return _undouble(singular)


def _undouble(word: str) -> str:
    return word[:-1] if len(word) > SHORTEST_STEM and word[-1] == word[-2] else word


def terms(text: str) -> list[str]:
    """The stems of the text's words in order, without stop words; of a text of stop words alone, all of them."""
    found = words(text)
    telling = [stem(word) for word in found if word not in _STOP]
    return telling or [stem(word) for word in found]


def term_counts(text: str) -> dict[str, int]:
    """Term → how often it occurs."""
    return dict(Counter(terms(text)))


def query_terms(text: str, limit: int) -> tuple[str, ...]:
    """The different terms of a question, at most ``limit``, in the order of their first occurrence."""
    return tuple(dict.fromkeys(terms(text)))[:limit]


Language = Literal["en", "fr"]


def language(text: str, *earlier: str) -> Language:
    """The language of a text by its own signs; else that of the first of ``earlier`` which has some; else English."""
    return next((told for one in (text, *earlier) if (told := language_told(one)) is not None), "en")


def language_told(text: str) -> Language | None:
    """By small words; a tie is settled by accents, elisions and spacing. None where nothing tells."""
    found = words(text)
    english, french = (sum(word in _TELLING[code] for word in found) for code in ("en", "fr"))
    if english != french:
        return "fr" if french > english else "en"
    accented = any("\u00c0" <= c <= "\u017f" for c in text)
    if accented or _ELISION.search(fold(text)) or _FRENCH_SPACING.search(text):
        return "fr"
    return None if not english else "en"


_SENTENCE_END = re.compile(r"(?<=[.!?…])\s+|\n+")


def sentences(text: str) -> list[str]:
    """The text's sentences, stripped; never an empty one."""
    return [part.strip() for part in _SENTENCE_END.split(text) if part.strip()]
