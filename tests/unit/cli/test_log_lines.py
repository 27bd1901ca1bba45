"""How a line of a log is shown."""

from __future__ import annotations

import json

import pytest

from cli.log_lines import as_json, readable

LINE = json.dumps(
    {
        "at": "2026-11-22T22:49:27.670+00:00",
        "level": "warning",
        "service": "api",
        "logger": "services.api.service",
        "event": "http_listening",
        "port": 8080,
        "names": ["é"],
    }
)


def shown(text: str) -> str:
    return "".join(piece for piece, _ in readable(text))


def test_people_see_when_how_bad_what_and_its_fields() -> None:
    at, _, rest = shown(LINE).partition("  ")
    assert at.endswith(":49:27")  # in this machine's time
    assert rest == 'warning  http_listening  port=8080  names=["é"]'


def test_an_exception_stands_below_its_line() -> None:
    assert shown(json.dumps({"event": "x", "exception": "Traceback\n  boom"})).endswith("x\nTraceback\n  boom")


@pytest.mark.parametrize("text", ["[1] 2026 [INF] Server is ready", "", "{", "[1]", "7", '{"no": "event"}'])
def test_a_line_that_is_not_structured_stays_as_it_is(text: str) -> None:
    assert shown(text) == text


def test_programs_get_an_object_for_every_line() -> None:
    assert as_json(LINE) == LINE
    assert json.loads(as_json("[INF] ready")) == {"text": "[INF] ready"}
