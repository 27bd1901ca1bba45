"""Perplexity is of held-out answers by conversation, before and after, and leaves the model as it was."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from tests.support.decoders import decoder
from tests.support.training import ANSWERS, answers, changed, rows, same, weights

pytestmark = pytest.mark.torch

CONVERSATIONS = [f"c{at % 6}" for at in range(24)]


def test_totals_are_by_conversation_in_the_order_asked() -> None:
    import torch

    from services.trainer.evaluation.measuring import answer_totals
    from services.trainer.sft import answer_loss

    model = decoder("llama")
    found = answer_totals(model, rows(), CONVERSATIONS, batch=5)
    with torch.inference_mode():
        for at in range(6):
            own = [row for row, one in zip(rows(), CONVERSATIONS, strict=True) if one == f"c{at}"]
            assert found.sums[at] == pytest.approx(float(answer_loss(model, own)), rel=1e-4)
            assert found.counts[at] == sum(len(row.ids) - row.given for row in own)


def test_what_learnt_is_better_and_what_didn_t_is_within_noise(tmp_path: Path) -> None:
    from libs.shared.evaluation.bootstrap import compare_means
    from libs.shared.evaluation.decision import decide
    from services.trainer.evaluation.measuring import answer_totals, compare_perplexity, write

    adapted, _ = answers(tmp_path / "learnt", changed(ANSWERS, steps=40))
    before = weights(adapted)
    learnt = decide(compare_perplexity(adapted, rows(), CONVERSATIONS))
    assert learnt.why == "better"
    assert learnt.primary.units == 6
    assert same(weights(adapted), before)
    assert all(parameter.requires_grad for name, parameter in adapted.named_parameters() if "lora" in name)
    untouched, _ = answers(tmp_path / "untouched", changed(ANSWERS, steps=1, optimiser={"learning_rate": 1e-12}))
    assert decide(compare_perplexity(untouched, rows(), CONVERSATIONS)).why == "within_noise"
    good, bad = (answer_totals(model, rows(), CONVERSATIONS) for model in (adapted, decoder("llama")))
    assert decide(compare_means("log perplexity", good, bad, better="lower")).why == "worse"

    written = json.loads(write(tmp_path, learnt).read_text())
    assert (written["accepted"], written["why"]) == (True, "better")
    assert math.isclose(written["primary"]["before"], learnt.primary.before)
    assert "c0" not in json.dumps(written)
