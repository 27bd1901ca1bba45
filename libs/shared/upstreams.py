"""The servers of models that were added to an installation, as the command line keeps them and inference reads them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

NAME = r"^[a-z0-9][a-z0-9-]{0,39}$"


class AddedUpstream(BaseModel):
    """One server. Its key lies beside the installation's other keys, under the same name."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str = Field(pattern=NAME)
    backend: Literal["openai", "ollama"]
    url: str = Field(pattern=r"^https?://\S+$")
    """As it is asked, with its `/v1` where it has one; it holds no secret."""
    models: tuple[str, ...] = ()
    """These of its models alone; none: all that it lists."""
    key: bool = False
    """Whether it is asked with a key."""


_LIST = TypeAdapter(tuple[AddedUpstream, ...])


def read(path: Path) -> tuple[AddedUpstream, ...]:
    """Raises ValueError when the file can't be understood, OSError when it can't be read; none where there is none."""
    try:
        return _LIST.validate_json(path.read_bytes())
    except FileNotFoundError:
        return ()


def text_of(upstreams: tuple[AddedUpstream, ...]) -> bytes:
    """What ``read`` reads."""
    return _LIST.dump_json(upstreams, indent=2) + b"\n"


@dataclass(frozen=True)
class Found:
    """What a trial found: a server that answered. The trial prints it as JSON, and the command reads it."""

    backend: str
    url: str
    remote: bool
    models: tuple[str, ...]
    """As they will be offered."""
    remote_models: tuple[str, ...]
    answered: str
    seconds: float
    """From the question to the end of the answer."""
