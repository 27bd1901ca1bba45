"""As many rows at once as fit; activations are computed twice only when that is what makes room."""

from __future__ import annotations

import pytest

from libs.shared.errors import ModelDoesNotFit

pytestmark = pytest.mark.torch

MIB = 1024 * 1024


def test_what_is_kept_for_the_way_back_is_counted() -> None:
    import torch

    from services.trainer.memory import saved_bytes

    first, second = torch.nn.Linear(100, 200), torch.nn.Linear(200, 10)
    given = torch.randn(50, 100)
    # The input, and the hyperbolic tangent, which two operations share: 50 rows of 100 and of 200 floats.
    assert saved_bytes(lambda: second(torch.tanh(first(given))).sum()) == 4 * 50 * (100 + 200)


def test_computing_twice_keeps_less() -> None:
    from services.trainer.masking import BERT, mask
    from services.trainer.memory import saved_bytes
    from services.trainer.mntp import hidden_loss
    from services.trainer.preparing import checkpointing
    from tests.support.decoders import decoder
    from tests.support.training import MASKING, blocks

    model = decoder("llama").train()
    batch = mask(blocks(4), recipe=BERT, vocabulary=MASKING, seed=0, step=0)
    kept = []
    for twice in (False, True):
        checkpointing(model, twice)
        kept.append(saved_bytes(lambda: hidden_loss(model, batch)))
    assert kept[1] < kept[0] / 3


@pytest.mark.parametrize(
    ("free_mib", "expected"),
    [(1000, (32, False)), (100, (8, False)), (30, (2, False)), (16, (1, False)), (11, (4, True)), (2, (1, True))],
)
def test_the_largest_part_that_fits_is_taken(free_mib: int, expected: tuple[int, bool]) -> None:
    from services.trainer.memory import plan

    found = plan(32, measure=lambda twice: MIB if twice else 8 * MIB, free=free_mib * MIB)
    assert (found.micro_batch, found.gradient_checkpointing) == expected


def test_what_fits_in_no_way_is_refused_with_both_figures() -> None:
    from services.trainer.memory import plan

    with pytest.raises(ModelDoesNotFit, match="needs 15 MiB and 10 MiB are free") as caught:
        plan(32, measure=lambda twice: 10 * MIB, free=10 * MIB)
    assert caught.value.data == {"needed_mib": 15, "available_mib": 10}


def test_what_was_decided_stands_and_is_not_measured() -> None:
    from services.trainer.memory import Plan, plan

    def measure(twice: bool) -> int:
        raise AssertionError

    assert plan(32, measure=measure, free=0, micro_batch=4, gradient_checkpointing=True) == Plan(4, True)


def test_a_batch_that_stays_whole_makes_room_by_computing_twice() -> None:
    from services.trainer.memory import Plan, plan

    found = plan(32, measure=lambda twice: MIB if twice else 8 * MIB, free=100 * MIB, divisible=False)
    assert found == Plan(32, True)
