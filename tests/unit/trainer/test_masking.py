"""Shares of what is hidden, what never is, and that the seed and the step alone decide."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.shared.errors import Unsupported
from services.trainer.bidirectional import FAMILIES
from services.trainer.masking import BERT, FULL, Masked, Recipe, Vocabulary, mask, padded, recipe_of, vocabulary_of

VOCABULARY = Vocabulary(size=500, mask_id=7, special_ids=(0, 1, 2))


def blocks(seed: int, rows: int = 200, columns: int = 50) -> Any:
    drawn = np.random.default_rng(seed).integers(0, VOCABULARY.size, (rows, columns), dtype=np.int64)
    return np.where(drawn == VOCABULARY.mask_id, 8, drawn)


def masked(text: Any, recipe: Recipe = BERT, *, seed: int = 1, step: int = 0, kept: Any = None) -> Masked:
    return mask(text, recipe=recipe, vocabulary=VOCABULARY, seed=seed, step=step, kept=kept)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    step=st.integers(0, 100_000),
    probability=st.floats(0.1, 0.8),
    as_mask=st.floats(0.1, 0.9),
)
def test_shares_are_the_recipes(seed: int, step: int, probability: float, as_mask: float) -> None:
    recipe = Recipe(probability, as_mask, (1.0 - as_mask) / 2)
    text = blocks(seed)
    found = masked(text, recipe, seed=seed, step=step)
    may_be = ~np.isin(text, VOCABULARY.special_ids)
    may_be[:, 0] = False
    hidden = found.sources + 1
    shown = found.ids.reshape(-1)[hidden]

    def near(count: float, of: float, share: float) -> bool:
        """Within six standard deviations: one in a thousand million."""
        return bool(abs(count - of * share) <= 6 * np.sqrt(of * share * (1 - share)) + 1)

    assert near(len(hidden), may_be.sum(), probability)
    assert near((shown == VOCABULARY.mask_id).sum(), len(hidden), as_mask + recipe.as_random / VOCABULARY.size)
    itself = 1.0 - as_mask - recipe.as_random + recipe.as_random / VOCABULARY.size
    assert near((shown == found.targets).sum(), len(hidden), itself)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), full=st.booleans(), rows=st.integers(1, 6), columns=st.integers(2, 40))
def test_what_is_special_first_or_padding_is_never_hidden(seed: int, full: bool, rows: int, columns: int) -> None:
    text = blocks(seed, rows, columns)
    lengths = np.random.default_rng(seed).integers(1, columns + 1, rows)
    text, kept = padded([list(row[:length]) for row, length in zip(text, lengths, strict=True)], 0)
    found = masked(text, FULL if full else BERT, seed=seed, kept=kept)
    hidden = found.sources + 1
    assert not np.isin(found.targets, VOCABULARY.special_ids).any()
    assert (hidden % text.shape[1] != 0).all(), "the first of a block has nothing before it"
    assert kept.reshape(-1)[hidden].all()
    assert kept.reshape(-1)[found.sources].all()
    assert np.array_equal(text.reshape(-1)[hidden], found.targets)
    untouched = np.ones(text.size, dtype=bool)
    untouched[hidden] = False
    assert np.array_equal(found.ids.reshape(-1)[untouched], text.reshape(-1)[untouched])


def test_the_seed_and_the_step_alone_decide() -> None:
    text = blocks(3)
    same = [masked(text, seed=4, step=9) for _ in range(2)]
    assert np.array_equal(same[0].ids, same[1].ids)
    assert np.array_equal(same[0].sources, same[1].sources)
    for seed, step in ((5, 9), (4, 10)):
        assert not np.array_equal(masked(text, seed=seed, step=step).sources, same[0].sources)


def test_full_masks_leave_no_hidden_token_in_sight() -> None:
    text = blocks(5)
    found = masked(text, FULL)
    assert (found.ids.reshape(-1)[found.sources + 1] == VOCABULARY.mask_id).all()
    assert len(found.sources) > 0.7 * text.size


def test_mistral_alone_is_masked_fully() -> None:
    assert {family for family in FAMILIES if recipe_of(family) is FULL} == {"mistral"}
    assert (BERT.probability, BERT.as_mask, BERT.as_random) == (0.2, 0.8, 0.1)
    assert FULL.probability == 0.8


def test_shares_beyond_a_whole_are_refused() -> None:
    with pytest.raises(ValueError, match="no shares"):
        Recipe(0.2, 0.8, 0.3)


class Tokenizer(SimpleNamespace):
    """As much of one as masking asks."""

    def __len__(self) -> int:
        return 100

    def convert_tokens_to_ids(self, token: str) -> int | None:
        found: int | None = self.ids.get(token, self.unk_token_id)
        return found


def test_the_underscore_stands_in_for_a_missing_mask_token() -> None:
    asked = Tokenizer(mask_token_id=None, unk_token_id=3, ids={"_": 29}, all_special_ids=[2, 1])
    assert vocabulary_of(asked) == Vocabulary(100, 29, (1, 2))
    asked.mask_token_id = 50
    assert vocabulary_of(asked).mask_id == 50


def test_a_tokenizer_with_nothing_to_hide_behind_is_refused() -> None:
    with pytest.raises(Unsupported, match="no mask token"):
        vocabulary_of(Tokenizer(mask_token_id=None, unk_token_id=3, ids={}, all_special_ids=[]))
