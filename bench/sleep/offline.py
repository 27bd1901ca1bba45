"""One night and its mornings without services: the product's own ranking, digesting and composing, in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from time import process_time

from bench.locomo.data import Conversation, Turn
from bench.locomo.memory import PRODUCT, Evidence, OfflineMemory
from bench.locomo.vectors import Vectors
from libs.shared.contracts.digests import Digest
from libs.shared.contracts.memory import MemoryItem
from services.cognition.composing import composed
from services.cognition.selection import Hit, within
from services.optimizer.digesting.making import Said, digests, in_bytes
from services.persistence.digest_content import packed

K = 100
"""As many memories as a search may give: the budget alone bounds the context."""
SEAL_BYTES = 40
"""Nonce and tag."""


@dataclass(frozen=True)
class Night:
    """What one made of a conversation."""

    digests: Mapping[str, Digest]
    sentences: int
    sealed_bytes: int
    cpu_s: float
    """Of digesting and of embedding."""


def said(turn: Turn) -> Said:
    """As the light phase is given it."""
    return Said(message_id=turn.id, version=0, text=turn.text, speaker=turn.speaker, at=turn.at)


def night(turns: Sequence[Turn], vectors: Vectors) -> Night:
    """Makes every turn's digest, as the light phase does; the questions are not known to it."""
    began = process_time()
    made = digests(
        [Said(message_id=turn.id, version=0, text=turn.text, speaker=turn.speaker, at=turn.at) for turn in turns]
    )
    embedded = vectors.of([sentence for one in made for sentence in one.said])
    found = {
        one.message_id: Digest(
            message_id=one.message_id,
            sentences=one.read,
            vectors=in_bytes([embedded[sentence] for sentence in one.said]),
            keys=one.keys,
        )
        for one in made
    }
    sealed = sum(len(packed(digest)) + SEAL_BYTES for digest in found.values())
    return Night(found, sum(len(one.read) for one in made), sealed, process_time() - began)


class Mornings:
    """Contexts for questions to one conversation."""

    def __init__(self, conversation: Conversation, vectors: Vectors) -> None:
        self.conversation = conversation
        self.memory = OfflineMemory(conversation.turns, vectors)
        self.night = night(conversation.turns, vectors)
        self._vectors = vectors
        self._found: dict[str, tuple[Evidence, tuple[Hit, ...]]] = {}

    def found(self, question: str) -> tuple[Evidence, tuple[Hit, ...]]:
        if question not in self._found:
            evidence = self.memory.evidence(question, K)
            self._found[question] = evidence, self.memory.hits(evidence, PRODUCT, K)
        return self._found[question]

    def before(self, question: str, tokens: int) -> tuple[MemoryItem, ...]:
        """What a search within a budget gave before the night."""
        _, hits = self.found(question)
        return tuple(hit.item for hit in within(hits, tokens)[:K])

    def after(
        self, question: str, tokens: int, digests: Mapping[str, Digest] | None = None, *, meant: bool = True
    ) -> tuple[MemoryItem, ...]:
        """What it gives then. ``digests``: others than the night's; ``meant``: with the question's vector."""
        evidence, hits = self.found(question)
        read = evidence.question
        vector = self._vectors.of([read.text], "query")[read.text] if meant else None
        made = self.night.digests if digests is None else digests
        return composed(hits, made, read, vector, tokens=tokens, most=K)

    def undated(self) -> dict[str, Digest]:
        """The night's digests with their times as they were said."""
        made = digests(list(map(said, self.conversation.turns)))
        return {
            one.message_id: self.night.digests[one.message_id].model_copy(update={"sentences": one.said})
            for one in made
        }

    def cut(self, question: str, tokens: int) -> tuple[MemoryItem, ...]:
        """Memories as they are found, each by all that its digest tells: nothing is chosen within it."""
        _, hits = self.found(question)
        told = {name: " ".join(digest.sentences) for name, digest in self.night.digests.items()}
        kept = [replace(hit, item=hit.item.model_copy(update={"text": told[hit.item.id]})) for hit in hits]
        return tuple(hit.item for hit in within([hit for hit in kept if hit.item.text], tokens)[:K])
