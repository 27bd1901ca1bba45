"""Where a session's prompt was read last: the replica that still has it needs not read it again."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from libs.shared.contracts.scheduling import PlaceRequest

SESSIONS = 4096
"""Sessions that are remembered; a forgotten one is only slower."""


def reading(request: PlaceRequest) -> str | None:
    """Whose prompt it is: what was read with one adapter is of no use to another, and it is as of another session."""
    if request.session is None or request.adapter is None:
        return request.session
    return f"{request.session}:{request.adapter}"


class Warm(NamedTuple):
    """A replica, and how many tokens of the session it has read or written."""

    replica: str
    tokens: float


class Sessions:
    """A replica keeps as many prompts as it has slots: each further session that is placed there takes one away."""

    def __init__(self) -> None:
        self._warm: dict[str, Warm] = {}
        self._latest: dict[str, deque[str]] = {}

    def get(self, session: str | None) -> Warm | None:
        """Where ``session`` is warm, if anywhere."""
        return self._warm.get(session) if session else None

    def placed(self, session: str | None, replica: str, slots: int, tokens: float) -> None:
        """``session`` goes to ``replica``, which will then have ``tokens`` of it; None is a request of no session."""
        latest = self._latest.setdefault(replica, deque())
        if session:
            self._forget(session)
            self._warm[session] = Warm(replica, tokens)
        latest.append(session or "")
        while len(latest) > slots:
            self._dropped(latest.popleft(), replica)
        while len(self._warm) > SESSIONS:
            self._forget(next(iter(self._warm)))

    def gone(self, replica: str) -> None:
        """The replica is no more, or began anew."""
        for session in self._latest.pop(replica, ()):
            self._dropped(session, replica)

    def _dropped(self, session: str, replica: str) -> None:
        warm = self._warm.get(session)
        if warm is not None and warm.replica == replica and session not in self._latest.get(replica, ()):
            del self._warm[session]

    def _forget(self, session: str) -> None:
        warm = self._warm.pop(session, None)
        latest = self._latest.get(warm.replica) if warm else None
        if latest is not None and session in latest:
            latest.remove(session)
