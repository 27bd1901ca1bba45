"""Pseudonyms of a bundle: the same word for the same identifier, and nothing of what people said."""

from __future__ import annotations

import json

from cli.bundle.logs import cleaned
from cli.bundle.pseudonyms import Pseudonyms

ID = "0af7651916cd43dd8448eb211c80319c"


def test_an_identifier_has_one_pseudonym_in_fields_and_in_text() -> None:
    made = Pseudonyms(["Ada"])
    assert made.value({"user": "ada"})["user"] == made.of("ADA")
    assert made.text("Ada came from 203.0.113.9") == f"{made.of('ada')} came from {made.of('203.0.113.9')}"
    assert made.text(ID) == made.value(ID, "trace_id") == made.of(ID)


def test_another_bundle_has_other_pseudonyms() -> None:
    assert Pseudonyms().of("ada") != Pseudonyms().of("ada")


def test_a_pseudonym_of_the_log_stays_as_it_is() -> None:
    assert Pseudonyms().value({"user": "~1a2b3c4d"}) == {"user": "~1a2b3c4d"}


def test_names_are_replaced_as_words_only() -> None:
    assert "adapter" in Pseudonyms(["ada"]).text("the adapter of ada")


def test_loopback_stays_readable() -> None:
    assert Pseudonyms().text("127.0.0.1:8080 and ::1") == "127.0.0.1:8080 and ::1"


def test_text_with_blanks_is_kept_only_where_it_is_the_products_own() -> None:
    line = json.dumps({"event": "x", "detail": "the disk is full", "note": "I love you", "api_token": "abc"})
    (kept,) = cleaned("api", [line], Pseudonyms())
    assert json.loads(kept) == {
        "event": "x",
        "detail": "the disk is full",
        "note": "<10 characters>",
        "api_token": "<hidden>",
    }


def test_unstructured_lines_of_a_service_are_left_out_and_of_the_database_unquoted() -> None:
    assert list(cleaned("api", ["I love you"], Pseudonyms())) == ["<a line of 10 characters>"]
    (line,) = cleaned("database", ['ERROR:  value "I love you" for Key (name)=(Ada)'], Pseudonyms())
    assert line == "ERROR:  value <quoted> for Key <quoted>"
