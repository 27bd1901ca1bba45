"""An adapter that repeats itself is refused, whatever it says of the answers that are held out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.training import ANSWERS, answers, changed, rows

CONVERSATIONS = [f"c{at % 8}" for at in range(24)]


@pytest.mark.torch
def test_runs_of_tokens_that_stood_there_before_are_counted() -> None:
    from services.trainer.evaluation.guards import repetition, spread

    assert repetition([1, 2, 3]) == 0.0
    assert repetition(list(range(20))) == 0.0
    assert repetition([1] * 10) == pytest.approx(6 / 7)
    assert spread(["a", "a", "b", "a", "c"], 3) == [0, 2, 4]


class Speaks:
    """A model whose answers are as told: ``plain`` without its adapter, ``adapted`` with it."""

    def __init__(self, plain: list[int], adapted: list[int]) -> None:
        self.training, self.device = False, "cpu"
        self._plain, self._adapted, self._with = plain, adapted, True

    def eval(self) -> None: ...

    def train(self, _: bool) -> None: ...

    def disable_adapter(self) -> Any:
        from contextlib import contextmanager

        @contextmanager
        def off() -> Any:
            self._with = False
            yield
            self._with = True

        return off()

    def generate(self, input_ids: Any, **_: Any) -> Any:
        import torch

        said = self._adapted if self._with else self._plain
        return torch.cat([input_ids, torch.tensor([said] * len(input_ids))], dim=1)


@pytest.mark.torch
def test_an_adapter_that_repeats_itself_is_refused_and_one_that_does_not_is_kept(tmp_path: Path) -> None:
    from libs.shared.evaluation.decision import decide
    from services.trainer.evaluation.guards import compare_repetition
    from services.trainer.evaluation.measuring import compare_perplexity

    adapted, _ = answers(tmp_path, changed(ANSWERS, steps=40))
    better = compare_perplexity(adapted, rows(), CONVERSATIONS)
    fresh, again = list(range(2, 40)), [5, 6] * 19
    stuck = compare_repetition(Speaks(fresh, again), rows(), CONVERSATIONS, end=0)
    assert (stuck.before, decide(better, [stuck]).why) == (0.0, "another_worse")
    assert decide(better).accepted, "a decision without the guard would have kept it"
    clear = compare_repetition(Speaks(again, fresh), rows(), CONVERSATIONS, end=0)
    assert decide(better, [clear]).accepted
    own = compare_repetition(adapted, rows(), CONVERSATIONS, end=0)
    assert 0.0 <= own.after <= 1.0
    assert own.units == 8


@pytest.mark.torch
def test_a_little_is_forgotten_of_other_text_and_much_is_refused(tmp_path: Path) -> None:
    import numpy as np

    from libs.shared.evaluation.decision import decide
    from services.trainer.evaluation.guards import compare_text
    from services.trainer.evaluation.measuring import compare_perplexity
    from tests.support.training import blocks

    adapted, _ = answers(tmp_path, changed(ANSWERS, steps=40))
    other = compare_text(adapted, np.flip(blocks(12), axis=1).copy())
    better = compare_perplexity(adapted, rows(), CONVERSATIONS)
    assert (other.units, other.tolerated) == (12, 0.1)
    assert decide(better, [other]).accepted is (other.high >= -0.1)
