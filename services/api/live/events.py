"""A live event, who may see it, and how it is written. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from libs.shared.contracts.base import Message
from libs.shared.contracts.common import Role
from libs.shared.contracts.events import DATA, EventType
from services.api.access import Caller

_OPERATORS = frozenset({Role.OPERATOR, Role.ADMIN})


@dataclass(frozen=True, slots=True)
class Happened:
    """Something to be told."""

    type: EventType
    data: Message
    users: frozenset[str] | None = frozenset()
    """Who may see it besides operators, by id; None: everybody."""
    about: str | None = None
    """Of the same type, a later one about the same makes this one worthless; None: each counts."""

    def __post_init__(self) -> None:
        if type(self.data) is not DATA[self.type]:
            raise TypeError(f"{self.type} says {DATA[self.type].__name__}")


def may_see(caller: Caller, event: Happened) -> bool:
    """Operators see everything that is told here; others what is everybody's, or theirs."""
    return event.users is None or caller.role in _OPERATORS or caller.user_id in event.users


def written(event: Happened, event_id: str | None = None) -> bytes:
    """As server-sent events are written; without an id where it isn't to be asked for again."""
    head = f"id: {event_id}\n" if event_id is not None else ""
    return f"{head}event: {event.type.value}\ndata: {event.data.model_dump_json()}\n\n".encode()
