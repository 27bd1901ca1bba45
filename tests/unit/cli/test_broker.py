"""The name of this machine's inference node."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.broker import node_id
from services.inference.settings import default_node_id


@pytest.mark.parametrize(
    ("hostname", "expected"),
    [("pi-4", "pi-4"), ("Jetson_Orin.local", "jetson-orin"), ("...", "node"), ("", "node"), ("é", "node")],
)
def test_a_host_name_becomes_a_node_id(hostname: str, expected: str) -> None:
    assert node_id(None, hostname) == expected


def test_a_chosen_id_is_taken_as_it_is() -> None:
    assert node_id("attic", "pi-4") == "attic"


@given(st.text(max_size=300))
def test_every_host_name_gives_an_id_fit_for_a_subject_and_the_one_that_inference_takes(hostname: str) -> None:
    made = node_id(None, hostname)
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]{0,59}", made)
    assert made == default_node_id(hostname)
