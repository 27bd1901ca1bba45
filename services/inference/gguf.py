"""What a GGUF model takes in memory, by its header and the sizes of its files."""

from __future__ import annotations

from pathlib import Path

from libs.shared.gguf import Header, parts
from services.inference.fit import Needs, Shape

KV_BYTES = 2
"""llama.cpp keeps keys and values in half precision."""


def shape(path: Path, header: Header, context_tokens: int, slots: int) -> Shape:
    """The context that each slot gets, and what that takes: weights, and every slot's keys and values."""
    context = min(context_tokens, header.context_tokens)
    heads = header.number("attention.head_count", 1)
    width = header.number("embedding_length") // max(1, heads)
    per_head = header.number("attention.key_length", width) + header.number("attention.value_length", width)
    per_token = header.number("block_count") * header.number("attention.head_count_kv", heads) * per_head * KV_BYTES
    weights = sum(part.stat().st_size for part in parts(path))
    return Shape(Needs(weights, cache=per_token * context * slots), context)
