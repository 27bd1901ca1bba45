"""Two readings of a sentence come together, padding is no part of it, and a batch is never divided."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from libs.shared.errors import ModelDoesNotFit
from services.trainer.configuration import Optimiser
from tests.support.decoders import decoder
from tests.support.training import CONTRAST, changed, contrast, same, sentences, weights

pytestmark = pytest.mark.torch

TEMPERATURE = 0.05


def test_the_loss_is_the_published_one() -> None:
    """Cosines times 20, each sentence told from all: ``HardNegativeNLLLoss`` of the published code, row by row."""
    import torch

    from services.trainer.pooling import embed
    from services.trainer.simcse import contrast

    model, rows = decoder("llama"), sentences(6)
    vectors = embed(model, rows, padding=0)
    with torch.inference_mode():
        # Without dropout, both readings are the same.
        found = float(contrast(model, rows, 0, TEMPERATURE))
    expected = 0.0
    for at in range(6):
        cosines = torch.cosine_similarity(vectors[at : at + 1], vectors) * 20
        expected -= float(torch.log_softmax(cosines, 0)[at]) / 6
    assert found == pytest.approx(expected, rel=1e-4)


def test_dropout_alone_tells_two_readings_apart() -> None:
    import torch

    from services.trainer.simcse import contrast, set_dropout

    model, rows = decoder("llama"), sentences(6)
    with torch.inference_mode():
        alike = contrast(model, rows, 0, TEMPERATURE)
        set_dropout(model.train(), 0.3)
        torch.manual_seed(0)
        differing = contrast(model, rows, 0, TEMPERATURE)
    assert differing > alike + 0.01


def test_padding_is_no_part_of_a_vector() -> None:
    import torch

    from services.trainer.bidirectional import make_bidirectional
    from services.trainer.pooling import embed

    model, rows = make_bidirectional(decoder("llama")), [[5, 6, 7], [9, 8, 7, 6, 5, 4, 3]]
    together = embed(model, rows, padding=0)
    for padding in (0, 3):
        torch.testing.assert_close(embed(model, rows, padding=padding), together)
    for at, row in enumerate(rows):
        torch.testing.assert_close(embed(model, [row], padding=0)[0], together[at], rtol=1e-4, atol=1e-5)


def test_a_run_brings_readings_together_and_leaves_no_dropout_behind(tmp_path: Path) -> None:
    import torch

    from services.trainer import simcse

    def apart(model: Any) -> float:
        """Over all sentences, and several draws of dropout."""
        simcse.set_dropout(model.train(), CONTRAST.dropout)
        torch.manual_seed(0)
        with torch.inference_mode():
            return float(np.mean([simcse.contrast(model, sentences(), 0, TEMPERATURE) for _ in range(10)]))

    adapted, outcome = contrast(tmp_path, changed(CONTRAST, steps=40, optimiser=Optimiser(learning_rate=2e-3)))
    assert outcome.ended == "finished"
    assert adapted.base_model.model.config.attention_dropout == 0.0
    before, after = apart(decoder("llama")), apart(adapted.base_model.model)
    assert after < 0.6 * before


def test_a_stopped_run_resumes_bit_by_bit(tmp_path: Path) -> None:
    whole, _ = contrast(tmp_path / "whole")
    asked = iter(range(100))
    _, halted = contrast(tmp_path / "halted", stop=lambda: next(asked) >= 5)
    assert (halted.ended, halted.step) == ("stopped", 5)
    resumed, _ = contrast(tmp_path / "halted")
    assert same(weights(resumed), weights(whole))


def test_a_batch_that_does_not_fit_whole_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from services.trainer import memory

    monkeypatch.setattr(memory, "free_bytes", lambda device: 1000)
    with pytest.raises(ModelDoesNotFit, match=r"a step needs .* MiB and 0 MiB are free"):
        contrast(tmp_path)


def test_an_adapter_merged_in_says_the_same(tmp_path: Path) -> None:
    import torch

    from services.trainer.lora import merged
    from services.trainer.pooling import embed

    adapted, _ = contrast(tmp_path)
    model = adapted.base_model.model
    before = embed(model, sentences(4), padding=0)
    plain = merged(adapted)
    assert not any("lora" in name for name, _ in plain.named_parameters())
    torch.testing.assert_close(embed(plain, sentences(4), padding=0), before, rtol=1e-3, atol=1e-4)
