"""The loss is of the answers alone, no example sees another, and a run resumes bit by bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from libs.shared.errors import InvalidRequest
from services.trainer.chat import Row
from tests.support.decoders import CONFIGURATIONS, decoder
from tests.support.training import ANSWERS, answers, changed, rows, same, weights

pytestmark = pytest.mark.torch


def published_loss(model: Any, row: Row) -> Any:
    """Of one exchange alone, as the library itself computes it: everything that was asked is labelled out."""
    import torch

    labels = [-100] * row.given + list(row.ids[row.given :])
    return model(input_ids=torch.tensor([row.ids]), labels=torch.tensor([labels])).loss * (len(row.ids) - row.given)


@pytest.mark.parametrize("name", sorted(CONFIGURATIONS))
def test_the_loss_is_each_answer_s_own_whatever_stands_beside_it(name: str) -> None:
    """Of rows of unequal length, padded, in every family: as each is alone, so that none sees another or padding."""
    import torch

    from services.trainer.sft import answer_loss

    model, chosen = decoder(name, "eager" if name == "gemma2" else "sdpa"), rows(5)
    assert len({len(row.ids) for row in chosen}) > 1
    with torch.inference_mode():
        together = float(answer_loss(model, chosen))
        alone = sum(float(published_loss(model, row)) for row in chosen)
    assert together == pytest.approx(alone, rel=1e-4)


def test_gradients_are_the_library_s_own() -> None:
    import torch

    from services.trainer.sft import answer_loss

    grown = []
    for compute in (
        lambda model: answer_loss(model, rows(4)),
        lambda model: sum(published_loss(model, row) for row in rows(4)),
    ):
        model = decoder("llama")
        torch.autograd.backward(compute(model))
        grown.append([parameter.grad for parameter in model.base_model.layers.parameters()])
    for ours, published in zip(*grown, strict=True):
        torch.testing.assert_close(ours, published, rtol=1e-3, atol=1e-4)


def test_a_row_packed_behind_another_would_be_noticed() -> None:
    """A mutation of the test above: two examples in one row, the second of which sees the first."""
    import torch

    from services.trainer.sft import answer_losses

    model, (first, second) = decoder("llama"), rows(2)
    packed = Row((*first.ids, *second.ids), len(first.ids) + second.given)
    with torch.inference_mode():
        apart, behind = answer_losses(model, [second]), answer_losses(model, [packed])
    assert not torch.allclose(apart, behind, rtol=1e-2)


def test_a_run_learns_the_answers(tmp_path: Path) -> None:
    config = changed(ANSWERS, steps=40)
    adapted, outcome = answers(tmp_path, config)
    assert outcome.ended == "finished"
    assert sum(outcome.losses[-5:]) < 0.5 * sum(outcome.losses[:5])
    assert all("lora" in name for name in weights(adapted))


def test_a_stopped_run_resumes_bit_by_bit(tmp_path: Path) -> None:
    whole, _ = answers(tmp_path / "whole")
    asked = iter(range(100))
    _, halted = answers(tmp_path / "halted", stop=lambda: next(asked) >= 5)
    assert (halted.ended, halted.step) == ("stopped", 5)
    resumed, _ = answers(tmp_path / "halted")
    assert same(weights(resumed), weights(whole))


def test_parts_of_a_batch_hold_every_row_once_and_those_of_like_length_together() -> None:
    from services.trainer.sft import parts, tokens

    found = list(parts(rows(7), 3, key=tokens))
    assert [len(part) for part in found] == [3, 3, 1]
    lengths = [len(row.ids) for part in found for row in part]
    assert lengths == sorted(len(row.ids) for row in rows(7))


def test_another_division_of_batches_learns_the_same(tmp_path: Path) -> None:
    found = []
    for rows_at_once in (4, 1):
        config = changed(ANSWERS, micro_batch=rows_at_once, lora={"dropout": 0.0})
        _, outcome = answers(tmp_path / str(rows_at_once), config)
        found.append(outcome.losses)
    assert found[0] == pytest.approx(found[1], rel=0.01)


def test_other_data_is_another_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.support import training

    answers(tmp_path)
    shifted = [Row(row.ids, row.given - 1) for row in rows()]
    monkeypatch.setattr(training, "rows", lambda: shifted)
    with pytest.raises(InvalidRequest, match="another data"):
        answers(tmp_path)


def test_few_rows_make_a_small_batch_and_every_row_is_read_as_often_as_asked() -> None:
    from services.trainer.sft import fitted

    few = fitted(ANSWERS, 3, passes=2.0)
    assert (few.batch, few.steps) == (3, 2)
    many = fitted(ANSWERS, 90, passes=2.0)
    assert (many.batch, many.steps) == (4, 45)
    with pytest.raises(InvalidRequest, match="no exchange is left"):
        fitted(ANSWERS, 0)
