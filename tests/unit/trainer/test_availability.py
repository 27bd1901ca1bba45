"""What training needs is looked for without being imported, and what is missing is said with its remedy."""

from __future__ import annotations

import pytest

from libs.shared import training_libraries
from services.trainer import availability


def test_what_is_missing_is_named_with_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    there = ("transformers", "safetensors", "faker")
    monkeypatch.setattr(training_libraries, "find_spec", lambda name: object() if name in there else None)
    assert training_libraries.missing_libraries() == ("torch", "peft")
    assert availability.lacking() == (
        "torch, peft can't be found; install what training needs with: make install EXTRAS=trainer"
    )


def test_nothing_is_said_where_all_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_libraries, "find_spec", lambda name: object())
    assert availability.lacking() is None
