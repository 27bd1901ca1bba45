"""Whether the file that a tokenizer leaves behind reads texts as it does itself: an encoder is served by the file."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from libs.shared.errors import ModelBroken

_FILE = "tokenizer.json"
_TEXTS = 64
"""More of the same text would say the same."""


def refuse_other_tokens(tokenizer: Any, texts: Sequence[str]) -> None:
    """Before anything is trained. Raises ModelBroken, where vectors would be of other tokens than those trained on."""
    from tokenizers import Tokenizer

    with tempfile.TemporaryDirectory(prefix="mongars-tokenizer-") as folder:
        tokenizer.save_pretrained(folder)
        path = Path(folder) / _FILE
        if not path.is_file():
            raise ModelBroken("the model's tokenizer can't be kept as tokenizer.json, by which encoders are served")
        kept = Tokenizer.from_file(str(path))
    kept.no_padding()
    kept.no_truncation()
    chosen = [text for text in texts if text.strip()][:_TEXTS]
    if chosen and [one.ids for one in kept.encode_batch(chosen)] != list(tokenizer(chosen)["input_ids"]):
        raise ModelBroken("the model's tokenizer.json doesn't give the tokens that its tokenizer gives")
