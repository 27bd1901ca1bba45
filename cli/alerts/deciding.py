"""Which alerts to send: pure, from what was known and what is seen now. One an episode, and one when it is over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

LOOKS_TO_RAISE = 2
"""What is seen once may be over before anybody reads of it."""
LOOKS_TO_RESOLVE = 3
MOST_EPISODES = 200


@dataclass(frozen=True)
class Condition:
    """Something that is wrong now. ``key`` names the episode: the same as long as it is the same trouble."""

    key: str
    title: str
    text: str
    urgent: bool = False


@dataclass(frozen=True)
class Episode:
    """A trouble that was seen: for how many looks in a row, and for how many it has been gone."""

    title: str
    seen: int = 0
    gone: int = 0
    raised: bool = False


@dataclass(frozen=True)
class Alert:
    """What is to be sent."""

    key: str
    title: str
    text: str
    urgent: bool
    resolved: bool


def decide(
    episodes: Mapping[str, Episode], conditions: Mapping[str, Condition]
) -> tuple[dict[str, Episode], list[Alert]]:
    """The episodes after this look, and what to send because of it."""
    after: dict[str, Episode] = {}
    alerts: list[Alert] = []
    for key in sorted({*episodes, *conditions}):
        before, now = episodes.get(key), conditions.get(key)
        if now is not None:
            after[key] = _seen(before or Episode(now.title), now, alerts)
        elif before is not None and (left := _gone(key, before, alerts)) is not None:
            after[key] = left
    return dict(list(after.items())[:MOST_EPISODES]), alerts


def _seen(before: Episode, now: Condition, alerts: list[Alert]) -> Episode:
    seen = before.seen + 1
    if before.raised or seen < LOOKS_TO_RAISE:
        return replace(before, seen=seen, gone=0)
    alerts.append(Alert(now.key, now.title, now.text, now.urgent, resolved=False))
    return replace(before, seen=seen, gone=0, raised=True)


def _gone(key: str, before: Episode, alerts: list[Alert]) -> Episode | None:
    """None: the episode is over."""
    if not before.raised:
        return None
    gone = before.gone + 1
    if gone < LOOKS_TO_RESOLVE:
        return replace(before, gone=gone)
    alerts.append(Alert(key, before.title, "It is over.", urgent=False, resolved=True))
    return None
