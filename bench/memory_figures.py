"""What was measured of a memory, how it is told, and the aims that it is held against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.dialogues import Kind
from bench.load import percentile
from bench.memory_client import Done
from bench.report import Aim, table

K = 10
DEEP_K = 100
"""How far is looked when neither the newest telling nor an older one is among the first K."""
MEM0 = "mem0 on qdrant"
"""mem0's default store, and the one of its local ones that also searches words."""


@dataclass(frozen=True)
class Recalled:
    """What became of one kind of probe."""

    asked: int
    found: float
    """Any evidence among the first ten."""
    first: float
    """No stale evidence comes before the newest, however far down it stands within the first DEEP_K."""
    foreign: int
    """Hits of other users."""


@dataclass(frozen=True)
class Took:
    """Milliseconds, ascending."""

    name: str
    ms: tuple[float, ...]
    cpu_ms: dict[str, float] = field(default_factory=dict)
    """A request, by process."""

    @classmethod
    def of(cls, name: str, ms: Sequence[float], cpu_s: dict[str, float] | None = None) -> Took:
        return cls(name, tuple(sorted(ms)), {process: s * 1000 / len(ms) for process, s in (cpu_s or {}).items()})

    def at(self, share: float) -> float:
        return percentile(list(self.ms), share)


@dataclass
class Figures:
    """All that was measured; what is empty or None was not."""

    memories: int
    embedded: Done | None = None
    imported: Done | None = None
    recalled: dict[str, dict[Kind, Recalled]] = field(default_factory=dict)
    """By user."""
    took: list[Took] = field(default_factory=list)
    index_recall: float | None = None
    peer_memories: int = 0
    peers: dict[str, Any] = field(default_factory=dict)

    def find(self, name: str, share: float) -> float | None:
        return next((took.at(share) for took in self.took if took.name == name), None)


def print_tables(figures: Figures) -> None:
    rows = [
        (name, kind.value, r.asked, r.found, r.first, r.foreign)
        for name, kinds in figures.recalled.items()
        for kind, r in kinds.items()
    ]
    print(table(("user", "probes", "asked", f"any evidence@{K}", "and before the stale", "hits of others"), rows))
    print(
        "\n" + table(("", "n", "p50 ms", "p99 ms"), [(t.name, len(t.ms), t.at(0.5), t.at(0.99)) for t in figures.took])
    )
    with_cpu = [took for took in figures.took if took.cpu_ms]
    if with_cpu:
        cells = [(took.name, *took.cpu_ms.values(), sum(took.cpu_ms.values())) for took in with_cpu]
        print("\nCPU ms a request:\n\n" + table(("", *with_cpu[0].cpu_ms, "all"), cells))
    if figures.peers:
        print(f"\nBeside, over {figures.peer_memories} memories:\n")
        print(table(("peer", "p50 ms", "p99 ms"), peer_rows(figures.peers)))
    if figures.embedded and figures.imported:
        print(
            f"\nThe embedder alone {figures.embedded.per_second:.0f} texts/s, import {figures.imported.per_second:.0f} "
            f"turns/s; recall of the index {figures.index_recall:.4f} of exact."
        )


def peer_rows(peers: dict[str, Any]) -> list[tuple[str, float, float]]:
    rows = []
    for name, found in peers.items():
        if not isinstance(found, dict):
            continue
        for label, part in (("", found), (", with embedding", found.get("with_embedding"))):
            if part and "p50_ms" in part:
                rows.append((name + label, part["p50_ms"], part["p99_ms"]))
        if "without_embedding" in found:
            part = found["without_embedding"]
            rows.append((f"{name}, without it", part["p50_ms"], part["p99_ms"]))
    return rows


def aims(figures: Figures) -> list[Aim]:
    """The issue's aims. A share that should be large is held by what it lacks."""
    recalled = figures.recalled
    current = [kinds[Kind.CURRENT] for kinds in recalled.values() if Kind.CURRENT in kinds]
    asked = sum(r.asked for r in current)
    outranked = 1 - sum(r.first * r.asked for r in current) / asked if asked else None
    foreign = sum(r.foreign for kinds in recalled.values() for r in kinds.values())
    chat = [figures.find(f"chat, {which} memories", 0.5) for which in ("all", "no")]
    rate = figures.embedded.per_second / figures.imported.per_second if figures.embedded and figures.imported else None
    return [
        Aim("changed facts not before the stale", outranked, 0.01),
        Aim("hits of other users", float(foreign), 0.0),
        Aim("search p50", figures.find("search with the question's embedding", 0.5), 25.0, "ms"),
        Aim("search p99", figures.find("search with the question's embedding", 0.99), 60.0, "ms"),
        Aim("without the embedding p50", figures.find("search without it (asked again)", 0.5), 12.0, "ms"),
        Aim("missed by the index", None if figures.index_recall is None else 1 - figures.index_recall, 0.01),
        Aim("embedder's rate over import's", rate, 1 / 0.6, "×"),
        Aim("French below English", language_gap(recalled), 0.05),
        Aim("chat with all memories, more", None if None in chat else chat[0] - chat[1], 10.0, "ms"),  # type: ignore[operator]
        *peer_aims(figures),
    ]


def language_gap(recalled: dict[str, dict[Kind, Recalled]]) -> float | None:
    """Any evidence in English less the same in French, over all probes."""
    shares = []
    for language in ("en", "fr"):
        kinds = recalled.get(language, {}).values()
        asked = sum(r.asked for r in kinds)
        if not asked:
            return None
        shares.append(sum(r.found * r.asked for r in kinds) / asked)
    return shares[0] - shares[1]


def peer_aims(figures: Figures) -> list[Aim]:
    """Not held when the peer isn't installed."""
    theirs = figures.peers.get(MEM0, {}).get("with_embedding", {}).get("p99_ms")
    ours = figures.find("beside peers: search with the question's embedding", 0.99)
    exact = figures.peers.get("sqlite-vec", {}).get("p50_ms")
    index = figures.find("beside peers: the index alone, over the bus", 0.5)
    return [
        Aim("p99 of mem0's", None if theirs is None or ours is None else ours / theirs, 1 / 3, "×"),
        Aim("index of sqlite-vec's p50", None if exact is None or index is None else index / exact, 0.1, "×"),
    ]


def as_json(figures: Figures) -> dict[str, Any]:
    """Without the single times."""
    return {
        "memories": figures.memories,
        "embedded_per_second": figures.embedded and figures.embedded.per_second,
        "imported_per_second": figures.imported and figures.imported.per_second,
        "recalled": {name: {k.name.lower(): vars(r) for k, r in by.items()} for name, by in figures.recalled.items()},
        "took": {
            t.name: {"n": len(t.ms), "p50_ms": t.at(0.5), "p99_ms": t.at(0.99), "cpu_ms": t.cpu_ms}
            for t in figures.took
        },
        "index_recall": figures.index_recall,
        "peer_memories": figures.peer_memories,
        "peers": figures.peers,
    }
