"""How often what will be asked is foreseen, and what that saves: `python -m bench.dreaming`.

People's questions are drawn, since no public data tells when somebody asked what: habits of a time of day, of a
weekday, sequels of them, and questions that come once, which no foresight could know. The days that are measured
are each foretold from what came before. What it saves is the time in which a question gets its vector, by the product's
built-in embedder in this process; placing and travelling come on top.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, cast

from bench.report import Aim, finish, table
from libs.shared.contracts.inference import Embeddings
from services.cognition.dreaming.likely import DAYS, Past, likely, said
from services.cognition.embedding import Embedder
from services.cognition.question_vectors import QuestionVectors
from services.inference.embedder import prepare
from services.inference.embedder_model import Model
from services.inference.embedder_specs import built_in

BEGIN = datetime(2026, 8, 3, tzinfo=UTC)
LEARNED, MEASURED = 42, 21
"""Days before, and days that are foretold."""
NIGHT_ENDS_H, HOURS = 6.0, 12.0
MOST = 64
KEPT, ONCE_A_DAY = 0.7, 2.0
"""How often a habit is kept; questions a day that come once."""
PEOPLE, QUICK_PEOPLE = 40, 6
TIMED = 200


@dataclass(frozen=True)
class Foresight:
    """Shares of all measured days, over all people."""

    method: str
    hit_rate: float
    """Of what was asked in those hours, what was foreseen."""
    of_habits: float
    """Of what could be foreseen: what comes once is left out."""
    used: float
    """Of what was prepared, what was asked."""
    prepared_a_day: float


def life(chance: random.Random) -> list[Past]:
    """What one person asks in all those days, oldest first."""
    habits: list[tuple[str, float, int | None]] = []
    habits += [(f"habit {n} of every day", chance.uniform(7, 17), None) for n in range(3)]
    habits += [(f"habit {n} of a weekday", chance.uniform(7, 17), chance.randrange(7)) for n in range(3)]
    found: list[Past] = []
    for day in range(LEARNED + MEASURED):
        found += _day(chance, day, habits)
    return sorted(found, key=lambda one: one.at)


def _day(chance: random.Random, day: int, habits: Sequence[tuple[str, float, int | None]]) -> Iterator[Past]:
    date = BEGIN + timedelta(days=day)
    for text, hour, weekday in habits:
        if weekday in (None, date.weekday()) and chance.random() < KEPT:
            at = date + timedelta(hours=hour + chance.gauss(0, 0.5))
            yield Past(text, at, f"{text} {day}")
            if chance.random() < 0.5:
                yield Past(f"and after {text}", at + timedelta(minutes=5), f"{text} {day}")
    for number in range(round(chance.expovariate(1 / ONCE_A_DAY))):
        yield Past(f"once {day} {number}", date + timedelta(hours=chance.uniform(7, 22)), f"once {day} {number}")


def foresight(lives: Sequence[Sequence[Past]]) -> list[Foresight]:
    """The product's method, and what was asked most before, as many of it."""
    counts = {"habits and sequels": Counter[str](), "asked most before": Counter[str]()}
    for past in lives:
        for day in range(LEARNED, LEARNED + MEASURED):
            now = BEGIN + timedelta(days=day, hours=NIGHT_ENDS_H)
            came = [said(one.text) for one in past if now <= one.at < now + timedelta(hours=HOURS)]
            expected = {said(one.text) for one in likely(past, now, HOURS, MOST)}
            recent = Counter(said(one.text) for one in past if now - timedelta(days=DAYS) <= one.at < now)
            usual = {name for name, _ in recent.most_common(len(expected))}
            for name, prepared in zip(counts, (expected, usual), strict=True):
                _count(counts[name], came, prepared)
    days = len(lives) * MEASURED
    return [_shares(name, told, days) for name, told in counts.items()]


def _count(told: Counter[str], came: Sequence[str], prepared: set[str]) -> None:
    told["asked"] += len(came)
    told["habits"] += sum(not name.startswith("once") for name in came)
    told["hits"] += sum(name in prepared for name in came)
    told["prepared"] += len(prepared)
    told["used"] += len(prepared.intersection(came))


def _shares(name: str, told: Counter[str], days: int) -> Foresight:
    return Foresight(
        name,
        told["hits"] / told["asked"],
        told["hits"] / told["habits"],
        told["used"] / max(1, told["prepared"]),
        told["prepared"] / days,
    )


class _Here:
    """Embeds in this process."""

    def __init__(self, model: Model, name: str, prefix: str) -> None:
        self._model, self._name, self._prefix = model, name, prefix

    async def embed(self, texts: Sequence[str], **_: object) -> Embeddings:
        made = await asyncio.to_thread(self._model.compute, [self._prefix + text for text in texts])
        vectors = tuple(vector for vector, _ in made)
        return Embeddings(embedder=self._name, dimensions=len(vectors[0]) // 4, vectors=vectors, prompt_tokens=1)


async def times(cache: Path) -> tuple[list[float], list[float]]:
    """Milliseconds to a question's vector, unprepared and prepared."""
    spec = built_in(cache)
    await prepare(spec)
    here = _Here(Model(spec, threads=1), spec.id, spec.prefix("query"))
    vectors = QuestionVectors(cast(Embedder, here), 10.0)
    texts = [f"What did we say about the plan for week {n}, and who wanted to come?" for n in range(2 * TIMED)]
    await vectors.of("u", "warm the model itself", spec.id)
    for text in texts[TIMED:]:
        await vectors.prepare("u", text, spec.id, 3600.0)
    return [await _timed(vectors, text, spec.id) for text in texts[:TIMED]], [
        await _timed(vectors, text, spec.id) for text in texts[TIMED:]
    ]


async def _timed(vectors: QuestionVectors, text: str, embedder: str) -> float:
    began = perf_counter()
    assert await vectors.of("u", text, embedder) is not None
    return (perf_counter() - began) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer people")
    parser.add_argument("--seed", type=int, default=7)
    default = Path(tempfile.gettempdir()) / f"mongars-bench-{os.getuid()}"
    parser.add_argument("--cache", type=Path, default=default, metavar="FOLDER", help=f"default: {default}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    args = parser.parse_args()
    chance = random.Random(args.seed)
    found = foresight([life(chance) for _ in range(QUICK_PEOPLE if args.quick else PEOPLE)])
    print(table(("method", "foreseen", "of what can be", "of the prepared, asked", "prepared a day"), [
        (one.method, one.hit_rate, one.of_habits, one.used, one.prepared_a_day) for one in found
    ]))  # fmt: skip
    before, after = asyncio.run(times(args.cache))
    print(f"a question's vector: {median(before):.2f} ms unprepared, {median(after):.3f} ms prepared (medians)\n")
    figures: dict[str, Any] = {
        "foresight": [asdict(one) for one in found],
        "unprepared_ms": median(before),
        "prepared_ms": median(after),
    }
    aims = [
        Aim("of habits, foreseen", found[0].of_habits, 0.8, at_least=True),
        Aim("prepared by unprepared, median", median(after) / median(before), 0.2),
    ]
    finish(aims, figures, args.json)


if __name__ == "__main__":
    main()
