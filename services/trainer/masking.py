"""Which tokens a step hides, and what it puts in their place: a pure function of the seed and the step.

Recipes follow the published configurations of LLM2Vec (BehnamGhader et al. 2024, §2.2 and D.1; the repository
McGill-NLP/llm2vec, ``train_configs/mntp`` and ``experiments/run_mntp.py``): 20 % with BERT's 80/10/10 split (Devlin et
al. 2019, §3.1) for every family but Mistral, for which 80 % are hidden, all of them behind the mask token. No decoder
has a mask token of its own; the underscore stands in for it throughout.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from libs.shared.errors import Unsupported

Tokens = NDArray[np.int64]
BLANK = "_"


@dataclass(frozen=True)
class Recipe:
    """How likely a token is hidden, and what stands there then; the rest of ``as_mask + as_random`` stays itself."""

    probability: float = 0.2
    as_mask: float = 0.8
    as_random: float = 0.1

    def __post_init__(self) -> None:
        shares = (self.as_mask, self.as_random, 1.0 - self.as_mask - self.as_random)
        if not 0.0 < self.probability < 1.0 or min(shares) < -1e-9:
            raise ValueError(f"no shares of a whole: {self}")


BERT = Recipe()
FULL = Recipe(probability=0.8, as_mask=1.0, as_random=0.0)


def recipe_of(family: str) -> Recipe:
    """The published recipe for a ``model_type``."""
    return FULL if family == "mistral" else BERT


@dataclass(frozen=True)
class Vocabulary:
    """What masking knows of a tokenizer: how many tokens, the one that hides others, and those never hidden."""

    size: int
    mask_id: int
    special_ids: tuple[int, ...]


def vocabulary_of(tokenizer: Any) -> Vocabulary:
    """Of a Hugging Face tokenizer: its mask token when it has one, else the underscore.

    Raises Unsupported when the tokenizer has neither: an id that means "unknown" would teach the model nothing.
    """
    mask_id = tokenizer.mask_token_id
    if mask_id is None:
        mask_id = tokenizer.convert_tokens_to_ids(BLANK)
    if mask_id is None or mask_id == tokenizer.unk_token_id:
        raise Unsupported(f"the tokenizer has no mask token and no token {BLANK!r} to stand in for it")
    return Vocabulary(len(tokenizer), int(mask_id), tuple(sorted(map(int, tokenizer.all_special_ids))))


@dataclass(frozen=True)
class Masked:
    """A step's input, and what it must find.

    ``ids``: blocks x tokens. ``sources``: where to predict from, as indices into the flattened blocks, ascending;
    ``targets``: the tokens that stood one position after each.
    """

    ids: Tokens
    sources: Tokens
    targets: Tokens


def mask(
    blocks: Tokens, *, recipe: Recipe, vocabulary: Vocabulary, seed: int, step: int, kept: Tokens | None = None
) -> Masked:
    """Hides tokens of ``blocks`` (blocks x tokens); those where ``kept`` is 0 are padding and stay.

    The token at i is predicted from the representation at i - 1 (§2.2), so the first of a block, which has none before
    it, is never hidden, and neither is one right after padding.
    """
    draw = np.random.default_rng((seed, step))
    # Every number is drawn for every token, so that what is special moves no other token's luck.
    hidden = draw.random(blocks.shape) < recipe.probability
    fate = draw.random(blocks.shape)
    random_ids = draw.integers(0, vocabulary.size, blocks.shape, dtype=np.int64)

    hidden &= ~np.isin(blocks, vocabulary.special_ids)
    hidden[:, 0] = False
    if kept is not None:
        hidden &= kept.astype(bool)
        hidden[:, 1:] &= kept[:, :-1].astype(bool)
    shown = np.where(hidden & (fate < recipe.as_mask), vocabulary.mask_id, blocks)
    replaced = hidden & (fate >= recipe.as_mask) & (fate < recipe.as_mask + recipe.as_random)
    shown = np.where(replaced, random_ids, shown)
    found = np.flatnonzero(hidden)
    return Masked(shown, found - 1, blocks.reshape(-1)[found])


def padded(rows: Iterable[list[int]], padding: int) -> tuple[Tokens, Tokens]:
    """Rows of unequal length as one matrix, padded after their ends; and 1 where a token is real."""
    kept_rows = list(rows)
    width = max(map(len, kept_rows))
    ids = np.full((len(kept_rows), width), padding, dtype=np.int64)
    kept = np.zeros_like(ids)
    for at, row in enumerate(kept_rows):
        ids[at, : len(row)] = row
        kept[at, : len(row)] = 1
    return ids, kept
