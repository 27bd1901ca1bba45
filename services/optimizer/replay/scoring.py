"""Each question ranked anew, as cognition would rank it with other settings. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from libs.shared.contracts.replay import Evidence
from libs.shared.contracts.runtime_settings import RuntimeSettings
from libs.shared.recall_sums import NO_PLACE, lifted
from services.optimizer.replay.held import PARTS, Floats, Held

K = 10
"""Places that evidence is counted in."""
FENCE_TOKENS = 75
"""What the words around memories take of their room (``services/cognition/fence.py``; a test holds it to that)."""
LINE_TOKENS = 8
"""And what stands before each: its day, and who said it."""
LEAST_TOKENS = 8
"""One that would be cut shorter stands in no prompt."""


@dataclass(frozen=True)
class Scores:
    """By question, each 0..1 but the tokens."""

    evidence: Floats
    """Of what the answer rested on, the share among the first K."""
    reciprocal: Floats
    """One by the place of the first of it; 0.0 beyond K."""
    in_prompt: Floats
    """Of what the answer rested on, the share that would stand in the prompt."""
    prompt_tokens: Floats
    """What the memories would take of the prompt."""

    @property
    def recall(self) -> Floats:
        """What a search aims at: how much is found, and how early."""
        return np.asarray((self.evidence + self.reciprocal) / 2, dtype=np.float64)


def replay(held: Held, settings: RuntimeSettings) -> Scores:
    """Every question with these settings; nothing but numbers goes in."""
    scores = _sums(held, settings.recall_weights.model_dump())
    most = max(K, settings.recall_k)
    evidence, reciprocal, in_prompt, tokens = (np.zeros(len(held)) for _ in range(4))
    firsts = np.argsort(-scores, axis=1, kind="stable")[:, : most + most // 2 + 4]
    for place, one in enumerate(held.evidence):
        ranked = shown(one, scores[place], firsts[place].tolist(), settings.recall_weights.repetition)
        hits = [at for at, number in enumerate(ranked[:K], 1) if held.relevant[place, number]]
        rests = max(1, len(one.relevant))
        evidence[place] = len(hits) / rests
        reciprocal[place] = 1 / hits[0] if hits else 0.0
        told = [n for n in ranked if held.speaks[place, n] >= settings.recall_min_score][: settings.recall_k]
        taken = fitting(one, told, settings.prompt_memory_share)
        in_prompt[place] = sum(held.relevant[place, list(taken)]) / rests
        tokens[place] = sum(taken.values())
    return Scores(evidence, reciprocal, in_prompt, tokens)


def fitting(one: Evidence, told: Sequence[int], share: float) -> dict[int, int]:
    """Of candidates, best first, those that fit into ``share`` of the room, with the tokens that each takes there.

    As cognition does it: one that doesn't fit leaves its place to the next, and a long one is told in a half of the
    room at most. What the conversation itself takes isn't known here, and where the room isn't, all fit.
    """
    if not one.room_tokens:
        return {number: one.tokens[number] for number in told}
    free = int(one.room_tokens * share) - FENCE_TOKENS
    longest, taken = free // 2, {}
    for number in told:
        text = min(one.tokens[number], longest - LINE_TOKENS)
        if text >= min(one.tokens[number], LEAST_TOKENS) and text + LINE_TOKENS <= free:
            taken[number] = text
            free -= text + LINE_TOKENS
    return taken


def _sums(held: Held, weights: Mapping[str, float]) -> Floats:
    """Questions x candidates; below 0.0 where there is none."""
    given = held.applying * np.array([weights[name] for name in PARTS])
    most = np.where(given > 0, given, 0.0).sum(axis=1, keepdims=True)
    factors = given / np.where(most > 0, most, 1.0)
    sums = np.maximum(0.0, np.matmul(held.parts, factors[:, :, None])[:, :, 0])
    for place, one in enumerate(held.evidence):
        if not one.past and any(newer != NO_PLACE for newer in one.newer):
            count = len(one.newer)
            sums[place, :count] = lifted(sums[place, :count].tolist(), one.newer)
    return np.where(held.alive, sums, -1.0)


def shown(one: Evidence, scores: Sequence[float] | Floats, ranked: Sequence[int], repetition: float) -> list[int]:
    """Of the ranked the ones with a score, best first, where what repeats a better one has lost some of it."""
    best = [number for number in ranked if scores[number] > 0]
    places = {number: place for place, number in enumerate(best)}
    lost = _repeats(one, places)
    if not lost:
        return best
    after = [scores[number] * (1 - repetition * lost.get(number, 0.0)) for number in best]
    if not one.past:
        newer = [places.get(one.newer[number], NO_PLACE) for number in best]
        after = lifted(after, newer)
    order = sorted(range(len(best)), key=lambda place: (-after[place], place))
    return [best[place] for place in order]


def _repeats(one: Evidence, places: Mapping[int, int]) -> dict[int, float]:
    """By the candidate that repeats a better one, how much it is like it."""
    found: dict[int, float] = {}
    for pair in one.alike:
        if pair.one in places and pair.other in places:
            better, worse = sorted((pair.one, pair.other), key=lambda number: places[number])
            if one.newer[worse] != better and one.newer[better] != worse:
                found[worse] = max(found.get(worse, 0.0), pair.likeness)
    return found
