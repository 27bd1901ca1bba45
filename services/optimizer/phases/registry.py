"""Which phases this installation has, and the functions that are them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib import import_module
from importlib.util import find_spec

from libs.shared.contracts.sleep import Phase
from services.optimizer.phases.base import PhaseReport, PhaseWork

Propose = Callable[[PhaseWork], Awaitable[PhaseReport]]


def _module(phase: Phase) -> str:
    return f"{__package__}.{phase.value}"


def available() -> tuple[Phase, ...]:
    """In their order."""
    return tuple(phase for phase in Phase if find_spec(_module(phase)) is not None)


def load(phase: Phase) -> Propose:
    """Imported as late as it begins: the optimizer waits small."""
    propose: Propose = import_module(_module(phase)).propose
    return propose
