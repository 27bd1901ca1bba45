"""What other optimizers told that they tried and kept: the newest of each, bounded, and kept over a restart."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel

from libs.shared.contracts.sleep import Kept, Optimisation, Tried
from services.optimizer.kept_files import read_kept, write_kept

MOST_NODES = 16


class Known(BaseModel):
    """By node."""

    nodes: dict[str, Optimisation] = {}


def merged(known: Mapping[str, Optimisation], told: Optimisation, own: str) -> dict[str, Optimisation]:
    """With what was told, where it is another's and newer than what is known of it; of too many nodes the one heard
    longest ago makes room. Pure."""
    before = known.get(told.node)
    if told.node == own or (before is not None and not _newer(told, before)):
        return dict(known)
    found = {**known, told.node: told}
    while len(found) > MOST_NODES:
        del found[min(found, key=lambda node: found[node].at)]
    return found


def _newer(told: Optimisation, before: Optimisation) -> bool:
    if told.boot == before.boot:
        return told.sequence > before.sequence
    return told.at > before.at


def to_begin_from(known: Mapping[str, Optimisation]) -> tuple[Tried, ...]:
    """What others kept, and then what else they tried; the newest first, each value of a setting once. Pure."""
    newest = sorted(known.values(), key=lambda one: (one.at, one.node), reverse=True)
    kept = [_as_tried(one) for told in newest for one in told.kept]
    rest = [one for told in newest for one in told.tried]
    found: dict[str, Tried] = {}
    for one in (*kept, *rest):
        found.setdefault(f"{one.key}={one.value!r}", one)
    return tuple(found.values())


def _as_tried(kept: Kept) -> Tried:
    return Tried(key=kept.key, value=kept.value, measured=kept.measured, proposed=True, change_id=kept.change_id)


class Others:
    """The file beside what is heard."""

    def __init__(self, own: str, path: Path) -> None:
        self._own = own
        self._path = path
        self._known = read_kept(path, Known, Known()).nodes

    def __len__(self) -> int:
        return len(self._known)

    async def told(self, told: Optimisation) -> None:
        """OPTIMISATION."""
        found = merged(self._known, told, self._own)
        if found != self._known:
            self._known = found
            write_kept(self._path, Known(nodes=found))

    @property
    def tried(self) -> tuple[Tried, ...]:
        return to_begin_from(self._known)
