"""A small decoder, made and pretrained here on plain text, and kept in a folder for the next run."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict

from services.trainer.packing import order, packed, tokenized
from services.trainer.run import seed_of

PADDING, END = "<|pad|>", "<|end|>"


class Shape(BaseModel):
    """A decoder and its pretraining."""

    model_config = ConfigDict(frozen=True)

    vocabulary: int = 8192
    width: int = 128
    layers: int = 3
    heads: int = 2
    block_tokens: int = 64
    batch: int = 32
    passes: float = 1.5
    """Through the text."""
    learning_rate: float = 3e-3


def tokenizer_of(texts: Sequence[str], vocabulary: int) -> Any:
    """A byte-level BPE of that many tokens, trained on ``texts``; the underscore is one of them."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=[PADDING, END], initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(texts, trainer)
    transformers: Any = import_module("transformers")
    return transformers.PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token=PADDING, eos_token=END)


def untrained(shape: Shape, tokenizer: Any, seed: int) -> Any:
    """A Llama with random weights."""
    transformers: Any = import_module("transformers")
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.width,
        intermediate_size=3 * shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    return transformers.AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")


def pretrained(shape: Shape, texts: Sequence[str], cache: Path, seed: int) -> tuple[Any, Any]:
    """(model, tokenizer), by next-token prediction on ``texts``; from ``cache`` when it was made there before."""
    transformers: Any = import_module("transformers")
    transformers.utils.logging.disable_progress_bar()
    told = f"{shape.model_dump_json()} {seed} {len(texts)} {''.join(texts)}"
    folder = cache / f"decoder-{hashlib.sha256(told.encode()).hexdigest()[:16]}"
    if not folder.exists():
        tokenizer = tokenizer_of(texts, shape.vocabulary)
        model = untrained(shape, tokenizer, seed)
        _pretrain(model, packed(tokenized(texts, tokenizer), shape.block_tokens), shape, seed)
        aside = folder.with_suffix(".partial")
        model.save_pretrained(aside)
        tokenizer.save_pretrained(aside)
        aside.rename(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="sdpa")
    return model, transformers.AutoTokenizer.from_pretrained(folder)


def loss_per_byte(model: Any, tokenizer: Any, texts: Sequence[str], block_tokens: int) -> float:
    """Bits for each byte of ``texts`` by next-token prediction: the same scale for every vocabulary."""
    blocks = packed(tokenized(texts, tokenizer), block_tokens)
    nats = 0.0
    with torch.inference_mode():
        for start in range(0, len(blocks), 64):
            rows = torch.from_numpy(blocks[start : start + 64])
            nats += float(model(input_ids=rows, labels=rows).loss) * len(rows)
    # The loss is a mean over the tokens that have one before them; the tail that fills no block is left out of both.
    read = sum(len(text.encode()) for text in tokenizer.batch_decode(blocks))
    return nats * (block_tokens - 1) / math.log(2) / read


def _pretrain(model: Any, blocks: Any, shape: Shape, seed: int) -> None:
    steps = int(shape.passes * len(blocks) / shape.batch)
    optimiser = torch.optim.AdamW(model.parameters(), lr=shape.learning_rate, betas=(0.9, 0.95), weight_decay=0.1)
    warm = max(1, steps // 20)
    began = time.perf_counter()
    recent: list[float] = []
    for step in range(steps):
        torch.manual_seed(seed_of(seed, step))
        progress = min((step + 1) / warm, 0.1 + 0.45 * (1 + np.cos(np.pi * step / steps)))
        for group in optimiser.param_groups:
            group["lr"] = shape.learning_rate * float(progress)
        rows = torch.from_numpy(blocks[order(len(blocks), batch=shape.batch, seed=seed, step=step)])
        loss = model(input_ids=rows, labels=rows).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        recent.append(float(loss.detach()))
        if (step + 1) % 100 == 0 or step + 1 == steps:
            took = time.perf_counter() - began
            print(f"  pretraining: {step + 1}/{steps}, loss {np.mean(recent[-100:]):.3f}, {took:.0f} s", flush=True)
