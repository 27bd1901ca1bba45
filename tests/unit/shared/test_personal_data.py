"""The check for leaks finds every canary in every form in which it could come out."""

from __future__ import annotations

import base64
import json
import unicodedata
from collections.abc import Callable
from dataclasses import asdict
from urllib.parse import quote

import pytest

from tests.support.personal_data import CANARIES, assert_nothing_personal, leaks, looks_personal

FORMS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "in capitals": str.upper,
    "repr": repr,
    "ascii": ascii,
    "json": json.dumps,
    "url": lambda value: quote(value, safe=""),
    "decomposed": lambda value: unicodedata.normalize("NFD", value),
    "base64": lambda value: base64.b64encode(value.encode()).decode(),
    "base64, one byte on": lambda value: base64.b64encode(b"x" + value.encode()).decode(),
    "base64, two bytes on": lambda value: base64.b64encode(b"xy" + value.encode() + b"z").decode(),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("kind", "value"), asdict(CANARIES).items())
def test_a_canary_is_found_in_any_form(kind: str, value: str, form: str) -> None:
    text = f"line one\nbefore {FORMS[form](value)} after\n"
    assert kind in leaks(text)
    with pytest.raises(AssertionError, match=kind):
        assert_nothing_personal(text)


def test_half_a_name_is_a_leak_too() -> None:
    assert leaks("it was Quillivéré again") == {"last_name"}


def test_a_clean_log_is_clean() -> None:
    text = '{"event": "turn_kept", "user_id": "~48c8519a", "ip": "<ip>", "url": "nats://127.0.0.1:4222"}'
    assert_nothing_personal(text)
    assert looks_personal(text) == []


def test_anyone_s_address_or_key_is_known_by_its_form() -> None:
    found = looks_personal(f"a@b.ca {CANARIES.api_key} {CANARIES.jwt} {CANARIES.nkey_seed}")
    assert len(found) == 4
