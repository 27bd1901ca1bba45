"""The index of a memory alone, asked over the bus as cognition asks it, held against an exact search."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.memory_client import Vectors
from libs.shared.bus.base import Bus
from libs.shared.bus.nats import NatsBus
from libs.shared.contracts.base import Principal
from libs.shared.contracts.recall import (
    FIND_CANDIDATES,
    READ_MEMORIES,
    READ_PROFILE,
    FindCandidates,
    ReadMemories,
    ReadProfile,
)
from libs.shared.layout import StateFolder

SAME = 1e-4
"""Cosines that differ by less are equally good: the same text embedded in another batch differs by as much."""


@dataclass(frozen=True)
class IndexFigures:
    """``recall`` is the share of the k nearest by exact search, equally near ones included, that the index found."""

    recall: float
    took_ms: tuple[float, ...]
    """Ascending; a request over the bus, its answer included."""


async def measure_index(
    url: str, state: Path, user_id: str, vectors: Vectors, questions: Vectors, *, prefix: str, k: int = 10
) -> IndexFigures:
    """``vectors`` are those of the user's memories ``prefix/0``, ``prefix/1`` …"""
    seed = StateFolder(state).nkey(Principal.COGNITION)
    bus = await NatsBus.connect(url, principal=Principal.COGNITION, seed_file=seed)
    try:
        profile = await bus.request(READ_PROFILE, ReadProfile(user_id=user_id))
        found: list[float] = []
        took: list[float] = []
        for question in questions:
            wanted = FindCandidates(
                user_id=user_id, vector=question.astype("<f4").tobytes(), embedder=profile.embedder, limit=k
            )
            began = time.perf_counter()
            columns = await bus.request(FIND_CANDIDATES, wanted)
            took.append((time.perf_counter() - began) * 1000)
            nearest = sorted(
                ((c, o) for c, o in zip(columns.cosine, columns.ordinals, strict=True) if c is not None), reverse=True
            )[:k]
            places = await _places(bus, user_id, [ordinal for _, ordinal in nearest], prefix)
            found.append(share_found(vectors, question, places, k))
    finally:
        await bus.drain(1.0)
    return IndexFigures(sum(found) / len(found), tuple(sorted(took)))


def share_found(vectors: Vectors, question: Vectors, places: Sequence[int], k: int) -> float:
    """Of the k nearest rows, how many stand at ``places`` or have an equal there."""
    cosines = vectors @ question
    least = np.partition(cosines, -k)[-k]
    return float(np.count_nonzero(cosines[list(set(places))] >= least - SAME)) / k


async def _places(bus: Bus, user_id: str, ordinals: Sequence[int], prefix: str) -> list[int]:
    read = await bus.request(READ_MEMORIES, ReadMemories(user_id=user_id, ordinals=tuple(ordinals)))
    names = [item.source_id.rpartition("/") for item in read.items]
    if any(owner != prefix for owner, _, _ in names):
        raise RuntimeError("the index answered with another user's memory")
    return [int(place) for _, _, place in names]
