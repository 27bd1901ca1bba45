"""The loss is the published one; a run depends on its seed alone, ends when it is lost, and resumes bit by bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from libs.shared.errors import InvalidRequest, Unsupported
from services.trainer.configuration import Lora, Optimiser
from services.trainer.masking import Recipe, mask
from tests.support.decoders import decoder
from tests.support.training import CONFIG, MASKING, STEPS, blocks, changed, same, train, weights

pytestmark = pytest.mark.torch


def masked(rows: int = 4) -> Any:
    return mask(blocks(rows), recipe=Recipe(), vocabulary=MASKING, seed=1, step=0)


def published_loss(model: Any, batch: Any) -> Any:
    """Every logit, and labels that the library itself moves by one position: as ``run_mntp.py`` computes it."""
    import torch

    labels = np.full(batch.ids.size, -100)
    labels[batch.sources + 1] = batch.targets
    labels = labels.reshape(batch.ids.shape)
    return model(input_ids=torch.from_numpy(batch.ids), labels=torch.from_numpy(labels)).loss


@pytest.mark.parametrize("name", ["llama", "mistral", "qwen3", "gemma2", "gemma3"])
def test_the_loss_and_its_gradients_are_the_published_ones(name: str) -> None:
    import torch

    from services.trainer.bidirectional import make_bidirectional
    from services.trainer.mntp import hidden_loss

    batch = masked()
    grown = []
    for compute in (published_loss, lambda model, batch: hidden_loss(model, batch) / len(batch.targets)):
        model = make_bidirectional(decoder(name, "eager" if name == "gemma2" else "sdpa"))
        loss = compute(model, batch)
        loss.backward()
        grown.append([loss.detach(), *(parameter.grad for parameter in model.base_model.layers.parameters())])
    for published, ours in zip(*grown, strict=True):
        torch.testing.assert_close(ours, published, rtol=1e-4, atol=1e-6)


def test_parts_of_a_batch_add_up_to_it() -> None:
    import torch

    from services.trainer.mntp import hidden_loss, parts

    model, batch = decoder("llama"), masked(6)
    whole = hidden_loss(model, batch)
    for rows in (1, 2, 3):
        divided = list(parts(batch, rows))
        assert len(divided) == 6 // rows
        torch.testing.assert_close(sum(hidden_loss(model, part) for part in divided), whole)


def test_a_run_learns_with_its_adapter_alone(tmp_path: Path) -> None:
    before = decoder("llama").state_dict()
    adapted, outcome = train(tmp_path, changed(CONFIG, steps=40))
    assert outcome.ended == "finished"
    assert len(outcome.losses) == 40
    assert np.mean(outcome.losses[-5:]) < 0.8 * np.mean(outcome.losses[:5])
    after = adapted.base_model.model.state_dict()
    for name, value in before.items():
        kept = after.get(name, after.get(name.replace("_proj.", "_proj.base_layer.")))
        assert value.equal(kept), name


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The weights of a run that nothing happened to."""
    return weights(train(tmp_path_factory.mktemp("whole"))[0])


def test_the_seed_alone_decides(tmp_path: Path, whole: dict[str, Any]) -> None:
    again, other = (weights(train(tmp_path / str(seed), changed(CONFIG, seed=seed))[0]) for seed in (0, 2))
    assert same(whole, again)
    assert not same(whole, other)


def stopped_after(folder: Path, steps: int) -> Any:
    """A run that is asked to stop then."""
    asked = iter(range(STEPS))
    return train(folder, stop=lambda: next(asked) >= steps)


@pytest.mark.parametrize("steps", [0, 5, 8])
def test_a_stopped_run_resumes_bit_by_bit(tmp_path: Path, steps: int, whole: dict[str, Any]) -> None:
    _, halted = stopped_after(tmp_path, steps)
    assert (halted.ended, halted.step) == ("stopped", steps)
    resumed, outcome = train(tmp_path)
    assert outcome.ended == "finished"
    assert same(weights(resumed), whole)


@pytest.mark.parametrize("forgotten", ["moments", "dropout"])
def test_a_run_that_forgets_something_resumes_as_another(
    tmp_path: Path, forgotten: str, whole: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mutation of the test above."""
    from services.trainer import checkpoints, run

    if forgotten == "moments":
        monkeypatch.setattr(checkpoints, "MOMENTS", ())
    else:
        drawn, seed_of = iter(range(1000)), run.seed_of
        # What the first five steps drew is drawn again by the next.
        monkeypatch.setattr(run, "seed_of", lambda seed, step: seed_of(seed, next(drawn) % 5))
    stopped_after(tmp_path, 5)
    resumed, _ = train(tmp_path)
    assert not same(weights(resumed), whole)


def test_another_runs_folder_is_refused_with_what_differs(tmp_path: Path) -> None:
    stopped_after(tmp_path, 2)
    with pytest.raises(InvalidRequest, match="another configuration") as caught:
        train(tmp_path, changed(CONFIG, optimiser=Optimiser(learning_rate=2e-2)))
    assert caught.value.data["differing"] == ["configuration"]
    with pytest.raises(InvalidRequest, match="another model"):
        train(tmp_path, name="mistral")


def test_a_batch_that_does_not_divide_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="doesn't divide into 3"):
        train(tmp_path, changed(CONFIG, micro_batch=3))


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_a_lost_run_stops_with_its_last_good_weights(
    tmp_path: Path, poison: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    from services.trainer import mntp

    good, _ = train(
        tmp_path / "good", changed(CONFIG, steps=4, optimiser=Optimiser(learning_rate=1e-2, decay_steps=STEPS))
    )
    computed, calls = mntp.hidden_loss, iter(range(1000))

    def hidden_loss(*args: Any, **about: Any) -> Any:
        # One call measures memory; two make a step. The sixth step is lost, and the fourth was kept.
        return computed(*args, **about) * (poison if next(calls) >= 11 else 1.0)

    monkeypatch.setattr(mntp, "hidden_loss", hidden_loss)
    config = changed(CONFIG, optimiser=Optimiser(learning_rate=1e-2, decay_steps=STEPS))
    lost, outcome = train(tmp_path / "lost", config)
    assert (outcome.ended, outcome.step) == ("diverged", 4)
    assert "the loss of step 6 is" in outcome.reason
    assert same(weights(lost), weights(good))


WAITING = ("_local_scalar_dense", "nonzero", "equal", "is_nonzero")
"""Operations whose answer the processor needs before it goes on."""


def counting(counted: list[str]) -> Any:
    """Inside it, every operation that waits for the device is added to ``counted``."""
    from torch.utils._python_dispatch import TorchDispatchMode

    def dispatch(self: Any, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        counted.extend(name for name in WAITING if operation.__name__.startswith(name))
        return operation(*args, **(kwargs or {}))

    mode: Any = type("Counting", (TorchDispatchMode,), {"__torch_dispatch__": dispatch})
    return mode()


@pytest.mark.parametrize("waiting", [False, True])
def test_nothing_waits_for_the_device_inside_a_step(
    tmp_path: Path, waiting: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second time with a mutation: a loss that is looked at."""
    from services.trainer import mntp

    computed = mntp.hidden_loss

    def hidden_loss(*args: Any, **about: Any) -> Any:
        loss = computed(*args, **about)
        assert not waiting or float(loss.detach()) > 0
        return loss

    monkeypatch.setattr(mntp, "hidden_loss", hidden_loss)
    counted: list[str] = []
    in_step: list[int] = []

    def stop() -> bool:
        in_step.append(len(counted))
        return False

    with counting(counted):
        train(tmp_path, changed(CONFIG, report_steps=100, checkpoint_steps=100), stop=stop)
    assert len(in_step) == STEPS
    assert (in_step[-1] > in_step[0]) == waiting


def test_progress_is_told_and_written_down(tmp_path: Path) -> None:
    told: list[Any] = []
    _, outcome = train(tmp_path, report=told.append)
    assert [progress.step for progress in told] == [2, 4, 6, 8, 10, 12]
    assert all(progress.tokens_per_s > 0 and progress.mfu is None for progress in told)
    assert told[-1].seconds_left == 0.0
    assert told[-1].loss == pytest.approx(np.mean(outcome.losses[-2:]))
    assert told[-1].learning_rate == pytest.approx(1e-2 / STEPS), "a line that ends at nothing one step later"
    written = [json.loads(line) for line in (tmp_path / "progress.jsonl").read_text().splitlines()]
    assert [line["step"] for line in written] == [2, 4, 6, 8, 10, 12]
    assert (tmp_path / "loss.svg").read_text().startswith("<svg")


def test_a_checkpoint_between_reports_is_in_neither_pace_nor_loss(tmp_path: Path) -> None:
    told: list[Any] = []
    config = changed(CONFIG, steps=8, report_steps=4, checkpoint_steps=3)
    _, outcome = train(tmp_path, config, report=told.append)
    assert told[-1].loss == pytest.approx(np.mean(outcome.losses[-4:]))


def test_weights_in_bfloat16_train_an_adapter_in_float32(tmp_path: Path) -> None:
    import torch

    from services.trainer import mntp

    _, exact = train(tmp_path / "float32")
    model = decoder("llama").to(torch.bfloat16)
    adapted, rounded = mntp.train(CONFIG, model, blocks(), MASKING, tmp_path / "bfloat16")
    assert {weight.dtype for weight in weights(adapted).values()} == {torch.float32}
    # At this rate, what is rounded once is soon far away.
    assert rounded.losses[:2] == pytest.approx(exact.losses[:2], rel=0.02)
    assert rounded.ended == "finished"


def test_computing_activations_twice_changes_no_weight(tmp_path: Path, whole: dict[str, Any]) -> None:
    import torch

    twice, _ = train(tmp_path, changed(CONFIG, gradient_checkpointing=True))
    for name, weight in whole.items():
        torch.testing.assert_close(weights(twice)[name], weight, rtol=1e-4, atol=1e-5)


@pytest.mark.soak
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's compiler uses what torch will drop
def test_a_compiled_decoder_loses_the_same(tmp_path: Path) -> None:
    """Minutes of a compiler's time."""
    # A compiled decoder draws other dropout from the same seed.
    config = changed(CONFIG, lora=Lora(dropout=0.0))
    _, plain = train(tmp_path / "plain", config)
    _, compiled = train(tmp_path / "compiled", changed(config, compiled=True))
    assert compiled.losses == pytest.approx(plain.losses, rel=0.01)
