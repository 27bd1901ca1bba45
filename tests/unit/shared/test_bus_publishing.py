"""What a publisher is told by a broker that doesn't confirm, and how long what fails holds up what follows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from libs.shared.bus import jetstream
from libs.shared.bus.consumer import backoff_s
from libs.shared.bus.jetstream import Epochs, JetStreamApi, Publisher
from libs.shared.bus.wire import decode
from libs.shared.contracts.common import SealedText
from libs.shared.contracts.indexing import INDEX_REQUESTED
from libs.shared.contracts.turns import TURN_COMPLETED
from libs.shared.errors import InvalidRequest, ServiceError, StorageFull, TimedOut, Unavailable
from tests.support.conversations import turn


class SilentBroker(JetStreamApi):
    """Confirms nothing; ``informs`` says whether it still tells about its streams."""

    def __init__(self, silence: ServiceError, *, informs: bool) -> None:
        self._silence = silence
        self._informs = informs

    async def store(self, subject: str, body: bytes, headers: Mapping[str, str], **_: Any) -> dict[str, Any]:
        raise self._silence

    async def ask(self, verb: str, body: Mapping[str, Any] | None = None, *, timeout_s: float = 1.0) -> Any:
        if not self._informs:
            raise TimedOut("no answer in time")
        return {"state": {}}


@pytest.mark.parametrize(
    ("silence", "informs", "told"),
    [
        (TimedOut("no answer in time"), True, StorageFull),
        (TimedOut("no answer in time"), False, Unavailable),
        (Unavailable("the broker is away"), True, Unavailable),
    ],
    ids=["a disk that is full", "a broker that hangs", "a broker that is away"],
)
async def test_a_stream_that_confirms_nothing_is_told_by_its_reason(
    silence: ServiceError, informs: bool, told: type[ServiceError], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jetstream, "PUBLISH_TIMEOUT_S", 0.05)
    api = SilentBroker(silence, informs=informs)
    with pytest.raises(told):
        await Publisher(api, Epochs(api)).publish(TURN_COMPLETED, turn("a"), "a")


def test_a_turn_that_fails_to_the_last_holds_up_the_others_for_seconds() -> None:
    (in_order,), (at_leisure,) = TURN_COMPLETED.consumers, INDEX_REQUESTED.consumers
    waits_s = [backoff_s(attempt, in_order) for attempt in range(1, in_order.max_deliver)]
    assert sum(waits_s) < 10
    assert waits_s == sorted(waits_s)
    assert backoff_s(7, at_leisure) == 30.0


@pytest.mark.parametrize("slot", [-1, 2**40, 2**63, 2**200])
def test_a_slot_that_no_file_has_is_not_understood(slot: int) -> None:
    with pytest.raises(InvalidRequest):
        decode(SealedText, b'{"slot": %d, "sealed": ""}' % slot)
