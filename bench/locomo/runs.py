"""The questions that are asked, with the memories that they are asked of; what is found for one is found once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from bench.locomo.data import Asked, Conversation, every
from bench.locomo.memory import Evidence, OfflineMemory
from bench.locomo.plain import Plain
from bench.locomo.vectors import Vectors
from services.cognition.settings import CognitionSettings

LIMIT = CognitionSettings.model_fields["recall_candidates"].default
"""Candidates by each kind of evidence, as many as the product asks for."""


@dataclass(frozen=True)
class Case:
    """A question, and the place of the conversation that it is about."""

    conversation: int
    asked: Asked


class Runs:
    """Every conversation in a memory of its own, and (when asked for) all in one."""

    def __init__(self, conversations: Sequence[Conversation], vectors: Vectors, *, stride: int = 1) -> None:
        self.conversations = conversations
        self.cases = [
            Case(place, asked)
            for place, conversation in enumerate(conversations)
            for asked in conversation.questions[::stride]
        ]
        self.vectors = vectors
        self.memories = [OfflineMemory(conversation.turns, vectors) for conversation in conversations]
        self._plain = [Plain(conversation.turns, vectors) for conversation in conversations]
        self._found: dict[tuple[Case, int, bool], Evidence] = {}

    @cached_property
    def _merged(self) -> OfflineMemory:
        return OfflineMemory(every(self.conversations), self.vectors)

    def memory(self, case: Case, *, merged: bool = False) -> OfflineMemory:
        return self._merged if merged else self.memories[case.conversation]

    def plain(self, case: Case) -> Plain:
        return self._plain[case.conversation]

    def evidence(self, case: Case, limit: int, *, merged: bool = False) -> Evidence:
        """Weights play no part in it."""
        key = (case, limit, merged)
        if key not in self._found:
            self._found[key] = self.memory(case, merged=merged).evidence(case.asked.text, limit)
        return self._found[key]
