"""A checkpoint is whole or the one before, and what can't be read is refused by its path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from libs.shared.errors import InvalidRequest, ModelBroken

pytestmark = pytest.mark.torch

IDENTITY = {"model": "m"}


def trained() -> tuple[dict[str, Any], Any]:
    import torch

    torch.manual_seed(0)
    parameters = {"w": torch.nn.Parameter(torch.randn(4, 3)), "unused": torch.nn.Parameter(torch.ones(2))}
    optimiser = torch.optim.AdamW(list(parameters.values()), fused=True)
    torch.autograd.backward(parameters["w"].sum())
    optimiser.step()
    return parameters, optimiser


def written(folder: Path, step: int = 1) -> dict[str, Any]:
    from services.trainer.checkpoints import State, write

    parameters, optimiser = trained()
    write(folder, State(step, [0.5], IDENTITY), parameters, optimiser)
    return parameters


def restored(folder: Path, identity: dict[str, str] = IDENTITY) -> tuple[Any, dict[str, Any], Any]:
    import torch

    from services.trainer.checkpoints import read

    parameters = {"w": torch.nn.Parameter(torch.zeros(4, 3)), "unused": torch.nn.Parameter(torch.zeros(2))}
    optimiser = torch.optim.AdamW(list(parameters.values()), fused=True)
    return read(folder, identity, parameters, optimiser), parameters, optimiser


def test_everything_comes_back(tmp_path: Path) -> None:
    parameters = written(tmp_path)
    state, found, optimiser = restored(tmp_path)
    assert (state.step, state.losses) == (1, [0.5])
    assert all(found[name].equal(parameters[name]) for name in found)
    assert optimiser.state[found["w"]]["step"] == 1
    assert found["unused"] not in optimiser.state


def test_no_checkpoint_is_no_fault(tmp_path: Path) -> None:
    assert restored(tmp_path)[0] is None


def test_a_write_that_was_cut_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, step=1)
    monkeypatch.setattr(Path, "replace", lambda self, target: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        written(tmp_path, step=2)
    assert (tmp_path / "checkpoint.safetensors.new").exists()
    assert restored(tmp_path)[0].step == 1


@pytest.mark.parametrize("damage", ["cut", "emptied", "of something else"])
def test_a_damaged_file_is_refused_by_its_path(tmp_path: Path, damage: str) -> None:
    written(tmp_path)
    path = tmp_path / "checkpoint.safetensors"
    content = path.read_bytes()
    if damage == "of something else":
        from safetensors.numpy import save

        path.write_bytes(save({}))
    else:
        path.write_bytes(content[: len(content) // 2] if damage == "cut" else b"")
    with pytest.raises(ModelBroken, match=r"checkpoint\.safetensors can't be read; remove it"):
        restored(tmp_path)


def test_another_models_checkpoint_is_refused(tmp_path: Path) -> None:
    written(tmp_path)
    with pytest.raises(InvalidRequest, match="another data, another model"):
        restored(tmp_path, {"model": "other", "data": "d"})
