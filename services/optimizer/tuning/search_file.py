"""The trials of a search that isn't over, in a file: weights and values alone, nothing of what was asked."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from libs.shared.contracts.replay import Evidence
from libs.shared.contracts.runtime_settings import RuntimeSettings
from libs.shared.durable import write_private
from services.optimizer.tuning.attempts import Attempt

FILE = "search.json"


class SearchFile(BaseModel):
    """``of`` says of which questions and settings the values are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    of: str
    done: tuple[Attempt, ...] = ()


def search_of(evidence: Sequence[Evidence], settings: RuntimeSettings, seed: int) -> str:
    """The same for the same questions, settings and seed; nothing else can be told from it."""
    said = "\0".join((settings.model_dump_json(), str(seed), *sorted(one.turn_id for one in evidence)))
    return sha256(said.encode()).hexdigest()


def resumed(folder: Path, of: str) -> tuple[Attempt, ...]:
    """The trials of that search; none where there are none, or the file is another's or damaged."""
    try:
        kept = SearchFile.model_validate_json((folder / FILE).read_bytes())
    except (OSError, ValidationError):
        return ()
    return kept.done if kept.of == of else ()


def keep(folder: Path, of: str, done: Sequence[Attempt]) -> None:
    """Whole or not at all."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(folder / FILE, SearchFile(of=of, done=tuple(done)).model_dump_json().encode())


def clear(folder: Path) -> None:
    """The search is over."""
    (folder / FILE).unlink(missing_ok=True)
