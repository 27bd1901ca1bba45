"""How much a replica has still to read and to write: each request's progress, and how long answers usually are."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from libs.shared.contracts.scheduling import Ticket
from libs.shared.contracts.telemetry import USUAL_ANSWER_TOKENS

LENGTHS = 256
"""Answers whose lengths are remembered, a model."""
USUAL_WEIGHT = 10
"""Answers for which the usual length counts beside those that were seen."""
STOPPED_AFTER = 128
"""Tokens of a prompt that are read to their end, at most, when what gives way is to stop."""
SCHEDULERS = 8
"""Of so many schedulers the tickets are remembered; those of one that is no more are told for a while yet."""


class Lengths:
    """The lengths of a model's latest answers, in tokens."""

    def __init__(self) -> None:
        self._newest: deque[int] = deque()
        self._sorted: list[int] = []

    def note(self, tokens: int) -> None:
        """One more answer came to its end."""
        if len(self._newest) == LENGTHS:
            del self._sorted[bisect_right(self._sorted, self._newest.popleft()) - 1]
        self._newest.append(tokens)
        insort(self._sorted, tokens)

    @property
    def mean(self) -> float | None:
        """None before the first. A few say little: what is usual elsewhere counts as ten more."""
        if not self._sorted:
            return None
        return (sum(self._sorted) + USUAL_ANSWER_TOKENS * USUAL_WEIGHT) / (len(self._sorted) + USUAL_WEIGHT)

    def left(self, written: float, most: int | None) -> float:
        """Tokens that an answer which has ``written`` of at most ``most`` will still get: the mean of what the longer
        ones had left, as in the mean residual life of reliability theory, with what is usual as ten more."""
        longer = self._sorted[bisect_right(self._sorted, written) :]
        usual = max(USUAL_ANSWER_TOKENS - written, written / 2)
        expected = (sum(longer) - written * len(longer) + usual * USUAL_WEIGHT) / (len(longer) + USUAL_WEIGHT)
        return expected if most is None else max(0.0, min(expected, most - written))


@dataclass
class Work:
    """One request at a replica. ``begun`` is on a monotonic clock, None while it waits; tokens as estimated."""

    model: str
    prompt_tokens: int
    most: int | None = None
    begun: float | None = None
    chunk_tokens: float = 1.0
    """How many tokens a piece of an answer has, as measured."""
    gives_way: bool = False
    """Whether it stops as soon as another request comes."""
    paced: bool = True
    """Whether its pieces tell how fast it is written: those of tool calls come all at once."""
    written: float = 0.0
    writing_s: float = 0.0
    """Waited for the tokens after the first: a reader that takes its time makes no replica slow."""
    waiting_since: float | None = None

    def waits(self, now: float) -> None:
        """From now on the next piece is waited for."""
        self.waiting_since = now

    def chunk(self, now: float) -> None:
        """A piece of its answer came."""
        if self.written and self.waiting_since is not None:
            self.writing_s += now - self.waiting_since
        self.written += self.chunk_tokens
        self.waiting_since = None

    def unread(self, now: float, tokens_per_s: float | None) -> float:
        """Tokens of its prompt that are still to be read, at a rate of so many a second."""
        if self.written:
            return 0.0
        if self.begun is None or tokens_per_s is None:
            return float(self.prompt_tokens)
        return max(0.0, self.prompt_tokens - (now - self.begun) * tokens_per_s)

    def holds_up(self, now: float, tokens_per_s: float | None) -> float:
        """Likewise those that are read before another request may begin."""
        if not self.gives_way:
            return self.unread(now, tokens_per_s)
        return 0.0 if self.begun is None else min(STOPPED_AFTER, self.unread(now, tokens_per_s))

    def pace(self, now: float, least_s: float) -> float | None:
        """Tokens a second that it has been written at, when that was long enough to tell; None before."""
        if not self.written or not self.paced:
            return None
        spent_s = self.writing_s + (now - self.waiting_since if self.waiting_since is not None else 0.0)
        return self.written / spent_s if spent_s >= least_s else None


def slowest_pace(works: Iterable[Work], now: float, least_s: float = 2.0) -> float | None:
    """Of those that are being written: a node that has become slow shows it before its answers end."""
    return min((pace for work in works if (pace := work.pace(now, least_s)) is not None), default=None)


class Ahead:
    """Everything that one replica has before it, and the highest ticket that it has seen of each scheduler."""

    def __init__(self) -> None:
        self.seen: dict[str, int] = {}
        self._works: dict[int, Work] = {}

    def add(self, work: Work) -> None:
        """Counts ``work`` until it is dropped."""
        self._works[id(work)] = work

    def drop(self, work: Work) -> None:
        del self._works[id(work)]

    def see(self, ticket: Ticket | None) -> None:
        """A request came in, whatever becomes of it."""
        if ticket is not None:
            self.seen[ticket.scheduler] = max(ticket.number, self.seen.pop(ticket.scheduler, 0))
            while len(self.seen) > SCHEDULERS:
                del self.seen[next(iter(self.seen))]

    def to_read(self, now: float, rates: Mapping[str, float | None]) -> int:
        """Tokens of prompts; ``rates``: model → tokens read a second, as measured."""
        return round(sum(work.holds_up(now, rates.get(work.model)) for work in self._works.values()))

    def to_write(self, lengths: Mapping[str, Lengths]) -> int:
        """Tokens of answers, by the lengths of each model's earlier ones."""
        works = (work for work in self._works.values() if work.model in lengths and not work.gives_way)
        return round(sum(lengths[work.model].left(work.written, work.most) for work in works))

    def pace(self, model: str, now: float) -> float | None:
        """How fast the slowest of a model's answers is being written; None while none is long enough under way."""
        return slowest_pace((work for work in self._works.values() if work.model == model), now)
