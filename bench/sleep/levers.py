"""The parts of a night, taken away one by one: without services, on the product's own ranking and composing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean

from bench.locomo.data import Conversation
from bench.locomo.vectors import Vectors
from bench.report import table
from bench.sleep.coverage import covered, shown
from bench.sleep.offline import Mornings
from libs.shared.contracts.memory import MemoryItem

TOKENS = 300
Ways = dict[str, Callable[[str], tuple[MemoryItem, ...]]]


def levers(conversations: Sequence[Conversation], vectors: Vectors, *, stride: int = 1) -> dict[str, float]:
    """Prints and gives the coverage at TOKENS by each way of making a context."""
    found: dict[str, list[float]] = {}
    for conversation in conversations:
        ways = _ways(Mornings(conversation, vectors))
        for asked in conversation.questions[::stride]:
            for name, way in ways.items():
                found.setdefault(name, []).append(covered(asked.answer, shown(way(asked.text))))
    means = {name: fmean(values) for name, values in found.items()}
    rows = [(name, f"{mean:.3f}") for name, mean in means.items()]
    print(f"\n{table(('context of ' + str(TOKENS) + ' tokens', 'coverage'), rows)}")
    return means


def _ways(mornings: Mornings) -> Ways:
    undated = mornings.undated()
    return {
        "memories as they were said": lambda question: mornings.before(question, TOKENS),
        "digests of whole memories, nothing chosen within them": lambda question: mornings.cut(question, TOKENS),
        "sentences chosen, times as they were said": lambda question: mornings.after(question, TOKENS, undated),
        "sentences chosen without their vectors": lambda question: mornings.after(question, TOKENS, meant=False),
        "sentences of digests (the product)": lambda question: mornings.after(question, TOKENS),
    }
