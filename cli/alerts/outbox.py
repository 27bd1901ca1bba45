"""Alerts that are still to be sent, and the episodes: kept in the state folder, bounded, tried again with back-off."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace

from cli.alerts.deciding import Alert, Episode
from cli.alerts.sending import NotSent
from cli.alerts.targets import Target
from libs.shared.layout import StateFolder

MOST_WAITING = 100
FIRST_WAIT_S = 30.0
LONGEST_WAIT_S = 3600.0
GIVEN_UP_AFTER_S = 24 * 3600.0


@dataclass(frozen=True)
class Waiting:
    """One alert to one address."""

    alert: Alert
    target: Target
    since_s: float
    next_s: float
    tries: int = 0


@dataclass(frozen=True)
class Kept:
    """What outlives a restart."""

    episodes: dict[str, Episode] = field(default_factory=dict)
    waiting: list[Waiting] = field(default_factory=list)
    restarts: dict[str, int] = field(default_factory=dict)


def added(waiting: list[Waiting], alerts: list[Alert], targets: list[Target], now_s: float) -> list[Waiting]:
    """With the new ones behind; where there are too many the oldest leave."""
    new = [Waiting(alert, target, now_s, now_s) for alert in alerts for target in targets]
    return [*waiting, *new][-MOST_WAITING:]


def sent(
    waiting: list[Waiting], send: Callable[[Alert, Target], None], targets: list[Target], now_s: float
) -> list[Waiting]:
    """What is left after every one that is due was tried; an address that was removed gets nothing more."""
    left: list[Waiting] = []
    failed: set[Target] = set()
    for one in waiting:
        if one.target not in targets or now_s - one.since_s > GIVEN_UP_AFTER_S:
            continue
        if one.next_s > now_s or one.target in failed:  # in order, and one failure an address and look
            left.append(one)
            continue
        try:
            send(one.alert, one.target)
        except NotSent:
            failed.add(one.target)
            wait_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**one.tries)
            left.append(replace(one, tries=one.tries + 1, next_s=now_s + wait_s))
    return left


def read(folder: StateFolder) -> Kept:
    """Empty where there is nothing readable: an alert twice is better than none ever again."""
    try:
        said = json.loads(folder.alerts_state.read_text())
        return Kept(
            {key: Episode(**row) for key, row in said["episodes"].items()},
            [_waiting(row) for row in said["waiting"]][-MOST_WAITING:],
            {str(name): int(count) for name, count in said["restarts"].items()},
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return Kept()


def _waiting(row: dict[str, object]) -> Waiting:
    alert, target = row.pop("alert"), row.pop("target")
    return Waiting(Alert(**alert), Target(**target), **row)  # type: ignore[arg-type]


def write(folder: StateFolder, kept: Kept) -> None:
    """Replaces the file. Raises OSError."""
    aside = folder.alerts_state.with_name(folder.alerts_state.name + ".new")
    aside.write_text(json.dumps(asdict(kept)))
    aside.replace(folder.alerts_state)
