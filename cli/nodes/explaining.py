"""``mongars nodes explain``: where a request or background work would run, and why nowhere else, in words. Pure."""

from __future__ import annotations

from cli.nodes import words
from libs.shared.contracts.scheduling import NO_ROOM, Considered, Explanation, Refused

TITLES = ("node", "replica", "first token", "end", "why")
ROOM_TITLES = ("node", "replica", "why")
WORK = {"embed": "vectors", "chat": "reading by a language model"}
"""What is done in the background, by the kind of model that it takes."""
_WHY = {
    "taken": "taken: it costs everybody the least",
    "later_completion": "done sooner elsewhere, or others would wait longer",
    "longer_queue": "more requests wait there",
    "not_serving": "it does not have the model",
    "adapter_not_here": "it does not have the adapter for this model",
    "unsupported": "its model can't do that",
    "remote": "its model answers beyond this network",
    "overloaded": "busy for longer than the request would wait",
    "draining": "it is being drained (mongars nodes undrain NODE ends that)",
    "breaker_open": "it failed several requests in a row, and is tried again in a moment",
    "silent": "unheard for some seconds: it is off, cut off, or its inference service is down",
}
_WHY_IN_BACKGROUND = _WHY | {
    "taken": "taken: it has room",
    "busy": "a request is at work there; after a minute such work goes there all the same",
    "recent_request": "a request was placed there just now, and the next may follow",
    "throttled": "the machine is held back; it is spared for ten minutes",
    "hot": "the machine is hot; it is spared for ten minutes",
    "on_battery": "its battery is being emptied; it is spared for ten minutes",
    "over_power_budget": "it draws more than its budget; it is spared for ten minutes",
    "passed_over": "it has room, and another has fewer jobs or got no request for longer",
}


def headline(told: Explanation, prompt_tokens: int, answer_tokens: int) -> str:
    """A sentence."""
    asked = f"{words.count(prompt_tokens)} tokens to read and at most {words.count(answer_tokens)} to write"
    model = told.model or "the default model"
    if told.refused is None:
        return f"{model}, {asked}: now on {told.node_id} (policy {told.policy})"
    return f"{model}, {asked}: now refused, {_refusal(told.refused)}"


def room_headline(told: Explanation, kind: str, waited_s: float) -> str:
    """A sentence on work in the background of ``kind``."""
    model = told.model or "the default model"
    waited = f" that has waited for {words.span(waited_s)}" if waited_s else ""
    asked = f"{model}, {WORK[kind]} in the background{waited}"
    if told.refused is None:
        return f"{asked}: now on {told.node_id}"
    state = "waits" if told.refused.code == NO_ROOM else "refused"
    return f"{asked}: now {state}, {_refusal(told.refused)}"


def _refusal(refused: Refused) -> str:
    after_s = refused.retry_after_s
    again = f"; again in {words.span(after_s)}" if after_s is not None else ""
    return f"{refused.code}: {refused.detail}{again}"


def rows(told: Explanation) -> list[tuple[str, ...]]:
    """One a replica, in the columns of ``TITLES``."""
    return [
        (c.node_id, c.replica or "-", _span(c.expected_first_s), _span(c.expected_s), _why(c)) for c in told.considered
    ]


def room_rows(told: Explanation) -> list[tuple[str, ...]]:
    """One a replica, in the columns of ``ROOM_TITLES``."""
    return [(c.node_id, c.replica or "-", _WHY_IN_BACKGROUND.get(c.reason, c.reason)) for c in told.considered]


def _why(considered: Considered) -> str:
    why = _WHY.get(considered.reason, considered.reason)
    if considered.loading_s:
        why += f"; the adapter is loaded first, {words.span(considered.loading_s)}"
    return why


def _span(seconds: float | None) -> str:
    return words.span(seconds) if seconds is not None else "-"
