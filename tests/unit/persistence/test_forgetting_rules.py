"""What follows from forgetting without any store: ends of facts, and receipts."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import VerifyKey

from libs.shared.contracts.forgetting import Receipt, Removed
from libs.shared.receipts import canonical, verify
from services.persistence.receipts import write_receipt
from services.persistence.supersession import FactEnd, Superseded, ends_without

START = datetime(2026, 3, 1, tzinfo=UTC)
SEED = b"s" * 32


def chain(length: int) -> list[FactEnd]:
    """Facts of one key, each superseded by the next."""
    return [FactEnd(f"f{n}", f"f{n + 1}" if n + 1 < length else None, START + timedelta(days=n)) for n in range(length)]


@given(st.integers(1, 8).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1)))))
def test_what_is_left_of_a_chain_is_superseded_by_its_next(drawn: tuple[int, set[int]]) -> None:
    length, gone = drawn
    facts, removed = chain(length), {f"f{n}" for n in gone}
    left = [n for n in range(length) if n not in gone]
    expected = {
        Superseded(f"f{n}", f"f{after}" if after else None, facts[after].valid_from if after else None)
        for n in left
        if n + 1 in gone
        for after in [next((m for m in left if m > n), None)]
    }
    assert set(ends_without(facts, removed)) == expected


def test_a_circle_ends_open() -> None:
    facts = [FactEnd("a", "b", START), FactEnd("b", "c", START), FactEnd("c", "b", START)]
    assert ends_without(facts, {"b", "c"}) == (Superseded("a", None, None),)
    assert ends_without([FactEnd("a", "b", START), FactEnd("b", "a", START)], {"b"}) == (Superseded("a", None, None),)


def receipt(**changes: object) -> Receipt:
    written = write_receipt(
        SEED,
        receipt_id="r1",
        scope="memory",
        subject_id="m1",
        at=START,
        removed=Removed(messages=1, data_keys=2),
        pending=("stream_messages",),
    )
    return written.model_copy(update=changes)


def test_a_receipt_is_checked_by_a_few_lines_of_pynacl() -> None:
    told = json.loads(receipt().model_dump_json())
    signature = base64.b64decode(told.pop("signature"))
    signed = json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    VerifyKey(base64.b64decode(told["key"])).verify(signed, signature)


def test_a_receipt_holds_after_any_way_over_the_wire() -> None:
    assert verify(receipt())
    assert verify(Receipt.model_validate_json(receipt().model_dump_json()))
    assert verify(json.loads(receipt().model_dump_json()))
    assert verify({**json.loads(receipt().model_dump_json()), "of_a_later_release": None})


@pytest.mark.parametrize(
    "changes",
    [
        {"receipt_id": "r2"},
        {"scope": "fact"},
        {"subject_id": "m2"},
        {"at": START + timedelta(seconds=1)},
        {"removed": Removed(messages=2, data_keys=2)},
        {"pending": ()},
        {"backups": ("b1",)},
        {"key": base64.b64encode(b"k" * 32).decode()},
        {"key": "not base64"},
        {"signature": base64.b64encode(b"0" * 64).decode()},
        {"signature": ""},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_an_altered_receipt_is_refused(changes: dict[str, object]) -> None:
    assert not verify(receipt(**changes))


def test_what_is_no_receipt_is_refused() -> None:
    for told in ({}, {"key": 1, "signature": 2}, {"key": "é", "signature": "é"}):
        assert not verify(told)


def test_another_installations_receipt_is_told_apart() -> None:
    other = write_receipt(b"o" * 32, receipt_id="r1", scope="memory", subject_id="m1", at=START, removed=Removed())
    assert verify(other)
    assert not verify(other, receipt().key)


def test_the_canonical_form_is_what_is_documented() -> None:
    assert canonical({"b": {"d": 1, "c": "é"}, "a": [], "n": None, "signature": "x"}) == (
        '{"a":[],"b":{"c":"é","d":1}}'.encode()
    )
