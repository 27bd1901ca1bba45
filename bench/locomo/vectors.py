"""Vectors of texts by the product's built-in embedder, kept in a folder so that another run has them already."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Self

from services.inference.embedder import prepare
from services.inference.embedder_model import Model
from services.inference.embedder_specs import Purpose, built_in

_AT_ONCE = 256


class Vectors:
    """By text and purpose; the model is loaded when a text is new."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._spec = built_in(folder)
        self.embedder = self._spec.id
        self._model: Model | None = None
        self._kept = sqlite3.connect(folder / f"{self.embedder}.sqlite")
        self._kept.execute("create table if not exists vectors (text blob primary key, vector blob not null)")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._kept.close()

    def of(self, texts: Iterable[str], purpose: Purpose = "passage") -> dict[str, bytes]:
        """By text, little-endian float32."""
        prefixed = {text: self._spec.prefix(purpose) + text for text in texts}
        found = {text: vector for text in prefixed if (vector := self._known(prefixed[text])) is not None}
        missing = [text for text in prefixed if text not in found]
        for start in range(0, len(missing), _AT_ONCE):
            some = missing[start : start + _AT_ONCE]
            made = self._embedded([prefixed[text] for text in some])
            self._keep([prefixed[text] for text in some], made)
            found.update(zip(some, made, strict=True))
        return found

    def _known(self, text: str) -> bytes | None:
        row = self._kept.execute("select vector from vectors where text = ?", (_key(text),)).fetchone()
        return row[0] if row else None

    def load(self) -> Model:
        """The model, before an event loop runs in which a new text may come."""
        if self._model is None:
            asyncio.run(prepare(self._spec))
            self._model = Model(self._spec, threads=1)
        return self._model

    def _embedded(self, texts: list[str]) -> list[bytes]:
        return [vector for vector, _ in self.load().compute(texts)]

    def _keep(self, texts: list[str], vectors: list[bytes]) -> None:
        with self._kept:
            rows = zip(map(_key, texts), vectors, strict=True)
            self._kept.executemany("insert or replace into vectors values (?, ?)", rows)


def _key(text: str) -> bytes:
    return sha256(text.encode()).digest()
