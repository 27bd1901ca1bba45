"""Whose texts are embedded next: a question before anything long, and of what is long a little at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field

from libs.shared.errors import Overloaded

QUEUE_TEXTS = 4096
"""Most texts that wait; what nobody waits for may take half of that."""
QUESTION_TOKENS = 256
"""A request of so many is embedded whole, with others like it."""
BATCH_TOKENS = 128
"""Of several such requests that are embedded together: more at once is no faster, and all would wait for it."""
PORTION_TOKENS = 80
"""Of longer requests, so much at a time: about 30 ms on a slow processor, for which a question may have to wait."""
TURNS = 8
"""Every so many batches the least urgent has its turn, so that it does not starve."""
BACKGROUND = 2
MAX_TOKENS = 256
CHARACTERS_PER_TOKEN = 4
Embedded = tuple[bytes, int]
"""A text's vector, and the tokens that it took."""


@dataclass(eq=False)
class Waiting:
    """One request; ``taken`` counts its texts that are embedded, or about to be."""

    texts: tuple[str, ...]
    urgency: int
    """0 is the most urgent, ``BACKGROUND`` the least."""
    done: asyncio.Future[list[Embedded]]
    taken: int = 0
    results: list[Embedded] = field(default_factory=list)

    @property
    def left(self) -> int:
        return len(self.texts) - self.taken


@dataclass(frozen=True)
class Portion:
    """Texts of one request that are embedded with the next batch."""

    waiting: Waiting
    texts: tuple[str, ...]


class EmbedQueue:
    """Requests by urgency, each in the order of its coming."""

    def __init__(self) -> None:
        self._lanes: tuple[deque[Waiting], ...] = (deque(), deque(), deque())
        self._taken = 0
        self.texts = 0
        """How many wait."""

    def __bool__(self) -> bool:
        return self.texts > 0

    def offer(self, texts: tuple[str, ...], *, background: bool) -> Waiting:
        """Raises Overloaded."""
        if self.texts + len(texts) > (QUEUE_TEXTS // 2 if background else QUEUE_TEXTS):
            raise Overloaded("too many texts wait to be embedded", retry_after_s=1.0)
        urgency = BACKGROUND if background else int(_tokens_of(texts) > QUESTION_TOKENS)
        waiting = Waiting(texts, urgency, asyncio.get_running_loop().create_future())
        self._lanes[urgency].append(waiting)
        self.texts += len(texts)
        return waiting

    def withdraw(self, waiting: Waiting) -> None:
        """Nobody waits for what is left of it."""
        if waiting in self._lanes[waiting.urgency]:
            self._lanes[waiting.urgency].remove(waiting)
            self.texts -= waiting.left

    def drop_background(self) -> list[Waiting]:
        """Withdraws, and gives, all for which nobody waits."""
        lane = self._lanes[BACKGROUND]
        dropped = list(lane)
        lane.clear()
        self.texts -= sum(waiting.left for waiting in dropped)
        return dropped

    def take(self) -> list[Portion]:
        """The next batch; nothing when nothing waits."""
        self._taken += 1
        lanes = [lane for lane in self._lanes if lane]
        if not lanes:
            return []
        lane = lanes[-1] if self._taken % TURNS == 0 else lanes[0]
        return self._whole(lane) if lane is self._lanes[0] else self._a_little(lane)

    def every(self) -> list[Waiting]:
        """All that wait, the most urgent first."""
        return [waiting for lane in self._lanes for waiting in lane]

    def _whole(self, lane: deque[Waiting]) -> list[Portion]:
        batch: list[Portion] = []
        free = BATCH_TOKENS
        while lane and ((size := _tokens_of(lane[0].texts)) <= free or not batch):
            free -= size
            batch.append(self._portion(lane, len(lane[0].texts)))
        return batch

    def _a_little(self, lane: deque[Waiting]) -> list[Portion]:
        batch: list[Portion] = []
        free = PORTION_TOKENS
        while lane and free > 0:
            first = lane[0]
            count = 0
            while count < first.left and free > 0:
                free -= tokens(first.texts[first.taken + count])
                count += 1
            batch.append(self._portion(lane, count))
        return batch

    def _portion(self, lane: deque[Waiting], count: int) -> Portion:
        waiting = lane[0]
        texts = waiting.texts[waiting.taken : waiting.taken + count]
        waiting.taken += count
        self.texts -= count
        if not waiting.left:
            lane.popleft()
        return Portion(waiting, texts)


def tokens(text: str) -> int:
    """A rough count, before the tokenizer has seen the text."""
    return min(MAX_TOKENS, len(text) // CHARACTERS_PER_TOKEN + 2)


def _tokens_of(texts: tuple[str, ...]) -> int:
    return sum(map(tokens, texts))
