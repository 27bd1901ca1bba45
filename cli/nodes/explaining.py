"""``mongars nodes explain``: where a request would run, and why nowhere else, in words for people. Pure."""

from __future__ import annotations

from cli.nodes import words
from libs.shared.contracts.scheduling import Considered, Explanation

TITLES = ("node", "replica", "first token", "end", "why")
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


def headline(told: Explanation, prompt_tokens: int, answer_tokens: int) -> str:
    """A sentence."""
    asked = f"{words.count(prompt_tokens)} tokens to read and at most {words.count(answer_tokens)} to write"
    model = told.model or "the default model"
    if told.refused is None:
        return f"{model}, {asked}: now on {told.node_id} (policy {told.policy})"
    after_s = told.refused.retry_after_s
    again = f"; again in {words.span(after_s)}" if after_s is not None else ""
    return f"{model}, {asked}: now refused, {told.refused.code}: {told.refused.detail}{again}"


def rows(told: Explanation) -> list[tuple[str, ...]]:
    """One a replica, in the columns of ``TITLES``."""
    return [
        (c.node_id, c.replica or "-", _span(c.expected_first_s), _span(c.expected_s), _why(c)) for c in told.considered
    ]


def _why(considered: Considered) -> str:
    why = _WHY.get(considered.reason, considered.reason)
    if considered.loading_s:
        why += f"; the adapter is loaded first, {words.span(considered.loading_s)}"
    return why


def _span(seconds: float | None) -> str:
    return words.span(seconds) if seconds is not None else "-"
