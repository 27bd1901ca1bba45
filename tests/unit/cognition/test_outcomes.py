"""Outcomes: what the scheduler is told of a placed request, and what would tell it nothing."""

from __future__ import annotations

from typing import cast

from libs.shared.bus.base import Bus
from libs.shared.contracts.common import Usage
from libs.shared.contracts.scheduling import OUTCOME, Outcome, Placement, Ticket
from libs.shared.contracts.telemetry import ServedModel
from libs.shared.errors import (
    AdapterBroken,
    AdapterMismatched,
    AdapterNotFound,
    ContextExceeded,
    ModelDoesNotFit,
    Unavailable,
)
from services.cognition.outcomes import FEWEST_TOKENS, Outcomes, Writing, is_of_the_replica, reason_of

TICKET = Ticket(scheduler="one", number=7)
USAGE = Usage(prompt_tokens=5, completion_tokens=20)


def test_only_the_waiting_for_tokens_after_the_first_counts() -> None:
    writing = Writing()
    writing.came(9.0, None)
    writing.came(0.5, None)
    writing.came(0.25, USAGE)
    assert (writing.seconds, writing.tokens, writing.told) == (0.75, 20, True)


def test_a_short_answer_tells_nothing() -> None:
    writing = Writing()
    writing.came(0.1, Usage(prompt_tokens=5, completion_tokens=FEWEST_TOKENS - 1))
    assert not writing.told
    assert not Writing().told


class Told:
    """Keeps what was broadcast."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []

    async def broadcast(self, subject: object, outcome: Outcome) -> None:
        assert subject is OUTCOME
        self.outcomes.append(outcome)


def placement(kind: str = "chat", ticket: Ticket | None = TICKET) -> Placement:
    served = ServedModel.model_validate({"name": "llama", "backend": "llama_cpp", "context_tokens": 2048, "kind": kind})
    return Placement(node_id="a", replica="a-0", model=served, policy="expected_completion", ticket=ticket)


async def test_every_end_of_a_counted_request_is_told_with_its_ticket() -> None:
    told = Told()
    outcomes = Outcomes(cast(Bus, told))
    await outcomes.succeeded(placement())
    await outcomes.failed(placement(), Unavailable("gone"))
    await outcomes.failed(placement(), ContextExceeded("too long"))
    assert [(o.ok, o.ticket) for o in told.outcomes] == [(True, TICKET), (False, TICKET), (None, TICKET)]


async def test_a_success_that_tells_nothing_is_not_told() -> None:
    told = Told()
    outcomes = Outcomes(cast(Bus, told))
    await outcomes.succeeded(placement("embed"))
    await outcomes.succeeded(placement(ticket=None))
    await outcomes.failed(placement(ticket=None), ContextExceeded("too long"))
    assert told.outcomes == []


def test_what_is_wrong_with_an_adapter_is_tried_elsewhere_and_no_failure_of_the_replica() -> None:
    for error in (AdapterNotFound, AdapterBroken, AdapterMismatched, ModelDoesNotFit):
        assert is_of_the_replica(error("no"))
        assert reason_of(error("no")) == "refused"
