"""What ``mongars events`` reads, and how it says it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from cli.commands import events
from cli.errors import CommandError, Exit
from cli.gateway import Gateway
from cli.installation import Installation
from cli.own_key import OwnKey
from libs.shared.contracts.events import AdapterChange, AdapterChanged, EventType, Lost
from libs.shared.contracts.training import RunProgress, RunProgressed, RunState
from services.api.live.events import Happened, written
from tests.unit.api.test_training import RUN
from tests.unit.cli.small_gateway import SmallGateway, serving

INSTALLATION: Installation = None  # type: ignore[assignment] # a key that never asks it for anything
KEY = OwnKey(INSTALLATION, None, "test", "mgk_x")
PROGRESS = RunProgress(phase="mntp", step=3, steps=9, tokens_per_s=80.0, mfu=0.42, seconds_left=30.0)
STREAM = (
    b"retry: 2000\n\n: still here\n\n"
    + written(Happened(EventType.RUN_CHANGED, RUN), "b.1")
    + written(
        Happened(
            EventType.RUN_PROGRESSED, RunProgressed(run_id="r1", state=RunState.RUNNING, progress=PROGRESS), about="r1"
        ),
        "b.2",
    )
    + written(
        Happened(
            EventType.ADAPTER_CHANGED,
            AdapterChanged(adapter="ada", change=AdapterChange.CANARY, role="chat", share=0.25),
        ),
        "b.3",
    )
    + written(Happened(EventType.LOST, Lost(reason="slow")))
)


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallGateway]:
    with serving(lambda *asked: (200, STREAM)) as server:

        @contextmanager
        def own_gateway(*_: Any, all_rights: bool) -> Iterator[Gateway]:
            assert all_rights, "a key of a plain user would be told of no run"
            yield Gateway(server.server_address[1], KEY)

        monkeypatch.setattr(events, "own_gateway", own_gateway)
        yield server


def test_what_happens_is_said_a_line_each(gateway: SmallGateway, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CommandError) as ended:
        events.events(None, None, None, False)
    assert ended.value.code == Exit.NOT_RUNNING
    run, progress, adapter, lost = capsys.readouterr().out.splitlines()
    assert run == "run r1: queued"
    assert progress == ("run r1: masked next-token prediction, 3/9, 80 tokens/s, 42 % of the peak, 30 s left")
    assert adapter == "adapter ada: canary for 25% of chat"
    assert "mongars train status" in lost


def test_for_scripts_each_event_is_a_json_object(gateway: SmallGateway, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CommandError):
        events.events(["run.changed"], None, None, True)
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(one["id"], one["type"]) for one in told] == [
        ("b.1", "run.changed"),
        ("b.2", "run.progressed"),
        ("b.3", "adapter.changed"),
        (None, "lost"),
    ]
    assert told[0]["data"]["state"] == "queued"
    assert gateway.asked == [("GET", "/api/v1/events", {"type": "run.changed"})]
