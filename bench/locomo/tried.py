"""What was tried for single parts of recall, each alone: ways to embed, ways to count terms, ways to spread results."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from bench.locomo.data import Conversation, Turn
from bench.locomo.memory import PRODUCT, OfflineMemory
from bench.locomo.plain import Lexical, Meanings, Values, bags, blended, order, terms_of, unit
from bench.locomo.runs import LIMIT, Case, Runs
from bench.locomo.scores import Scores, by_kind, judge
from libs.shared.text import fold, sentences, terms, words

POOL = 24
"""Of so many of the best a varied ten is chosen."""
Scorer = Callable[[Case], Values]
Shown = Callable[[Sequence[Turn], int], Sequence[str]]
"""The texts that stand for a turn, given its place."""
Alike = Callable[[Turn, Turn], float]


def tried(runs: Runs, draws: int) -> Iterator[tuple[str, Scores]]:
    """Cosines alone, terms alone, then the product with other vectors, and its best spread out."""
    for name, score in (*_embedded(runs), *_counted(runs)):
        yield name, by_kind([(case.asked.kind, judge(_ids(runs, case, score), case.asked.gold)) for case in runs.cases])
    yield from _in_the_vectors(runs)
    yield from _spread(runs)


def _ids(runs: Runs, case: Case, score: Scorer) -> list[str]:
    turns = runs.memory(case).turns
    return [turns[place].id for place in order(score(case))]


def _alone(turns: Sequence[Turn], place: int) -> Sequence[str]:
    return [turns[place].text]


def _with_speaker(turns: Sequence[Turn], place: int) -> Sequence[str]:
    return [f"{turns[place].speaker}: {turns[place].text}"]


def _dated(turns: Sequence[Turn], place: int) -> Sequence[str]:
    turn = turns[place]
    return [f"[{turn.speaker} on {turn.at.day} {turn.at:%B %Y}] {turn.text}"]


def _with_the_one_before(turns: Sequence[Turn], place: int) -> Sequence[str]:
    begins = place == 0 or turns[place - 1].session != turns[place].session
    return [turns[place].text if begins else f"{turns[place - 1].text} {turns[place].text}"]


def _by_sentence(turns: Sequence[Turn], place: int) -> Sequence[str]:
    return sentences(turns[place].text) or _alone(turns, place)


def _embedded(runs: Runs) -> Iterator[tuple[str, Scorer]]:
    def read(case: Case) -> str:
        return runs.evidence(case, LIMIT).question.text

    def nameless(case: Case) -> str:
        return without_names(case.asked.text, runs.conversations[case.conversation])

    yield "cosine: turn / question as asked", _meant(runs, _alone, lambda case: case.asked.text)
    yield "cosine: turn / names removed", _meant(runs, _alone, nameless)
    yield "cosine: turn / in the first person (kept)", _meant(runs, _alone, read)
    yield "cosine: speaker, turn / first person", _meant(runs, _with_speaker, read)
    yield "cosine: speaker, date, turn / first person", _meant(runs, _dated, read)
    yield "cosine: turn before, turn / first person", _meant(runs, _with_the_one_before, read)
    yield "cosine: best sentence / first person", _meant(runs, _by_sentence, read)


def without_names(question: str, conversation: Conversation) -> str:
    """The question, its speakers' names taken out."""
    return re.sub(r"\b(?:" + "|".join(map(re.escape, conversation.speakers)) + r")\b(?:'s)?", " ", question)


def _meant(runs: Runs, shown: Shown, asked: Callable[[Case], str]) -> Scorer:
    meanings = [
        Meanings([shown(c.turns, place) for place in range(len(c.turns))], runs.vectors) for c in runs.conversations
    ]
    return lambda case: meanings[case.conversation].cosines(asked(case))


def _in_the_vectors(runs: Runs) -> Iterator[tuple[str, Scores]]:
    """The whole product, more than the turn in its vectors."""
    for name, shown in (("speaker", _with_speaker), ("turn before", _with_the_one_before)):
        memories = [
            OfflineMemory(c.turns, runs.vectors, [shown(c.turns, place)[0] for place in range(len(c.turns))])
            for c in runs.conversations
        ]
        judged = []
        for case in runs.cases:
            memory = memories[case.conversation]
            best = memory.best(memory.evidence(case.asked.text, LIMIT), PRODUCT)
            judged.append((case.asked.kind, judge(best, case.asked.gold)))
        yield f"the product, {name} in the vectors", by_kind(judged)


def _counted(runs: Runs) -> Iterator[tuple[str, Scorer]]:
    def read(case: Case) -> Sequence[str]:
        return runs.evidence(case, LIMIT).question.terms

    def asked(case: Case) -> Sequence[str]:
        return terms_of(case.asked.text)

    def nameless(case: Case) -> str:
        return without_names(case.asked.text, runs.conversations[case.conversation])

    yield "BM25: turn, k1 1.2", _lexical(runs, read)
    yield "BM25: turn, k1 0.8 (kept)", _lexical(runs, read, k1=0.8)
    yield "BM25: turn, k1 2", _lexical(runs, read, k1=2.0)
    yield "BM25: speaker, turn / question as asked", _lexical(runs, asked, shown=_with_speaker)
    yield "BM25: words unstemmed, stop words too", _lexical(runs, lambda case: words(nameless(case)), split=words)
    yield "BM25: character 4-grams", _lexical(runs, lambda case: grams(nameless(case)), split=grams)
    one = {-1: 0.5, 1: 0.3}
    yield "BM25: turns around, 0.5 before, 0.3 after", _lexical(runs, read, k1=0.8, around=one)
    yield "BM25: and 0.3 second before (kept)", _lexical(runs, read, k1=0.8, around=one | {-2: 0.3})


def grams(text: str) -> list[str]:
    """Every four characters within a word; shorter words whole."""
    return [word[at : at + 4] for word in words(fold(text)) for at in range(max(1, len(word) - 3))]


def _lexical(
    runs: Runs,
    asked: Callable[[Case], Sequence[str]],
    *,
    shown: Shown = _alone,
    split: Callable[[str], Sequence[str]] = terms,
    k1: float = 1.2,
    around: dict[int, float] | None = None,
) -> Scorer:
    made = []
    for conversation in runs.conversations:
        turns = conversation.turns
        alone = bags((shown(turns, place)[0] for place in range(len(turns))), split)
        together = blended(alone, [turn.session for turn in turns], around) if around else alone
        made.append(Lexical(alone, together, k1=k1))
    return lambda case: made[case.conversation].scores(dict.fromkeys(asked(case)))


def _spread(runs: Runs) -> Iterator[tuple[str, Scores]]:
    made = runs.vectors.of(turn.text for conversation in runs.conversations for turn in conversation.turns)
    units = {text: unit(vector) for text, vector in made.items()}
    said = {text: frozenset(terms(text)) for text in made}

    def terms_alike(one: Turn, other: Turn) -> float:
        return len(said[one.text] & said[other.text]) / max(1, len(said[one.text] | said[other.text]))

    def meant_alike(one: Turn, other: Turn) -> float:
        return max(0.0, float(np.dot(units[one.text], units[other.text])))

    for name, alike in (("terms", terms_alike), ("cosines", meant_alike)):
        for share in (0.1, 0.3):
            judged = [
                (case.asked.kind, judge(_varied(runs, case, alike, share), case.asked.gold)) for case in runs.cases
            ]
            yield f"the product, MMR over {name}, {share}", by_kind(judged)


def _varied(runs: Runs, case: Case, alike: Alike, share: float) -> list[str]:
    ranked = runs.evidence(case, LIMIT).ranked(PRODUCT)[:POOL]
    turns = runs.memory(case).turns
    return [turn.id for turn in varied([(turns[one.found.ordinal], one.score) for one in ranked], alike, share)]


def varied(ranked: Sequence[tuple[Turn, float]], alike: Alike, share: float) -> list[Turn]:
    """Maximal marginal relevance: each next loses ``share`` of its score by how much it is like one before it."""
    left = list(ranked)
    chosen: list[Turn] = []
    most = dict.fromkeys((turn.id for turn, _ in ranked), 0.0)
    while left:
        best = max(left, key=lambda one: one[1] * (1 - share * most[one[0].id]))
        left.remove(best)
        chosen.append(best[0])
        for turn, _ in left:
            most[turn.id] = max(most[turn.id], alike(turn, best[0]))
    return chosen
