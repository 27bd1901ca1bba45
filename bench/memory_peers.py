"""The memories that monGARS is measured beside, run by a Python that has them: mem0 (``infer=False``) and sqlite-vec.

``python bench/memory_peers.py FOLDER`` reads ``texts.json``, ``questions.json``, ``vectors.npy`` and ``questions.npy``
from the folder and ``{"url": …, "key": …}`` from standard input, and prints one JSON object. Only the standard library,
numpy and what is found of the two are needed; a memory that isn't installed is left out.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import importlib.metadata
import importlib.util
import json
import os
import sqlite3
import sys
import time
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

ADDED_ONE_BY_ONE = 200
"""By mem0's own ``add``; the rest goes to its store in bulk, with the same payload, since one by one takes hours."""
IN_BULK = 2000
K = 10
USER = "ana"


class Embedder:
    """The installation's embedder in mem0's shape: a text that is known costs nothing, others one request."""

    def __init__(self, url: str, key: str, known: dict[str, Any]) -> None:
        place = urlsplit(url)
        self._connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=60)
        self._headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        self.known = known
        self.config = type("Config", (), {"embedding_dims": 384})()

    def embed(self, text: str, memory_action: str | None = None) -> list[float]:
        if text in self.known:
            return list(self.known[text])
        body = json.dumps({"input": text, "encoding_format": "base64"})
        self._connection.request("POST", "/v1/embeddings", body=body, headers=self._headers)
        answer = json.loads(self._connection.getresponse().read())
        return [float(x) for x in np.frombuffer(base64.b64decode(answer["data"][0]["embedding"]), dtype="<f4")]

    def embed_batch(self, texts: list[str], memory_action: str | None = None) -> list[list[float]]:
        return [self.embed(text) for text in texts]


def percentiles(took_ms: list[float]) -> dict[str, float]:
    ordered = sorted(took_ms)
    return {"p50_ms": ordered[len(ordered) // 2], "p99_ms": ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]}


def timed(searches: Any) -> list[float]:
    """Milliseconds of each call, after a few that don't count."""
    calls = list(searches)
    for call in calls[:5]:
        call()
    took = []
    for call in calls:
        began = time.perf_counter()
        call()
        took.append((time.perf_counter() - began) * 1000)
    return took


def sqlite_vec_figures(vectors: Any, questions: Any) -> dict[str, Any]:
    """Exact search by cosine in its own table type, in memory."""
    sqlite_vec = importlib.import_module("sqlite_vec")
    # some builds of Python can't load extensions; the same library then comes as pysqlite3
    loads = hasattr(sqlite3.Connection, "enable_load_extension")
    database = (sqlite3 if loads else importlib.import_module("pysqlite3")).connect(":memory:")
    database.enable_load_extension(True)
    sqlite_vec.load(database)
    database.execute(f"create virtual table v using vec0(e float[{vectors.shape[1]}] distance_metric=cosine)")
    began = time.perf_counter()
    with database:
        database.executemany("insert into v(rowid, e) values (?, ?)", ((i, v.tobytes()) for i, v in enumerate(vectors)))
    ingest_s = time.perf_counter() - began
    query = "select rowid from v where e match ? and k = ? order by distance"
    took = timed((lambda q=q: database.execute(query, (q.tobytes(), K)).fetchall()) for q in questions)
    return {"version": sqlite_vec.__version__, "ingest_per_second": len(vectors) / ingest_s, **percentiles(took)}


def mem0_figures(
    folder: Path, store: str, texts: list[str], vectors: Any, questions: list[str], asked: Any, embedder: Embedder
) -> dict[str, Any]:
    """Its own ``search``: with the question's embedding made meanwhile, then with one that is there already."""
    config = {"collection_name": "m", "embedding_model_dims": vectors.shape[1], "path": str(folder / store)}
    memory = importlib.import_module("mem0").Memory.from_config(
        {
            "vector_store": {"provider": store, "config": config},
            "llm": {"provider": "openai", "config": {"api_key": "unused"}},
            "embedder": {"provider": "openai", "config": {"api_key": "unused", "embedding_dims": vectors.shape[1]}},
            "history_db_path": str(folder / f"{store}.history.db"),
        }
    )
    memory.embedding_model = embedder
    embedder.known = dict(zip(texts[:ADDED_ONE_BY_ONE], vectors[:ADDED_ONE_BY_ONE].tolist(), strict=True))
    began = time.perf_counter()
    for text in texts[:ADDED_ONE_BY_ONE]:
        memory.add([{"role": "user", "content": text}], user_id=USER, infer=False)
    added_s = time.perf_counter() - began
    _add_in_bulk(memory, texts[ADDED_ONE_BY_ONE:], vectors[ADDED_ONE_BY_ONE:])
    embedder.known = {}
    search = [lambda q=q: memory.search(q, filters={"user_id": USER}, top_k=K) for q in questions]
    with_embedding = timed(search)
    embedder.known = dict(zip(questions, asked.tolist(), strict=True))
    return {
        "version": importlib.metadata.version("mem0ai"),
        "add_per_second_without_embedding": min(ADDED_ONE_BY_ONE, len(texts)) / added_s,
        "found": len(search[0]()["results"]),
        "with_embedding": percentiles(with_embedding),
        "without_embedding": percentiles(timed(search)),
    }


def _add_in_bulk(memory: Any, texts: list[str], vectors: Any) -> None:
    """What ``add`` keeps of a text, many at a time."""
    lemmatize = importlib.import_module("mem0.utils.lemmatization").lemmatize_for_bm25
    for start in range(0, len(texts), IN_BULK):
        some = texts[start : start + IN_BULK]
        payloads = [
            {"data": text, "user_id": USER, "role": "user", "text_lemmatized": lemmatize(text)} for text in some
        ]
        ids = [str(uuid.uuid4()) for _ in some]
        memory.vector_store.insert(vectors=vectors[start : start + IN_BULK].tolist(), ids=ids, payloads=payloads)


def main() -> None:
    folder = Path(sys.argv[1])
    os.environ |= {"MEM0_TELEMETRY": "False", "MEM0_DIR": str(folder / "mem0"), "ANONYMIZED_TELEMETRY": "False"}
    given = json.load(sys.stdin)
    texts, questions = (json.loads((folder / f"{name}.json").read_text()) for name in ("texts", "questions"))
    vectors, asked = (np.load(folder / f"{name}.npy") for name in ("vectors", "questions"))
    found: dict[str, Any] = {"memories": len(texts)}
    with contextlib.redirect_stdout(sys.stderr):
        if importlib.util.find_spec("sqlite_vec") is not None:
            found["sqlite-vec"] = sqlite_vec_figures(vectors, asked)
        if importlib.util.find_spec("mem0") is not None:
            for store, needs in (("qdrant", "qdrant_client"), ("faiss", "faiss")):
                if importlib.util.find_spec(needs) is not None:
                    embedder = Embedder(given["url"], given["key"], {})
                    found[f"mem0 on {store}"] = mem0_figures(folder, store, texts, vectors, questions, asked, embedder)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
