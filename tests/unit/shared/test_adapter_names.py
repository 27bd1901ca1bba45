"""A name that is free where the wanted one is taken."""

from __future__ import annotations

import pytest

from libs.shared.artefacts.naming import free_name, numbered
from libs.shared.contracts.adapters import RemoveAdapter


@pytest.mark.parametrize(
    ("name", "taken", "free"),
    [
        ("ada", {"ada"}, "ada-2"),
        ("ada", {"ada", "ada-2", "ada-4"}, "ada-3"),
        ("ada-2", {"ada", "ada-2"}, "ada-3"),
        ("v-x", {"v-x"}, "v-x-2"),
    ],
)
def test_the_next_number_that_is_free_is_proposed(name: str, taken: set[str], free: str) -> None:
    assert free_name(name, taken) == free


def test_none_is_proposed_where_none_is_free() -> None:
    assert free_name("ada", set(numbered("ada", 3)), 3) is None


def test_what_is_proposed_for_the_longest_name_is_a_name() -> None:
    for proposed in numbered("a" * 64, 2):
        assert RemoveAdapter(adapter=proposed, actor="test").adapter == proposed
