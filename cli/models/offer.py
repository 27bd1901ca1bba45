"""The one question that ``up`` asks on a terminal where no language model is: whether to bring one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from cli.degraded import passing
from cli.errors import CommandError
from cli.installation import Installation, load, write_marker
from cli.models import pulling, serving, shelf, showing
from cli.models.pulling import Source
from cli.models.suggesting import Proposal, best, question
from cli.options import line

NO_MODEL = "no-model"
LATER = "mongars models pull"
_LIBRARY = "xllamacpp"
_QUOTING = "extractive: loading"
_YES = ("", "y", "yes", "o", "oui")
_NO = ("n", "no", "non")


@dataclass(frozen=True)
class Situation:
    """What decides whether to ask."""

    terminal: bool
    declined: bool
    degraded: Sequence[str]
    on_shelf: int
    """Models that lie in the folder: one that is broken, or being loaded, is no reason to bring another."""
    can_run: bool
    """Whether what runs GGUF files is installed."""


def worth_asking(situation: Situation) -> bool:
    """Pure. A model that is still being loaded, from wherever, will answer in a moment."""
    missing = NO_MODEL in situation.degraded and not situation.on_shelf and not loading(situation.degraded)
    return situation.terminal and missing and situation.can_run and not situation.declined


def loading(degraded: Sequence[str]) -> bool:
    """Whether a language model is, or a server of some looked for; the one that quotes isn't one."""
    return any(passing(word) and word != _QUOTING for word in degraded)


def offer(installation: Installation, source: Source, degraded: Sequence[str], *, terminal: bool) -> None:
    """Asks once, and brings the model on yes. What fails here is told, and never ends the installation."""
    situation = Situation(
        terminal=terminal,
        declined=installation.marker.model_declined,
        degraded=degraded,
        on_shelf=len(shelf.present(installation.folder.models)),
        can_run=find_spec(_LIBRARY) is not None,
    )
    if not worth_asking(situation):
        return
    try:
        _ask_and_bring(installation, source)
    except CommandError as error:
        line(f"No model was brought: {error.problem}")
        line(f"  later: {LATER}" + (f" ({error.remedy})" if error.remedy else ""))


def _ask_and_bring(installation: Installation, source: Source) -> None:
    folder = installation.folder.models
    folder.mkdir(mode=0o700, exist_ok=True)
    proposal = asyncio.run(best(folder, source, "chat"))
    line("\nNo language model is here yet. This one suits this machine, and would be brought from the hub:")
    line(question(proposal))
    wanted = _answered()
    if wanted is None:
        line(f"Not now. Later: {LATER}")
    elif wanted:
        _bring(installation, source, proposal)
    else:
        current = load(installation.folder.root)
        write_marker(current.folder, current.marker.model_copy(update={"model_declined": True}))
        line(f"It won't be asked again. Answers are quoted from memory; for a model later: {LATER}")


def _answered() -> bool | None:
    """None when the input ended without an answer."""
    while True:
        try:
            said = input("Bring it now? [Y/n] ").strip().lower()
        except EOFError:
            return None
        if said in _YES:
            return True
        if said in _NO:
            return False


def _bring(installation: Installation, source: Source, proposal: Proposal) -> None:
    show = showing.on_stderr(quiet=False)
    pulled = asyncio.run(pulling.from_hub(installation.folder.models, source, proposal.offered, show))
    line(f"Brought: {pulled.name} ({showing.size(pulled.size)}), as {pulled.vouched_by} vouches for it.")
    word = serving.bring_into_service(installation, pulled.name, already=pulled.already)
    if word is None:
        line(f"{pulled.name} answers from now on.")
    else:
        from cli.degraded import explained

        line(f"It is not served: {explained(f'{pulled.name}: {word}')} (see: mongars status)")
