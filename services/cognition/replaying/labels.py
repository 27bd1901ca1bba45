"""Which memories an answer rested on, told without anybody having marked them. Pure.

An answer that a person was content with says what it was made of: the words that it adds to the question stand in the
memories that it came from. Words of the question itself count for nothing, since every candidate was found by them, and
a part of the score that looks for them would be praised for what it does anyway. A rare word tells more than a frequent
one (Robertson and Spärck Jones 1976). Memories are taken one by one, each for the words that those before it lack, as
long as it adds enough (greedy cover); a question whose answer rests on none tells nothing, and is passed over.

How often that is right was measured where the truth is known: ``python -m bench.tuning --table labels``.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence

from libs.shared.text import terms

LEAST_SHARE = 0.3
"""Of the answer's own words, weighed by how rare they are, the first memory holds at least so much."""
LEAST_MORE = 0.15
"""And each further one so much that no other holds."""
MOST_MEMORIES = 4


def rests_on(question: str, answer: str, memories: Sequence[str]) -> tuple[int, ...]:
    """The places of the memories that the answer rests on, the most telling first; none where it can't be told."""
    own = frozenset(terms(answer)) - frozenset(terms(question))
    held = [own.intersection(terms(text)) for text in memories]
    weights = _rarity(own, held)
    whole = math.fsum(weights.values())
    if not whole:
        return ()
    taken: list[int] = []
    covered: set[str] = set()
    while len(taken) < MOST_MEMORIES:
        place, more = _next(held, weights, covered)
        if more < whole * (LEAST_MORE if taken else LEAST_SHARE):
            break
        taken.append(place)
        covered |= held[place]
    return tuple(taken)


def _rarity(own: Collection[str], held: Sequence[Collection[str]]) -> dict[str, float]:
    counts = Counter(word for words in held for word in words)
    return {word: math.log1p((len(held) - counts[word] + 0.5) / (counts[word] + 0.5)) for word in own}


def _next(held: Sequence[frozenset[str]], weights: dict[str, float], covered: Collection[str]) -> tuple[int, float]:
    """The memory that holds most of what isn't covered yet, and how much; of equals the first. The sums don't hang on
    the order of a set, which is another in each process."""
    more = [math.fsum(weights[word] for word in words.difference(covered)) for words in held]
    best = max(range(len(more)), key=lambda place: more[place], default=-1)
    return (best, more[best]) if best >= 0 else (-1, 0.0)
