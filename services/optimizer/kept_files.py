"""Small files of the optimizer's own: what can't be read is as if it weren't there."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from libs.shared.durable import write_private
from libs.shared.telemetry import get_logger

MOST_BYTES = 4 << 20
M = TypeVar("M", bound=BaseModel)

log = get_logger(__name__)


def read_kept(path: Path, model: type[M], otherwise: M) -> M:
    """What lies there; ``otherwise`` where nothing does, or nothing of use."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError("too large")
        return model.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return otherwise
    except (OSError, ValidationError, ValueError) as error:
        log.warning("kept_file_unread", file=path.name, reason=type(error).__name__)
        return otherwise


def write_kept(path: Path, value: BaseModel) -> None:
    """Nothing depends on it: a full disk costs what would have been remembered."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(path, value.model_dump_json().encode())
    except OSError as error:
        log.warning("kept_file_unwritten", file=path.name, reason=type(error).__name__)
