"""Whose texts are embedded next."""

from __future__ import annotations

import pytest

from libs.shared.errors import Overloaded
from services.inference import embed_queue
from services.inference.embed_queue import PORTION_TOKENS, TURNS, EmbedQueue, Portion, tokens

QUESTION = ("Where does Odile live now?",)
LONG = tuple(f"message number {n} of somebody who talks a lot about bees" for n in range(40))


def taken(queue: EmbedQueue) -> list[tuple[str, ...]]:
    return [portion.texts for portion in queue.take()]


def size(portions: list[Portion]) -> int:
    return sum(tokens(text) for portion in portions for text in portion.texts)


async def check_a_question_waits_for_one_portion_at_most() -> None:
    queue = EmbedQueue()
    queue.offer(LONG, background=True)
    under_way = queue.take()
    assert 0 < size(under_way) <= PORTION_TOKENS + tokens(LONG[0])
    queue.offer(QUESTION, background=False)
    assert taken(queue) == [QUESTION]


async def test_a_question_waits_for_one_portion_of_background_work_at_most() -> None:
    await check_a_question_waits_for_one_portion_at_most()


@pytest.mark.parametrize("mutation", ["PORTION_TOKENS", "urgency"])
async def test_a_question_that_waits_longer_would_be_noticed(monkeypatch: pytest.MonkeyPatch, mutation: str) -> None:
    if mutation == "PORTION_TOKENS":
        monkeypatch.setattr(embed_queue, mutation, 10_000)
    else:
        offer = EmbedQueue.offer
        monkeypatch.setattr(EmbedQueue, "offer", lambda self, texts, background: offer(self, texts, background=True))
    with pytest.raises(AssertionError):
        await check_a_question_waits_for_one_portion_at_most()


async def test_questions_are_embedded_together_and_before_what_is_long() -> None:
    queue = EmbedQueue()
    queue.offer(LONG, background=True)
    queue.offer(LONG, background=False)
    for _ in range(3):
        queue.offer(QUESTION, background=False)
    assert taken(queue) == [QUESTION] * 3
    urgencies = [portion.waiting.urgency for _ in range(4) for portion in queue.take()]
    assert set(urgencies) == {1}, "what somebody waits for goes before what nobody waits for"


async def check_nothing_starves() -> None:
    queue = EmbedQueue()
    background = queue.offer(LONG, background=True)
    for _ in range(TURNS * 3):
        queue.offer(QUESTION, background=False)
        queue.take()
    assert background.taken >= 3


async def test_background_work_goes_on_while_questions_never_end() -> None:
    await check_nothing_starves()


async def test_starving_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embed_queue, "TURNS", 10_000)
    with pytest.raises(AssertionError):
        await check_nothing_starves()


async def test_every_text_is_taken_once_and_in_order() -> None:
    queue = EmbedQueue()
    requests = [queue.offer(LONG, background=True), queue.offer(LONG[:5], background=True)]
    seen: dict[int, list[str]] = {id(waiting): [] for waiting in requests}
    while portions := queue.take():
        for portion in portions:
            seen[id(portion.waiting)] += portion.texts
    assert [tuple(texts) for texts in seen.values()] == [LONG, LONG[:5]]
    assert not queue


async def test_what_nobody_waits_for_any_more_is_left_out() -> None:
    queue = EmbedQueue()
    waiting = queue.offer(LONG, background=True)
    queue.take()
    queue.withdraw(waiting)
    queue.withdraw(waiting)
    assert (queue.texts, queue.take()) == (0, [])


def fill(queue: EmbedQueue, *, background: bool) -> None:
    for _ in range(1000):
        queue.offer(LONG, background=background)


async def test_background_work_leaves_room_for_questions() -> None:
    queue = EmbedQueue()
    with pytest.raises(Overloaded):
        fill(queue, background=True)
    queue.offer(QUESTION, background=False)
    with pytest.raises(Overloaded):
        fill(queue, background=False)
