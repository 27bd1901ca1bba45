"""What becomes of what is told again, and of what ceased to hold: on made-up memories (``made_up.py``), by rule.

Pairs of tellings are merged or not by their keys. Contexts come from the real services, before a night and after it.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Sequence
from itertools import chain, combinations
from pathlib import Path
from statistics import fmean
from typing import Any

from bench.dialogues import NOW, Kind, Probe
from bench.locomo.vectors import Vectors
from bench.report import Aim, table
from bench.sleep.coverage import covered, shown
from bench.sleep.made_up import WAYS, MadeUp, Told, made_up
from bench.sleep.offline import said
from bench.sleep.services import House, house
from libs.shared.contracts.memory import MemoryItem
from libs.shared.dates import written_day
from libs.shared.text import sentences
from services.optimizer.digesting.making import digests

USERS, MEMORIES, ITEMS = 6, 300, 30
SEED = 11
TOKENS = 300
FEW = 100
_NOTED = re.compile(r" \((?!until )[^()]*\b20\d\d\)")
"""Dates that a digest writes behind words."""


def pairs(memories: Sequence[MadeUp]) -> dict[str, float]:
    """Precision over all pairs of sentences of a user's items, recall by the way of telling again; prints them."""
    right = wrong = 0
    found: dict[str, list[bool]] = {}
    for one in memories:
        keys = dict(zip(one.told, (made.keys for made in digests([said(told.turn) for told in one.told])), strict=True))
        for first, other in combinations(one.told, 2):
            merged, same = keys[first] == keys[other], first.tells == other.tells
            right, wrong = right + (merged and same), wrong + (merged and not same)
            if same and first.item == other.item:
                found.setdefault(other.way, []).append(merged)
    recall = {way: fmean(found[way]) for way in WAYS}
    rows = [(way, len(found[way]), f"{recall[way]:.3f}") for way in WAYS]
    print(f"\n{table(('told again in', 'pairs', 'merged'), rows)}")
    print(f"merged: {right} pairs that tell the same, {wrong} that don't")
    return {
        "precision": right / max(1, right + wrong),
        "wrong": wrong,
        "recall": fmean(chain.from_iterable(found.values())),
    }


async def contexts(vectors: Vectors, memories: Sequence[MadeUp]) -> dict[str, float]:
    """Asks before a night and after it; prints what the contexts tell."""
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="mongars-sleep-") as folder:
        async with house(vectors, Path(folder), now=NOW) as home:
            await home.remember([one.conversation for one in memories])
            figures |= await _told(home, memories, "before")
            await home.sleep()
            figures |= await _told(home, memories, "after")
    names = list(dict.fromkeys(name.partition(" ")[2] for name in figures))
    rows = [(name, f"{figures[f'before {name}']:.3f}", f"{figures[f'after {name}']:.3f}") for name in names]
    print(f"\n{table(('share', 'before', 'after'), rows)}")
    return figures


async def _told(home: House, memories: Sequence[MadeUp], when: str) -> dict[str, float]:
    days: dict[int, list[float]] = {FEW: [], TOKENS: []}
    for place, one in enumerate(memories):
        for first, again in _again(one):
            for tokens, values in days.items():
                question = f"When did I say: {first.turn.text}"
                items = await home.ask(place, question, tokens=tokens)
                values.append(covered(_days(first, again), _written(items)))
    stale = await _of_probes(home, memories, Kind.CURRENT, _stale)
    newest = await _of_probes(home, memories, Kind.CURRENT, _gold)
    former = await _of_probes(home, memories, Kind.BEFORE, _gold)
    return {
        **{f"{when} days of both tellings, {tokens} tokens": fmean(values) for tokens, values in days.items()},
        f"{when} changed facts: a former value stands as if it held": fmean(stale),
        f"{when} changed facts: the newest value stands": fmean(newest),
        f"{when} changed facts: asked for the former, it stands": fmean(former),
    }


def _again(one: MadeUp) -> list[tuple[Told, Told]]:
    of_items: dict[int, list[Told]] = {}
    for told in one.told:
        if not told.way.startswith("not: ") and told.way != "other words":
            of_items.setdefault(told.item, []).append(told)
    return [(each[0], each[1]) for each in of_items.values() if len(each) > 1]


def _days(*told: Told) -> str:
    return " ".join(written_day(each.turn.at, "en") for each in told)


def _written(items: Sequence[MemoryItem]) -> str:
    """With days in words before the night too: merging alone is measured."""
    days = "\n".join(written_day(item.at, "en") for item in items if not item.digest)
    return f"{shown(items)}\n{days}"


Judge = Callable[[House, Sequence[MemoryItem], Probe], float]


async def _of_probes(home: House, memories: Sequence[MadeUp], kind: Kind, judge: Judge) -> list[float]:
    """Of all that are of a kind."""
    found = []
    for place, one in enumerate(memories):
        for probe in (probe for probe in one.probes if probe.kind is kind):
            found.append(judge(home, await home.ask(place, probe.question, tokens=TOKENS), probe))
    return found


def _stands(home: House, items: Sequence[MemoryItem], source: str, *, unmarked: bool) -> bool:
    """Whether the first sentence of a turn, which tells its fact, stands in a context; without a word on its end."""
    line = next(sentences(turn.text)[0] for turn in home.turns.values() if turn.id == source)
    for item in items:
        text = _NOTED.sub("", item.text)
        start = text.find(line)
        if start >= 0 and not (unmarked and text[start + len(line) :].startswith(" (until ")):
            return True
    return False


def _stale(home: House, items: Sequence[MemoryItem], probe: Probe) -> float:
    return any(_stands(home, items, source, unmarked=True) for source in probe.stale)


def _gold(home: House, items: Sequence[MemoryItem], probe: Probe) -> float:
    return any(_stands(home, items, source, unmarked=False) for source in probe.gold)


def memories() -> list[MadeUp]:
    """Each user's."""
    return [made_up(f"user{n}", MEMORIES, ITEMS, seed=SEED + n) for n in range(USERS)]


async def repeated(vectors: Vectors) -> tuple[list[Aim], dict[str, Any]]:
    """Measures all of it."""
    said_ = memories()
    figures: dict[str, Any] = {**pairs(said_), **await contexts(vectors, said_)}
    stale, days = "changed facts: a former value stands as if it held", f"days of both tellings, {FEW} tokens"
    before, after = figures[f"before {days}"], figures[f"after {days}"]
    return [
        Aim("merged pairs that tell the same", figures["precision"], 1.0, at_least=True),
        Aim("stale after a night", figures[f"after {stale}"], figures[f"before {stale}"]),
        Aim(f"days of both tellings in {FEW} tokens", after, before, at_least=True),
    ], figures
