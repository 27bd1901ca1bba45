"""What a memory finds, how fast, and beside what: a real installation over HTTP, with made-up dialogues as its users.

One user has ``--memories`` turns, two more have the same life in English and in French, others share it out in small.
The embedder's own rate comes from ``/v1/embeddings`` over the very texts that are imported afterwards. Every question
is asked twice: the first time with its embedding, which the second time is there already. The index alone is asked over
the bus, and held against an exact search of the same vectors. ``--peers-python`` names a Python in which mem0 and
sqlite-vec are installed (``pip install mem0ai faiss-cpu sqlite-vec numpy``; ``pysqlite3-binary`` too, where that
Python's sqlite3 can't load extensions); both run in a process of their own, on the same texts and vectors.

``--folder`` keeps the installation there for the next run, which asks the memories that it finds and imports none of
them again: then neither the embedder's rate nor the import's is measured, nor what hangs on the great memory's vectors.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import psutil

from bench.dialogues import Dialogue, Kind, Probe, dialogue
from bench.installing import Installation, installed
from bench.memory_client import Client, Vectors, embed, import_turns
from bench.memory_figures import DEEP_K, Figures, K, Recalled, Took, aims, as_json, peer_rows, print_tables
from bench.memory_index import IndexFigures, measure_index
from bench.processes import cpu_seconds
from bench.recall import settle
from bench.report import bars, finish

SEED = 20
LANGUAGE_MEMORIES = 2000
"""Of the two users whose languages are compared; fewer when ``--memories`` is smaller."""
SMALL_USERS, SMALL_MEMORIES = 3, 500
PROBES_A_KIND = 400
PEERS_TIMEOUT_S = 3 * 3600.0
BLOCK = 50
"""Questions that are asked before they are asked again: fewer than cognition keeps the embeddings of."""
INDEX_QUESTIONS = 200
FORGOTTEN = 10
"""Memories that are forgotten one by one."""


@dataclass(frozen=True)
class Person:
    """A user of the installation, and what is known of their memory."""

    name: str
    said: Dialogue
    client: Client


def sampled(probes: Sequence[Probe], most: int) -> list[Probe]:
    """At most so many of each kind, always the same."""
    chance = random.Random(SEED)
    chosen: list[Probe] = []
    for kind in Kind:
        some = [probe for probe in probes if probe.kind is kind]
        chosen += chance.sample(some, min(most, len(some)))
    return chosen


def probe(person: Person, probes: Sequence[Probe]) -> dict[Kind, Recalled]:
    """Asks each, and judges the ten best by the ids under which their turns were imported."""
    outcomes: dict[Kind, list[tuple[bool, bool, int]]] = {}

    def ranked(question: str, k: int) -> list[str]:
        return [str(item["source_id"]) for item in person.client.search(question, k)[0]]

    for one in probes:
        first = ranked(one.question, K)
        unseen = one.stale and not (one.gold | one.stale) & set(first)
        deeper = ranked(one.question, DEEP_K) if unseen else first
        outcomes.setdefault(one.kind, []).append(judge(one, first, deeper, person.name))
    return {
        kind: Recalled(len(rows), fmean(r[0] for r in rows), fmean(r[1] for r in rows), sum(r[2] for r in rows))
        for kind, rows in outcomes.items()
    }


def judge(one: Probe, ranked: Sequence[str], deeper: Sequence[str], owner: str) -> tuple[bool, bool, int]:
    """Whether evidence was found, whether it stands (in ``deeper``) before all that is stale, and how many hits are
    another user's."""
    gold = [place for place, source in enumerate(deeper) if source in one.gold]
    stale = [place for place, source in enumerate(deeper) if source in one.stale]
    first = bool(gold) and (not stale or gold[0] < stale[0])
    return bool(one.gold & set(ranked)), first, sum(not source.startswith(f"{owner}/") for source in deeper)


def search_twice(client: Client, questions: Sequence[str], pids: dict[str, int]) -> list[Took]:
    """Each question with its embedding, and again, a block later, with the embedding that is there."""
    for question in questions[:3]:
        client.search(question + " ?", K)
    names = ("search with the question's embedding", "search without it (asked again)")
    ms: dict[str, list[float]] = {name: [] for name in names}
    cpu_s = {name: dict.fromkeys(pids, 0.0) for name in names}
    for start in range(0, len(questions), BLOCK):
        for name in names:
            before = {process: cpu_seconds(pid) for process, pid in pids.items()}
            ms[name] += [client.search(question, K)[1] for question in questions[start : start + BLOCK]]
            for process, pid in pids.items():
                cpu_s[name][process] += cpu_seconds(pid) - before[process]
    return [Took.of(name, ms[name], cpu_s[name]) for name in names]


def unasked(count: int) -> list[str]:
    """Questions of another life, in which people have the same names: no probe asked them, so no cache knows them."""
    probes = dialogue("nobody", 12 * count, seed=SEED - 1).probes
    return random.Random(SEED).sample(list(dict.fromkeys(probe.question for probe in probes)), count)


def chat_in_turn(clients: dict[str, Client], questions: Sequence[str]) -> list[Took]:
    """Whole answers of an instant model, the memories asked in turn so that all meet the same noise."""
    took: dict[str, list[float]] = {name: [] for name in clients}
    for question in questions:
        for name, client in clients.items():
            took[name].append(client.chat(question))
    return [Took.of(name, ms) for name, ms in took.items()]


def run_peers(python: str, person: Person, questions: list[str], asked: Vectors, vectors: Vectors) -> dict[str, Any]:
    """The peers' figures over the same texts, vectors and questions."""
    with tempfile.TemporaryDirectory(prefix="mongars-peers-") as name:
        folder = Path(name)
        (folder / "texts.json").write_text(json.dumps([turn.text for turn in person.said.turns[: len(vectors)]]))
        (folder / "questions.json").write_text(json.dumps(questions))
        np.save(folder / "vectors.npy", vectors)
        np.save(folder / "questions.npy", asked)
        given = json.dumps({"url": person.client.url, "key": person.client.key})
        script = str(Path(__file__).with_name("memory_peers.py"))
        done = subprocess.run(
            [python, script, name], input=given, capture_output=True, text=True, timeout=PEERS_TIMEOUT_S, check=False
        )
    if done.returncode:
        raise RuntimeError(f"the peers failed: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


class Measurement:
    """One run over one installation."""

    def __init__(self, running: Installation, args: argparse.Namespace, filled: Path) -> None:
        """``filled`` lists the users whose turns an earlier run left behind."""
        self._running, self._args, self._filled = running, args, filled
        self._there: list[str] = json.loads(filled.read_text()) if filled.exists() else []
        self.figures = Figures(args.memories)

    def person(self, name: str, memories: int, *, seed: int, language: str = "en") -> Person:
        said = dialogue(name, memories, seed=seed, language=language)
        return Person(name, said, Client(self._running.url, self._running.key(name, "read-write")))

    def run(self) -> Figures:
        languages = {
            language: self.person(language, min(LANGUAGE_MEMORIES, self._args.memories), seed=SEED, language=language)
            for language in ("en", "fr")
        }
        others = [self.person(f"other{n}", SMALL_MEMORIES, seed=SEED + n) for n in range(SMALL_USERS)]
        ana = self.person("ana", self._args.memories, seed=SEED)
        vectors = self._fill(ana, [*languages.values(), *others])
        for person in (*languages.values(), *others[:1], ana):
            most = PROBES_A_KIND if person is ana else len(person.said.probes)
            self.figures.recalled[person.name] = probe(person, sampled(person.said.probes, most))
            self._say(f"{person.name} was asked")
        self._time(ana, vectors)
        return self.figures

    def _fill(self, ana: Person, others: Sequence[Person]) -> Vectors | None:
        """Everybody's turns; the great memory's are embedded first, by the embedder alone. None: they were there."""
        for person in others:
            if person.name not in self._there:
                import_turns(person.client.url, person.client.key, person.said.turns)
                self._is_there(person)
        settle(self._running.pids)
        self._say("the small memories are there")
        if ana.name in self._there:
            return None
        vectors, self.figures.embedded = embed(ana.client.url, ana.client.key, [turn.text for turn in ana.said.turns])
        self._say(f"the embedder alone: {self.figures.embedded.per_second:.0f}/s")
        self.figures.imported = import_turns(ana.client.url, ana.client.key, ana.said.turns)
        self._say(f"imported: {self.figures.imported.per_second:.0f}/s")
        self._is_there(ana)
        settle(self._running.pids)
        return vectors

    def _is_there(self, person: Person) -> None:
        self._there.append(person.name)
        self._filled.write_text(json.dumps(self._there))

    def _time(self, ana: Person, vectors: Vectors | None) -> None:
        figures, count = self.figures, self._args.searches
        questions = iter(unasked(count + count // 2 + 2 * INDEX_QUESTIONS))
        figures.took += search_twice(ana.client, list(islice(questions, count)), self._running.pids)
        nobody = Client(self._running.url, self._running.key("nobody", "read"))
        reader = Client(self._running.url, self._running.key("ana", "read"))
        chats = {"chat, no memories": nobody, "chat, all memories": reader}
        figures.took += chat_in_turn(chats, list(islice(questions, count // 2)))
        if vectors is not None:
            self._beside_exact(ana, questions, vectors)
        if self._args.folder is None:
            self._forget(ana)

    def _beside_exact(self, ana: Person, questions: Iterator[str], vectors: Vectors) -> None:
        """The index alone held against an exact search, and against its peers."""
        figures = self.figures
        asked = embed(ana.client.url, ana.client.key, list(islice(questions, INDEX_QUESTIONS)))[0]
        index = self._index(ana, vectors, asked)
        figures.index_recall = index.recall
        figures.took.append(Took("the index alone, over the bus", index.took_ms))
        if self._args.peers_python is not None:
            self._beside(ana, list(questions), vectors)

    def _forget(self, person: Person) -> None:
        """Memory by memory, then everything that is left."""
        client = Client(person.client.url, person.client.key)  # the other was idle for longer than it is kept open
        items = client.search(person.said.probes[0].question, FORGOTTEN)[0]
        one_by_one = [client.forget(f"/{item['id']}") for item in items]
        self.figures.took.append(Took.of("forgetting one memory", one_by_one))
        everything = client.forget("?confirm=everything")
        self.figures.took.append(Took.of("forgetting everything", [everything]))
        self._say("all is forgotten")

    def _index(self, person: Person, vectors: Vectors, asked: Vectors) -> IndexFigures:
        return asyncio.run(
            measure_index(
                self._running.nats_url,
                self._running.state,
                person.client.user_id(),
                vectors,
                asked,
                prefix=person.name,
                k=K,
            )
        )

    def _beside(self, ana: Person, questions: list[str], vectors: Vectors) -> None:
        """The peers over ``--peer-memories``, and ours over as many when that is fewer."""
        figures = self.figures
        figures.peer_memories = count = min(self._args.peer_memories or len(vectors), len(vectors))
        beside = ana
        if count < len(vectors):
            key = self._running.key("peer", "read-write")
            turns = tuple(ana.said.turns[:count])
            beside = Person("ana", Dialogue(turns, ana.said.probes), Client(ana.client.url, key))
            import_turns(ana.client.url, key, turns)
            settle(self._running.pids)
        took = search_twice(beside.client, questions, self._running.pids)
        asked = embed(ana.client.url, ana.client.key, questions)[0]
        index = self._index(beside, vectors[:count], asked)
        figures.took.append(Took("beside peers: search with the question's embedding", took[0].ms))
        figures.took.append(Took("beside peers: search without it", took[1].ms))
        figures.took.append(Took("beside peers: the index alone, over the bus", index.took_ms))
        self._say("the peers begin")
        figures.peers = run_peers(self._args.peers_python, ana, questions, asked, vectors[:count])

    def _say(self, what: str) -> None:
        print(f"… {what}, load {psutil.getloadavg()[0]:.1f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="1,000 memories and 100 searches")
    parser.add_argument("--memories", type=int, default=10_000, help="turns of the great memory (default: 10000)")
    parser.add_argument("--searches", type=int, default=1000, help="questions that are timed (default: 1000)")
    parser.add_argument("--peers-python", metavar="PYTHON", help="one that has mem0 and sqlite-vec")
    parser.add_argument("--peer-memories", type=int, metavar="N", help="theirs (default: as many as ours)")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="keep the installation there, and use what it has")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the times there, as SVG")
    args = parser.parse_args()
    if args.quick:
        args.memories, args.searches = min(args.memories, 1000), min(args.searches, 100)
    unlimited = {"MONGARS_RATE_LIMIT_TOKENS_PER_MINUTE": "0"}
    with tempfile.TemporaryDirectory(prefix="mongars-bench-") as name:
        folder = args.folder or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        with installed(folder, **unlimited) as running:
            figures = Measurement(running, args, folder / "filled.json").run()
    print_tables(figures)
    if args.plot is not None:
        drawn = [(t.name, t.at(0.5), t.at(0.99)) for t in figures.took] + peer_rows(figures.peers)
        args.plot.write_text(bars(drawn, ("p50 ms", "p99 ms")))
    finish(aims(figures), as_json(figures), args.json)


if __name__ == "__main__":
    main()
