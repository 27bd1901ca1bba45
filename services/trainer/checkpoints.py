"""A run's state in one file that is either whole or the one before: written aside, synced, renamed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from libs.shared.durable import write_private
from libs.shared.errors import InvalidRequest, ModelBroken
from services.trainer.lora import Parameters

FILE = "checkpoint.safetensors"
MOMENTS = ("exp_avg", "exp_avg_sq")
"""What AdamW remembers of each parameter, beside the number of steps."""


@dataclass(frozen=True)
class State:
    """All that a run is, ``step`` steps in. Randomness isn't in it: that follows from the seed and the step.

    ``identity`` says what the run trains on what and how; a state resumes a run of the same identity alone.
    """

    step: int
    losses: list[float]
    identity: dict[str, str]


def write(folder: Path, state: State, parameters: Parameters, optimiser: torch.optim.Optimizer) -> None:
    """Replaces the folder's checkpoint; a machine that stops in the middle keeps the one before."""
    tensors = {f"weight/{name}": parameter.detach() for name, parameter in parameters.items()}
    for name, parameter in parameters.items():
        remembered = optimiser.state.get(parameter, {})
        tensors |= {f"{moment}/{name}": remembered[moment] for moment in MOMENTS if moment in remembered}
    tensors["losses"] = torch.tensor(state.losses, dtype=torch.float64)
    about = {"step": str(state.step), "identity": json.dumps(state.identity, sort_keys=True)}
    write_private(folder / FILE, save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, about))


def read(
    folder: Path, identity: dict[str, str], parameters: Parameters, optimiser: torch.optim.Optimizer
) -> State | None:
    """Puts the folder's checkpoint into ``parameters`` and ``optimiser``; None when there is none.

    Raises ModelBroken for a file that can't be read, InvalidRequest for another run's, and says in what it is another.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        with safe_open(path, "pt") as file:
            about = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        state = State(int(about["step"]), tensors.pop("losses").tolist(), json.loads(about["identity"]))
    except (OSError, SafetensorError, ValueError, LookupError, TypeError) as error:
        raise ModelBroken(f"{path} can't be read; remove it to begin again") from error
    _same(state.identity, identity, path)
    _restore(tensors, state.step, parameters, optimiser)
    return state


def _same(found: dict[str, str], asked: dict[str, str], path: Path) -> None:
    differing = sorted(key for key in found | asked if found.get(key) != asked.get(key))
    if differing:
        raise InvalidRequest(f"{path} is of a run with another {', another '.join(differing)}", differing=differing)


def _restore(tensors: dict[str, Tensor], step: int, parameters: Parameters, optimiser: torch.optim.Optimizer) -> None:
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[f"weight/{name}"])
            moments = {
                moment: tensors[f"{moment}/{name}"].to(parameter.device)
                for moment in MOMENTS
                if f"{moment}/{name}" in tensors
            }
            if moments:
                at = torch.tensor(float(step), device=parameter.device)
                optimiser.state[parameter] = {"step": at, **moments}
