"""The one model to propose to whoever has none: by the catalogue, this machine as it is now, and the hub's own word."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cli.errors import CommandError, Exit
from cli.models import catalogue, machine, pulling, shelf, showing
from cli.models import part as parts
from cli.models.catalogue import SuggestedRole, Suggestion
from cli.models.pulling import Offered, Source
from cli.models.reference import Reference
from libs.shared.roles import Role


@dataclass(frozen=True)
class Proposal:
    """A model that fits, with its size and licence as the hub has them; ``here`` bytes of it came in an earlier try."""

    suggestion: Suggestion
    offered: Offered
    here: int = 0

    @property
    def licence(self) -> str:
        return self.offered.repository.licence or f"{self.suggestion.licence}, by our own list"


async def best(folder: Path, source: Source, role: Role) -> Proposal:
    """Raises CommandError when nothing fits, or the hub can't be reached."""
    wanted = _suggested(role)
    here = machine.look_at(folder)
    choice = catalogue.suggest(wanted, here, catalogue.catalogue())
    refused = dict(choice.refused)
    # one that an earlier try began goes before a better one
    for suggestion in sorted(choice.fitting, key=lambda one: not shelf.part_path(folder, one.file).exists()):
        offered = await pulling.look(source, Reference(suggestion.repository, suggestion.file))
        reason = catalogue.misfit(suggestion, here, offered.size)
        if reason is None:
            return Proposal(suggestion, offered, _begun(folder, offered))
        refused[suggestion.file] = reason
    smallest = next(reversed(refused.items()), ("", "there is nothing for it"))
    raise CommandError(
        f"no model of the list fits this machine now: {smallest[0]} {smallest[1]}",
        "free some memory or disk, or name one yourself: mongars models pull OWNER/NAME:FILE",
        code=Exit.REFUSED,
    )


def question(proposal: Proposal) -> str:
    """What is shown before the download: name, licence, size and source."""
    suggestion, offered = proposal.suggestion, proposal.offered
    begun = f" ({showing.size(proposal.here)} of it are here already)" if proposal.here else ""
    return (
        f"  model    {suggestion.name} ({suggestion.parameters} parameters)\n"
        f"  licence  {proposal.licence}\n"
        f"  size     {showing.size(offered.size)}{begun}\n"
        f"  source   {offered.repository.name}, {offered.files[0].name}"
    )


def _suggested(role: Role) -> SuggestedRole:
    if role == "embed":
        raise CommandError(
            "an embedder is built in, and the hub's GGUF files of embedders aren't used",
            "to add another: mongars embedders add PATH",
            code=Exit.USAGE,
        )
    return role


def _begun(folder: Path, offered: Offered) -> int:
    """Bytes that lie there from an earlier try, of whatever revision: an answer for people."""
    found = 0
    for file in offered.files:
        path = shelf.part_path(folder, shelf.file_name(file.name.rsplit("/", 1)[-1]))
        if parts.known_path(path).exists() and path.exists():
            found += path.stat().st_size
    return found
