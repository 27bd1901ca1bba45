"""Which clauses of a text state something: no questions, hypotheses, quotations, fiction or reported speech. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from libs.shared import text as texts

LONGEST_TEXT = 20_000
"""Of a longer text the beginning is read."""
LONGEST_CLAUSE = 300
"""Facts are told in short sentences; who writes longer ones is understood better by a model."""

_PLAIN = texts.APOSTROPHES | str.maketrans({"\u00a0": " ", "\u202f": " "})
_CODE = re.compile(r"```.*?(?:```|\Z)", re.S)
_QUOTED_LINE = re.compile(r"^[^\S\n]*>.*$", re.M)
_QUOTED = re.compile(r"\"([^\"]*)\"|“([^”]*)”|«([^»]*)»")
_PAIRS = (("“", "”"), ("«", "»"))
_QUOTED_WORDS = 3
"""So short a quotation is a name, or a title."""
_ABOUT_A_TEXT = re.compile(
    r"^\W*(?:(?:please|can you|could you|pouvez-vous|peux-tu|s'il te plait|svp)\W+)?"
    r"(?:translate|rewrite|rephrase|proofread|paraphrase|correct|summari[sz]e|write|draft|compose|repeat|complete|"
    r"tradui\w+|reecri\w+|reformul\w+|corrige\w*|resume\w*|ecri\w+|redige\w*|repete\w*|complete\w*)\b"
)
"""An order to do something with a text: what follows is the text."""
_NOT_STATED = re.compile(
    # hypotheses
    r"\b(?:if|unless|would|wouldn't|could|might|maybe|perhaps|probably|possibly|wish|suppos\w+|imagin\w+|pretend\w*|"
    r"hypothetical\w*|in case|as though|should i|whether|what about|let's say|considering|thinking (?:of|about))\b"
    r"|\b(?:i|we|he|she)'d\b|\bi may\b"
    r"|(?:^|[\s,])(?:si|s'il|s'ils|s'elle|au cas ou|comme si|peut-etre|sans doute|probablement|eventuellement)\b"
    r"|\b(?:imagin\w+|suppos\w+|admettons|hypothe\w+|envisage\w*|j'hesite|je me demande)\b"
    r"|\b(?:serai|aurai|voudrai|aimerai|pourrai|devrai|irai|vivrai|habiterai|travaillerai|ferai|prendrai|mangerai|"
    r"acheterai|prefererai|adorerai|demenagerai)(?:s|t|ent|ons|ez)\b|\b(?:serions|aurions|voudrions|aimerions)\b"
    # what others say
    r"|\b(?:says?|said|saying|claims?|claimed|told|tells|heard(?! it\b)|according to|apparently|allegedly|reads|"
    r"wrote|asked|"
    r"thinks?|believes?|supposedly)\b"
    r"|\b(?:dit|disait|disent|raconte\w*|pretend\w*|affirme\w*|selon|d'apres|parait|ecrit|entendu|demande\w*|"
    r"soi-disant|croit|croient)\b"
    # stories, jokes, dreams, and what is no more than a manner of speaking
    r"|\b(?:in|for) (?:the|my|a|this|our) (?:story|novel|game|dream|book|film|movie|play|script|scene|song|lyrics)\b"
    r"|\b(?:dans|pour) (?:le|la|mon|ma|un|une|ce|cette) (?:histoire|roman|jeu|reve|livre|film|piece|scene|chanson)\b"
    r"|\b(?:my character|mon personnage|dreamed|dreamt|j'ai reve|just kidding|joking|pour rire|je plaisante|lyrics|"
    r"for example|par exemple|role-?play)\b"
)
_AS_GOOD_AS_STATED = re.compile(
    r"\b(?:(?:i|as i) (?:already |just )?(?:said|told you|mentioned)|je (?:t'|vous )?ai (?:deja )?dit)\b"
    r"|\b(?:would|could) eat (?=[^,;.]+ (?:every|all)\b)|\bmangerai[st] (?=(?:tous les|chaque) jours?\b)"
)
"""Said before by the speaker, or a manner of saying how much something is liked."""
_SPLIT = re.compile(
    r"\s*(?:;|\s[–—-]\s|,?\s+(?:and|but|so|plus|et|mais|puis|donc|or|car|because|parce que|puisque)\s+(?=(?:then |now |"
    r"maintenant |aussi |also )?(?:I|I'm|I've|my|we|we're|our|je|j'|mon|ma|mes|nous|on|notre)\b)"
    r"|,\s+(?=(?:I|I'm|I've|my|we|je|j'|mon|ma|mes|nous)\b))\s*",
    re.I,
)


def stated(text: str) -> Iterator[str]:
    """The clauses that state something, in order, with plain apostrophes."""
    plain = _CODE.sub("\n", text[:LONGEST_TEXT].translate(_PLAIN))
    plain = _QUOTED_LINE.sub("", plain)
    if _ABOUT_A_TEXT.match(texts.fold(plain)):
        return
    for told in texts.sentences(_QUOTED.sub(_unquoted, _closed(plain))):
        sentence = " ".join(told.split())  # in a long run of spaces the patterns would search for ages
        if states(sentence):
            for clause in _SPLIT.split(sentence):
                if 0 < len(clause.strip()) <= LONGEST_CLAUSE:
                    yield clause.strip()


def states(sentence: str) -> bool:
    """Whether a sentence says how things are, in its speaker's own name."""
    if sentence.rstrip(" \"'»”)").endswith("?"):
        return False
    return _NOT_STATED.search(_AS_GOOD_AS_STATED.sub("", texts.fold(sentence))) is None


def _closed(text: str) -> str:
    """Without the marks that open a quotation and that nothing closes: each would be searched to the text's end."""
    for opening, closing in _PAIRS:
        end = text.rfind(closing) + 1
        text = text[:end] + text[end:].replace(opening, " ")
    return text


def _unquoted(match: re.Match[str]) -> str:
    quoted = next((group for group in match.groups() if group), "").strip()
    return f" {quoted} " if len(quoted.split()) <= _QUOTED_WORDS else " … "
