"""A tokenizer whose file would read texts otherwise than training does is refused before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer

from libs.shared.errors import ModelBroken
from services.trainer.tokens_alike import refuse_other_tokens
from tests.support import embedders


class Kept:
    """As the library's own: what it leaves behind, and what it gives."""

    def __init__(self, folder: Path, *, added: int | None = None, leaves: bool = True) -> None:
        self._path = embedders.make(folder) / "tokenizer.json"
        self._added = added
        self._leaves = leaves

    def save_pretrained(self, folder: str) -> None:
        if self._leaves:
            (Path(folder) / "tokenizer.json").write_bytes(self._path.read_bytes())

    def __call__(self, texts: list[str]) -> dict[str, list[list[int]]]:
        found = [one.ids for one in Tokenizer.from_file(str(self._path)).encode_batch(texts)]
        return {"input_ids": [row if self._added is None else [self._added, *row] for row in found]}


def test_one_that_is_kept_as_it_reads_is_taken(tmp_path: Path) -> None:
    refuse_other_tokens(Kept(tmp_path), [*embedders.SENTENCES, "", " "])


def test_one_that_puts_a_token_before_a_text_that_its_file_doesn_t_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelBroken, match="doesn't give the tokens"):
        refuse_other_tokens(Kept(tmp_path, added=2), embedders.SENTENCES)


def test_one_that_leaves_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelBroken, match="can't be kept"):
        refuse_other_tokens(Kept(tmp_path, leaves=False), embedders.SENTENCES)
