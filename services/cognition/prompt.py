"""Putting a prompt together within the model's context: newest turns kept, memories bounded, data fenced off. Pure.

What changes with each turn stands last, with what the user asks now; the oldest turns go many at a time, and by the
room that memories may take, not by what they took: so a prompt begins as the one before it, and a replica that still
has that one reads only the rest.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from libs.shared.contracts.chat import ChatMessage, ImagePart
from libs.shared.contracts.telemetry import ServedModel
from services.cognition.fence import fence, with_fence
from services.cognition.selection import Hit

MESSAGE_TOKENS = 6
"""Role and separators that a chat template puts around each message."""
IMAGE_TOKENS = 768
ANSWER_TOKENS = 512
"""Left free for the answer when the client does not say how long it may be."""
LANDMARK_SHARE = 3
"""Of a conversation that no longer fits at most one part in so many is left out beyond what must be."""


@dataclass(frozen=True)
class Prompt:
    """What the model is given, and which memories stand in it."""

    messages: tuple[ChatMessage, ...]
    memories: tuple[Hit, ...]
    tokens: int
    """Estimated."""
    minimal: bool
    """Nothing more could be left out."""


@dataclass(frozen=True)
class Material:
    """What a prompt may be made of, oldest first."""

    history: tuple[ChatMessage, ...]
    """Earlier turns: the oldest are left out first."""
    new: tuple[ChatMessage, ...]
    """What the user asks now: never left out."""
    hits: tuple[Hit, ...] = ()
    """Best first: the worst are left out first."""
    today: date | None = None
    question: str = ""
    """Of a memory too long to stand whole, what is nearest to it is told."""
    shortened: bool = False
    """Whether turns older than those of ``history`` were left out before."""


def estimate(messages: Sequence[ChatMessage], bytes_per_token: float) -> int:
    """Tokens of a prompt before the model has counted them."""
    return sum(_estimate_one(message, bytes_per_token) for message in messages)


def _estimate_one(message: ChatMessage, bytes_per_token: float) -> int:
    size = len(message.text.encode())
    if message.tool_calls:
        size += sum(len(str(call)) for call in message.tool_calls)
    images = 0
    if not isinstance(message.content, str):
        images = sum(isinstance(part, ImagePart) for part in message.content or ())
    return math.ceil(size / bytes_per_token) + MESSAGE_TOKENS + images * IMAGE_TOKENS


def budget(model: ServedModel, max_tokens: int | None) -> int:
    """Tokens that a prompt may take: the context less room for the answer, which is at most half of it."""
    wanted = max_tokens if max_tokens is not None else min(ANSWER_TOKENS, model.context_tokens // 4)
    return model.context_tokens - min(wanted, model.context_tokens // 2)


def assemble(material: Material, *, tokens: int, bytes_per_token: float, memory_share: float, most: int) -> Prompt:
    """A prompt of at most ``tokens`` estimated tokens, with at most ``most`` memories in ``memory_share`` of them.

    Only system messages and the new messages may exceed ``tokens``: then nothing else is in it, and the model's own
    count decides.
    """
    system = [m for m in material.history if _is_system(m)]
    turns = [m for m in material.history if not _is_system(m)]
    free = tokens - estimate([*system, *material.new], bytes_per_token)
    memory_tokens = max(0, min(int(tokens * memory_share), free)) if material.hits else 0
    kept = _newest(turns, free - memory_tokens, bytes_per_token, shortened=material.shortened)
    present = {m.text for m in (*system, *kept, *material.new)}
    memories, fenced = fence(
        [hit for hit in material.hits if hit.item.text not in present][:most],
        today=material.today,
        question=material.question,
        free_bytes=math.floor((memory_tokens - MESSAGE_TOKENS) * bytes_per_token),
    )
    leading, new = with_fence(system, material.new, fenced)
    messages = (*leading, *kept, *new)
    return Prompt(messages, memories, estimate(messages, bytes_per_token), minimal=not memories and not kept)


def lasting(material: Material, bytes_per_token: float) -> int:
    """Estimated tokens at the prompt's beginning that the conversation's next prompt begins with, too."""
    return estimate(material.history, bytes_per_token)


def _is_system(message: ChatMessage) -> bool:
    return message.role in ("system", "developer")


def _newest(turns: list[ChatMessage], free: int, bytes_per_token: float, *, shortened: bool) -> list[ChatMessage]:
    """A run of newest turns that fits, begun where a user speaks, so that no answer lacks its question: the longest,
    unless older ones are left out anyway (``shortened``: they were already)."""
    start = len(turns)
    while start and (cost := _estimate_one(turns[start - 1], bytes_per_token)) <= free:
        free -= cost
        start -= 1
    if start == 0 and not shortened:
        return turns
    while start < len(turns) and turns[start].role != "user":
        start += 1
    return turns[_landmark(turns, start) :]


def _landmark(turns: list[ChatMessage], first: int) -> int:
    """Where a conversation begins that no longer fits: among the questions at the beginning of what fits
    (from ``first`` on), the one whose text has the least checksum.

    The next turn's run starts a little later and finds the same one, until that has slid out of the run: then many
    turns go at once (the minimum in a window, as in Schleimer, Wilkerson and Aiken, *Winnowing*, SIGMOD 2003).
    """
    last = first + (len(turns) - first) // LANDMARK_SHARE
    questions = [place for place in range(first, last + 1) if place < len(turns) and turns[place].role == "user"]
    return min(questions, key=lambda place: zlib.crc32(turns[place].text.encode(errors="replace")), default=first)
