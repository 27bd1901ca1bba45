"""Which sentences of a memory tell something: whole, and as they were said. Pure."""

from __future__ import annotations

import re

from libs.shared.text import fold, is_stop, sentences, words

MOST_SENTENCES = 64
"""Of one memory: the first of a longer one."""
MOST_CHARACTERS = 1000
"""A longer sentence is none (a table, a listing): it stands in its memory alone."""
LEAST_WORDS = 2
"""Fewer words of its own, beside small ones and courtesies, tell nothing."""
_COURTESY = (
    "hey hi hello thanks thank wow awesome cool great nice amazing wonderful fantastic incredible good congrats bye "
    "see care luck yeah yep yes sure problem definitely absolutely totally exactly glad happy hear lot much ok okay "
    "well oh let know soon talk later chat catch proud welcome please sorry haha lol sounds looks thats "
    "bonjour bonsoir salut coucou merci super genial bravo oui voila bientot plait bonne chance courage felicitations "
    "content contente entendre parle"
)
_COURTESIES = frozenset(_COURTESY.split())
_QUESTION = re.compile(r"\?[\s\"'»”)!]*$")


def telling(text: str) -> tuple[str, ...]:
    """In order; none where the text only greets, thanks, praises or asks."""
    said = sentences(text)[:MOST_SENTENCES]
    return tuple(dict.fromkeys(one for one in said if len(one) <= MOST_CHARACTERS and tells(one)))


def tells(sentence: str) -> bool:
    """A question tells nothing; nor does what has hardly a word of its own, but for a number."""
    own = own_words(sentence)
    return len(own) >= LEAST_WORDS or any(character.isdigit() for word in own for character in word)


def own_words(sentence: str) -> frozenset[str]:
    """Its different words but small ones and courtesies; none of a question."""
    if _QUESTION.search(sentence):
        return frozenset()
    return frozenset(word for word in words(fold(sentence)) if not is_stop(word) and word not in _COURTESIES)
