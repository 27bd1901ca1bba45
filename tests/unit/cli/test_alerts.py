"""Alerts: one an episode, one when it is over, and what can't be sent waits, bounded."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.alerts import outbox, targets
from cli.alerts.conditions import DiskFact, Facts, NodeFact, conditions
from cli.alerts.deciding import Alert, Condition, Episode, decide
from cli.alerts.outbox import Kept, Waiting
from cli.alerts.sending import NotSent, request
from cli.alerts.targets import Target
from cli.errors import CommandError
from libs.shared.layout import StateFolder

FULL = Condition("disk", "The disk is nearly full", "9 MiB", urgent=True)
NTFY = Target("http://127.0.0.1:9/house")


def looks(*seen: bool) -> list[list[bool]]:
    """For each look: ``resolved`` of every alert that it sent."""
    episodes: dict[str, Episode] = {}
    told = []
    for now in seen:
        episodes, alerts = decide(episodes, {"disk": FULL} if now else {})
        told.append([alert.resolved for alert in alerts])
    return told


def test_an_episode_is_told_once_and_its_end_once() -> None:
    yes, no = True, False
    assert looks(yes, yes, yes, yes, no, no, no, no) == [[], [False], [], [], [], [], [True], []]


def test_what_is_seen_once_is_not_told() -> None:
    assert looks(True, False, True, False, False) == [[], [], [], [], []]


def test_what_comes_back_before_it_is_over_is_the_same_episode() -> None:
    assert looks(True, True, False, False, True, False, False, False) == [[], [False], [], [], [], [], [], [True]]


def test_a_disk_has_to_be_clearly_emptier_before_it_is_over() -> None:
    def key(free_mib: float, *raised: str) -> list[str]:
        return list(conditions(Facts(disks=(DiskFact("", free_mib, 10_000),), nodes=()), raised))

    assert key(600) == []
    assert key(500) == ["disk"]
    assert key(600, "disk") == ["disk"]
    assert key(700, "disk") == []


def test_heat_is_over_only_when_it_is_clearly_cooler() -> None:
    def keys(temperature_c: float, *raised: str) -> list[str]:
        return list(conditions(Facts(nodes=(NodeFact("pi", False, temperature_c),)), raised))

    assert keys(84) == []
    assert keys(86) == ["heat:pi"]
    assert keys(80, "heat:pi") == ["heat:pi"]
    assert keys(77, "heat:pi") == []


def test_every_kind_of_trouble_has_its_condition() -> None:
    facts = Facts(
        disks=(DiskFact("", 1, 1000), DiskFact("models", 2, 1000), DiskFact("logs", 900, 1000)),
        nodes=(NodeFact("lost", True), NodeFact("weak", False, 40.0, throttled=True)),
        restarts={"api": 3, "scheduler": 2},
        failed_duties={"backup": "the disk is full"},
        certificate_days=3,
    )
    found = conditions(facts, ())
    assert set(found) == {"disk", "disk:models", "node:lost", "heat:weak", "service:api", "backup", "certificate"}
    assert all(condition.title and condition.text for condition in found.values())
    assert "disk is full" not in found["backup"].text, "a duty's words may name somebody's folder"


def test_nodes_that_nobody_can_be_asked_about_stay_as_they_were() -> None:
    assert set(conditions(Facts(nodes=None), ["node:pi", "disk"])) == {"node:pi"}


def alert(text: str = "9 MiB") -> Alert:
    return Alert("disk", "The disk is nearly full", text, urgent=True, resolved=False)


def test_what_is_not_sent_waits_longer_each_time_and_in_order() -> None:
    sent: list[str] = []

    def refuse(_alert: Alert, _target: Target) -> None:
        raise NotSent("away")

    waiting = outbox.added([], [alert("one"), alert("two")], [NTFY], 0.0)
    waiting = outbox.sent(waiting, refuse, [NTFY], 0.0)
    assert [(one.tries, one.next_s) for one in waiting] == [(1, 30.0), (0, 0.0)]
    waiting = outbox.sent(waiting, refuse, [NTFY], 30.0)
    assert waiting[0].next_s == 90.0
    waiting = outbox.sent(waiting, lambda one, _target: sent.append(one.text), [NTFY], 100.0)
    assert waiting == []
    assert sent == ["one", "two"]


def test_the_outbox_is_bounded_and_drops_the_oldest() -> None:
    waiting = outbox.added([], [alert(str(n)) for n in range(250)], [NTFY], 0.0)
    assert len(waiting) == outbox.MOST_WAITING
    assert waiting[-1].alert.text == "249"


def test_a_removed_address_gets_nothing_more() -> None:
    waiting = outbox.added([], [alert()], [NTFY], 0.0)
    assert outbox.sent(waiting, lambda *_: pytest.fail("sent"), [], 0.0) == []


def test_what_is_kept_is_read_as_it_was_written(tmp_path: Path) -> None:
    kept = Kept({"disk": Episode("t", 2, 0, True)}, [Waiting(alert(), NTFY, 1.0, 2.0, 1)], {"api": 2})
    outbox.write(StateFolder(tmp_path), kept)
    assert outbox.read(StateFolder(tmp_path)) == kept
    (tmp_path / "alerts-state.json").write_text('{"episodes": 1}')
    assert outbox.read(StateFolder(tmp_path)) == Kept()


def test_ntfys_headers_say_what_the_text_does_not() -> None:
    asked = request(alert(), NTFY, "secret")
    assert asked.data == b"9 MiB"
    assert asked.get_header("Title") == "monGARS: The disk is nearly full"
    assert (asked.get_header("Priority"), asked.get_header("Tags")) == ("5", "warning,mongars")
    assert asked.get_header("Authorization") == "Bearer secret"


@pytest.mark.parametrize("url", ["ftp://x/y", "not an address", "https://user:secret@host/x", "http://"])
def test_an_address_that_can_take_no_alert_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(CommandError) as refused:
        targets.checked(url, None, "ntfy", None)
    assert "secret" not in refused.value.problem + refused.value.remedy


def test_addresses_are_kept_private_and_read_again(tmp_path: Path) -> None:
    target = targets.checked("https://ntfy.example/", "house", "ntfy", None)
    targets.write(StateFolder(tmp_path), [target])
    assert targets.read(StateFolder(tmp_path)) == [Target("https://ntfy.example/house")]
