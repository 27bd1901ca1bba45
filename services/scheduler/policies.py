"""Choosing one of the replicas that could take a request: pure, each policy with its source.

``expected_completion`` weighs the expected end (the work ahead, from measured rates and queued tokens, with what was
sent since, then this prompt and its answer) and how much later it makes others'. It is the product's own;
``bench/scheduling`` compares.
``least_in_flight`` takes the fewest requests a slot (join the shortest queue, Winston 1977). ``power_of_two`` takes the
less loaded of two drawn at random (Mitzenmacher 2001), which keeps schedulers with the same old telemetry from herding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from typing import NamedTuple

from services.scheduler.affinity import Warm
from services.scheduler.candidates import Candidate


class Ask(NamedTuple):
    """What a policy knows of a request; ``now`` is on the scheduler's monotonic clock."""

    now: float
    prompt_tokens: int
    max_tokens: int
    warm: Warm | None = None
    """Where the session's prompt was read last."""
    adapter: str | None = None
    others: float = 1.0
    """What a second by which it makes later requests wait weighs against one of its own."""


Policy = Callable[[Sequence[Candidate], Ask, float], Candidate]
"""Picks one of at least one candidate; the last argument is drawn uniformly from [0, 1)."""


def _least(candidates: Sequence[Candidate], keys: list[float], draw: float) -> Candidate:
    """The candidate with the least key; ``draw`` settles a tie, so that equals share the load."""
    least = min(keys)
    if keys.count(least) == 1:
        return candidates[keys.index(least)]
    tied = [c for c, key in zip(candidates, keys, strict=True) if key == least]
    return tied[int(draw * len(tied))]


def least_in_flight(candidates: Sequence[Candidate], ask: Ask, draw: float) -> Candidate:
    """The fewest requests a slot."""
    return _least(candidates, [c.load / c.slots for c in candidates], draw)


def power_of_two(candidates: Sequence[Candidate], ask: Ask, draw: float) -> Candidate:
    """The less loaded of two different ones."""
    count = len(candidates)
    if count == 1:
        return candidates[0]
    pair = int(draw * count * (count - 1))
    first, second = divmod(pair, count - 1)
    other = second + (second >= first)
    return min(candidates[first], candidates[other], key=lambda c: c.load / c.slots)


def wait_s(candidate: Candidate, ask: Ask) -> float:
    """Seconds until a slot is free there."""
    return candidate.waits * max(candidate.least, candidate.free_at - ask.now)


def _unread(candidate: Candidate, ask: Ask) -> int:
    """Tokens of the prompt that were not read there before."""
    warm = ask.warm
    if warm is not None and warm.replica == candidate.replica.replica and candidate.model.caches_prefix:
        return max(0, ask.prompt_tokens - int(warm.tokens))
    return ask.prompt_tokens


def own_s(candidate: Candidate, ask: Ask) -> float:
    """Seconds that the request itself takes there: its adapter's loading, unless it is in memory, its prompt, without
    what was read before, and its answer."""
    work_s = candidate.work_s(_unread(candidate, ask), candidate.expected_answer(ask.max_tokens))
    return work_s + candidate.loading_s(ask.adapter)


def first_token_s(candidate: Candidate, ask: Ask) -> float:
    """Seconds until the answer's first token: until a slot is free, then the adapter's loading and the prompt."""
    reading_s = _unread(candidate, ask) * candidate.s_per_prompt_token
    return wait_s(candidate, ask) + candidate.loading_s(ask.adapter) + reading_s


def completions_s(candidates: Sequence[Candidate], ask: Ask) -> list[float]:
    """Seconds until the answer's end at each: until a slot is free, then what the request itself takes."""
    return [wait_s(c, ask) + own_s(c, ask) for c in candidates]


def costs(candidates: Sequence[Candidate], ask: Ask) -> list[float]:
    """What placing the request at each costs everybody, in seconds: its own completion, and the later one of whoever
    comes after it.

    A queue with ``u`` seconds of work ahead, to which ``x`` are added, costs those who come later in proportion to
    (u + x)² − u², divided by what a usual request takes there: the relative value of an M/G/1 queue, used as in the
    first step of policy iteration (Hyytiä, Penttinen and Aalto, *Size- and state-aware dispatching problem with
    queue-specific job sizes*, EJOR 2012). Its factor, which depends on the load there, is ``ask.others``, 1 unless set:
    on idle nodes it changes nothing, and on busy ones the fast are no longer left to whoever comes first.
    """
    found = []
    for c in candidates:
        u, s = max(c.least, c.free_at - ask.now), own_s(c, ask)
        found.append((c.waits * u + s + s * (u + u + s * c.share) * c.later * ask.others) * c.price)
    return found


def expected_completion(candidates: Sequence[Candidate], ask: Ask, draw: float) -> Candidate:
    """The earliest expected end, as far as it makes others' no later than it is worth: the least of ``costs``, reckoned
    to their end only where the request's own work doesn't already cost more; written out, for a thousand nodes."""
    now, prompt, most, warm, adapter, others = ask
    if warm is not None:
        return _least(candidates, costs(candidates, ask), draw)
    least, tied = inf, [candidates[0]]
    for c in candidates:
        answer = c.answer_tokens
        s = prompt * c.s_per_prompt_token + (answer if answer < most else most) * c.s_per_answer_token
        if s > least:
            continue
        if adapter is not None:
            s += c.loading_s(adapter)
        u = c.free_at - now
        if u < c.least:
            u = c.least
        cost = (c.waits * u + s + s * (u + u + s * c.share) * c.later * others) * c.price
        if cost < least:
            least, tied = cost, [c]
        elif cost == least:
            tied.append(c)
    return tied[int(draw * len(tied))]


POLICIES: dict[str, Policy] = {
    "least_in_flight": least_in_flight,
    "power_of_two": power_of_two,
    "expected_completion": expected_completion,
}
