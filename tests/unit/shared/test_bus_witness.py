"""What the witness makes of the broker's answer."""

from __future__ import annotations

import pytest

from libs.shared.bus.witness import counted
from libs.shared.errors import Unavailable


def test_connections_are_counted() -> None:
    assert counted(b'{"data": {"num_connections": 2}}') == 2


@pytest.mark.parametrize("answer", [b"", b"{}", b"[]", b'{"error": {"code": 500}}', b'{"data": {}}', b'{"data": null}'])
def test_an_answer_that_tells_of_no_connections_is_not_taken_for_none(answer: bytes) -> None:
    with pytest.raises(Unavailable):
        counted(answer)
