"""Bytes on the wire: headers that can't be forged, refusals that come back whole, parts that are all there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.shared.bus.parts import PartsReceiver
from libs.shared.bus.wire import (
    PART,
    PART_BYTES,
    Incoming,
    block,
    decode_error,
    encode_error,
    error_block,
    header,
    parts_of,
)
from libs.shared.errors import Internal, InvalidRequest, NoNode, ServiceError, TooLarge, Unavailable


@given(st.text(alphabet=st.characters(categories=("L", "N", "P", "S")), min_size=1))
def test_a_header_comes_back_as_it_was_put(value: str) -> None:
    assert header(block({"Other": "x", "Name": value}), "Name") == value


@pytest.mark.parametrize("value", ["a\r\nForged: yes", "a\nb", "a\x00b", "\t"])
def test_a_header_value_cannot_forge_a_line(value: str) -> None:
    with pytest.raises(ValueError, match="control"):
        block({"Name": value})


def test_a_header_is_not_found_inside_another_value() -> None:
    assert header(block({"Name": "Other: value"}), "Other") is None


def test_a_status_is_told_from_a_header() -> None:
    assert Incoming("s", "", b"", b"NATS/1.0 503\r\n\r\n").status == 503
    assert Incoming("s", "", b"", block({"A": "503"})).status == 0
    assert Incoming("s", "", b"", None).status == 0


def test_a_refusal_comes_back_as_itself() -> None:
    error = NoNode("none is free", retry_after_s=2)
    back = decode_error(Incoming("s", "", encode_error(error), error_block(error)))
    assert isinstance(back, NoNode)
    assert (back.detail, back.data) == (error.detail, error.data)


@pytest.mark.parametrize("body", [b"", b"not json", b"[]", b'{"code": "no_node"}'])
def test_a_refusal_with_a_broken_body_is_still_a_refusal(body: bytes) -> None:
    assert isinstance(decode_error(Incoming("s", "", body, error_block(NoNode()))), ServiceError)


def test_an_unknown_code_is_an_internal_error() -> None:
    raw = block({"Nats-Service-Error": "of_another_release", "Nats-Service-Error-Code": "418"})
    body = b'{"code": "of_another_release", "detail": "", "data": {}}'
    assert type(decode_error(Incoming("s", "", body, raw))) is Internal


@pytest.mark.parametrize("size", [0, 1, PART_BYTES, PART_BYTES + 1, 3 * PART_BYTES])
def test_parts_make_the_whole(size: int) -> None:
    body = bytes(size)
    parts = parts_of(body)
    assert b"".join(parts) == body
    assert all(len(part) <= PART_BYTES for part in parts)


@pytest.mark.parametrize(
    "announced",
    [
        "",
        "1",
        "x y z",
        "2 10 i",
        "-1 5 i",
        f"1 {PART_BYTES + 1} i",
        "1 5 a\tb",
        "1 5 a\nPING",
        "1 5 a.>",
        "1 5 ",
        "² 5 i",
    ],
)
async def test_a_malformed_announcement_is_refused(announced: str) -> None:
    with pytest.raises(InvalidRequest):
        PartsReceiver(announced, 10 * PART_BYTES, lambda upto: None)


async def test_more_than_allowed_is_refused_before_a_byte_of_it_comes() -> None:
    granted: list[int] = []
    with pytest.raises(TooLarge):
        PartsReceiver(f"4 {4 * PART_BYTES} i", 3 * PART_BYTES, granted.append)
    assert granted == []


@pytest.mark.parametrize("numbers", [(1,), (0, 2), (0, 0)])
async def test_a_gap_or_a_repetition_fails_the_transfer(numbers: tuple[int, ...]) -> None:
    receiver = PartsReceiver(f"3 {3 * PART_BYTES} i", 9 * PART_BYTES, lambda upto: None)
    for number in numbers:
        receiver.take(Incoming("s", "r", bytes(PART_BYTES), block({PART: str(number)})))
    with pytest.raises(Unavailable):
        receiver.result()


async def test_a_part_that_is_shorter_than_announced_fails_the_transfer() -> None:
    receiver = PartsReceiver(f"2 {2 * PART_BYTES} i", 9 * PART_BYTES, lambda upto: None)
    for number, size in ((0, PART_BYTES), (1, 5)):
        receiver.take(Incoming("s", "r", bytes(size), block({PART: str(number)})))
    with pytest.raises(Unavailable):
        receiver.result()
