"""Answers that were drafted: each is given once, to whoever asks the very same of the very same model.

A draft is found by the whole prompt that its model was given, memories and day included: where anything of it has
changed by then, it is not found, and the model answers. It lies in memory alone, and goes with what is forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from time import monotonic

from libs.shared.cache import TtlCache
from libs.shared.contracts.chat import ChatRequest
from libs.shared.contracts.inference import GenerateChunk
from libs.shared.contracts.memory import MemoryChanged
from libs.shared.contracts.scheduling import Placement
from services.cognition.prompt import Prompt

MOST_DRAFTS = 64
MOST_BYTES = 4 * 2**20
LONGEST_S = 48 * 3600.0


@dataclass(frozen=True)
class Draft:
    """A model's whole answer, as it came."""

    user_id: str
    chunks: tuple[GenerateChunk, ...]


class Drafts:
    """Bounded."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._kept: TtlCache[bytes, Draft] = TtlCache(
            "drafts", max_entries=MOST_DRAFTS, ttl_s=LONGEST_S, max_bytes=MOST_BYTES, size_of=_size, clock=clock
        )
        self.given = 0
        """Since this process began."""

    def keep(
        self, asked: ChatRequest, placement: Placement, prompt: Prompt, chunks: Sequence[GenerateChunk], seconds: float
    ) -> None:
        """For so long."""
        draft = Draft(asked.user_id, tuple(chunks))
        self._kept.put(_key(asked, placement, prompt), draft, ttl_s=min(seconds, LONGEST_S))

    def take(self, asked: ChatRequest, placement: Placement, prompt: Prompt) -> tuple[GenerateChunk, ...]:
        """The answer to just that; nothing where none was drafted, or it was given already."""
        if not len(self._kept):
            return ()
        draft = self._kept.take(_key(asked, placement, prompt))
        if draft is None:
            return ()
        self.given += 1
        return draft.chunks

    async def changed(self, event: MemoryChanged) -> None:
        """MEMORY_CHANGED: nothing that was derived of what that user's memory was stays."""
        self._kept.discard_where(lambda draft: draft.user_id == event.user_id)


def _size(draft: Draft) -> int:
    return sum(len(chunk.text) + len(chunk.reasoning) for chunk in draft.chunks) * 4


def _key(asked: ChatRequest, placement: Placement, prompt: Prompt) -> bytes:
    """By all that the answer follows from."""
    model = f"{placement.model.name}:{placement.adapter or ''}"
    parts = (asked.user_id, model, asked.sampling.model_dump_json(), asked.tools.model_dump_json())
    digest = blake2b("\0".join(parts).encode(errors="replace"), digest_size=16)
    for message in prompt.messages:
        digest.update(b"\0" + message.model_dump_json().encode(errors="replace"))
    return digest.digest()
