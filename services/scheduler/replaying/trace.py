"""The requests of late as numbers: bounded, in memory alone, and of nobody that could be told."""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b
from secrets import token_bytes

from libs.shared.contracts.scheduling import Outcome, Placed, PlaceRequest
from services.scheduler.candidates import Candidate, most_answer
from services.scheduler.replaying.exchange import Arrival, Server

MOST_REQUESTS = 4000
TicketKey = tuple[str, int]


class Trace:
    """Sessions are known by a hash whose salt this process alone has. Belongs to one event loop."""

    def __init__(self) -> None:
        self._salt = token_bytes(16)
        self._arrivals: OrderedDict[TicketKey, Arrival] = OrderedDict()

    @property
    def arrivals(self) -> tuple[Arrival, ...]:
        """The oldest first."""
        return tuple(self._arrivals.values())

    def placed(self, request: PlaceRequest, placed: Placed, now: float) -> None:
        """One that somebody waits for. A second copy of one, or a second try, is none of its own."""
        if request.kind != "chat" or request.first_within_s is not None or request.exclude:
            return
        self._arrivals[_key(placed)] = Arrival(
            at=now,
            model=placed.model,
            prompt_tokens=request.prompt_tokens,
            max_tokens=most_answer(request),
            lasting_tokens=request.lasting_tokens,
            session=self._hashed(request.session),
        )
        while len(self._arrivals) > MOST_REQUESTS:
            self._arrivals.popitem(last=False)

    def ended(self, outcome: Outcome) -> None:
        """How long its answer was."""
        if outcome.ticket is None or outcome.completion_tokens is None:
            return
        key = (outcome.ticket.scheduler, outcome.ticket.number)
        if (known := self._arrivals.get(key)) is not None:
            self._arrivals[key] = known.model_copy(update={"answer_tokens": float(outcome.completion_tokens)})

    def _hashed(self, session: str | None) -> str:
        return blake2b(session.encode(), key=self._salt, digest_size=8).hexdigest() if session else ""


def _key(placed: Placed) -> TicketKey:
    return placed.ticket.scheduler, placed.ticket.number


def server_of(candidate: Candidate) -> Server:
    """As it is reckoned now."""
    return Server(
        replica=candidate.replica.replica,
        node=candidate.node.node_id,
        model=candidate.model.name,
        slots=candidate.slots,
        s_per_prompt_token=candidate.s_per_prompt_token,
        s_per_answer_token=candidate.s_per_answer_token,
        answer_tokens=candidate.answer_tokens,
        caches_prefix=candidate.model.caches_prefix,
        on_battery=candidate.node.on_battery,
    )
