"""What goes to the process that replays, and what comes back."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from libs.shared.contracts.replaying_placements import Way


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Arrival(_Value):
    """A request that came; nothing says who asked, or what."""

    at: float
    """Seconds on the scheduler's clock."""
    model: str
    prompt_tokens: int
    max_tokens: int
    answer_tokens: float | None = None
    """That were really written; None: its end wasn't told, and the usual are taken."""
    lasting_tokens: int | None = None
    session: str = ""
    """A salted hash; empty: of no session."""


class Server(_Value):
    """A replica with one model, as its node is believed to work. Several models of a replica share its slots."""

    replica: str
    node: str
    model: str
    slots: int
    s_per_prompt_token: float
    s_per_answer_token: float
    answer_tokens: float
    caches_prefix: bool
    on_battery: bool = False


class ReplayJob(_Value):
    arrivals: tuple[Arrival, ...]
    servers: tuple[Server, ...]
    ways: tuple[Way, ...]


class Replayed(_Value):
    """By way, the seconds that each arrival took, in their order; None where nobody has its model any more."""

    seconds: tuple[tuple[float | None, ...], ...]
