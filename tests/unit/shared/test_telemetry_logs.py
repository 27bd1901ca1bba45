"""One event is one line of JSON, whoever logged it and whatever went wrong, and nothing personal is in it."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError

from libs.shared.errors import NoModel
from libs.shared.telemetry import failures, get_logger, logs, tracer
from libs.shared.telemetry.failures import describe, message_of
from tests.support.personal_data import CANARIES, assert_nothing_personal, leaks


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Iterator[Lines]:
    """The lines that this process logs, with its logging put back afterwards."""
    root, hooks = logging.getLogger(), (sys.excepthook, sys.unraisablehook, threading.excepthook)
    handlers, level = root.handlers, root.level
    logs.setup("cognition", "INFO")
    yield Lines(capsys)
    root.handlers, sys.excepthook, sys.unraisablehook, threading.excepthook = handlers, *hooks
    root.setLevel(level)
    logging.captureWarnings(False)


class Lines:
    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def taken(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text().splitlines()]

    def text(self) -> str:
        captured = self._capsys.readouterr()
        assert captured.out == ""
        return captured.err


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")
    role: int
    text: int


def _refused(**values: object) -> ValidationError:
    try:
        _Body.model_validate(values)
    except ValidationError as error:
        return error
    raise AssertionError("the values were accepted")


def test_an_event_is_one_line_with_its_service_level_and_fields(lines: Lines) -> None:
    get_logger("services.cognition.turn").info("turn_kept", turn_id="t-1", took_ms=2.5)
    (line,) = lines.taken()
    assert line.pop("at").endswith("+00:00")
    assert line == {
        "level": "info",
        "service": "cognition",
        "logger": "services.cognition.turn",
        "event": "turn_kept",
        "turn_id": "t-1",
        "took_ms": 2.5,
    }


def test_a_line_carries_the_trace_that_it_was_logged_in(lines: Lines) -> None:
    with tracer.start_as_current_span("turn") as span:
        get_logger("a").info("inside")
        logging.getLogger("nats.client").warning("inside too")
    get_logger("a").info("outside")
    inside, library, outside = lines.taken()
    assert inside["trace_id"] == library["trace_id"] == f"{span.get_span_context().trace_id:032x}"
    assert "trace_id" not in outside


def test_levels_below_the_configured_one_are_not_written(lines: Lines) -> None:
    get_logger("a").debug("unseen")
    logging.getLogger("b").debug("unseen")
    logging.getLogger("httpx").info("unseen")
    assert lines.taken() == []


def test_libraries_log_the_same_scrubbed_lines(lines: Lines) -> None:
    logging.getLogger("asyncpg").error("lost %s as %s", CANARIES.ipv4, CANARIES.email)
    (line,) = lines.taken()
    assert (line["logger"], line["level"], line["event"]) == ("asyncpg", "error", "lost <ip> as <email>")


def test_a_library_s_message_that_does_not_fit_its_arguments_loses_them_alone() -> None:
    record = logging.LogRecord("asyncpg", logging.ERROR, "x.py", 1, "number %d", (CANARIES.name,), None)
    assert json.loads(logs.ScrubbingFormatter().format(record))["event"] == "number %d"


def test_a_message_of_many_lines_stays_one_line(lines: Lines) -> None:
    logging.getLogger("x").error("first\nsecond\u2028third\r")
    assert len(lines.text().splitlines()) == 1


def test_every_canary_in_fields_texts_and_objects_is_gone(lines: Lines) -> None:
    log = get_logger("a")
    shaped = {"email", "ipv4", "ipv6", "api_key", "refresh_token", "jwt", "nkey_seed"}
    for kind, value in vars(CANARIES).items():
        field = "content" if kind == "word" else kind
        log.info("event", **{field: value}, text=value, query=value, nested={field: value, "title": value})
        if kind in shaped:
            log.info("event", detail=f"it was {value} that failed", nested={"list": [value]})
        if kind != "word":
            log.info("event", detail=f"{field}={value!r}")
    text = lines.text()
    assert_nothing_personal(text)
    assert text.count("\n") > 30


def test_an_exception_is_told_by_type_place_and_a_message_without_quotes(lines: Lines) -> None:
    try:
        try:
            int(CANARIES.name)
        except ValueError as error:
            raise RuntimeError(f"user {CANARIES.email} at {CANARIES.ipv6}") from error
    except RuntimeError:
        get_logger("a").exception("failed")
    (line,) = lines.taken()
    exception = line["exception"]
    assert (exception["type"], exception["message"]) == ("RuntimeError", "user <email> at <ip>")
    assert exception["cause"]["message"] == "invalid literal for int() with base 10: '…'"
    assert exception["frames"][-1].endswith("test_an_exception_is_told_by_type_place_and_a_message_without_quotes")
    assert_nothing_personal(json.dumps(line))


def test_an_exception_given_as_a_value_or_a_tuple_is_told_too(lines: Lines) -> None:
    error = _refused(role="x", text=CANARIES.word)
    get_logger("a").error("failed", exc_info=error)
    get_logger("a").error("failed", error=error)
    logging.getLogger("b").error("failed", exc_info=(type(error), error, None))
    first, second, third = lines.taken()
    assert first["exception"] == third["exception"]
    assert second["error"] == "ValidationError: 2 in _Body: role: int_parsing, text: int_parsing"
    assert_nothing_personal(json.dumps([first, second, third]))


def test_a_validation_error_names_fields_and_never_values() -> None:
    error = _refused(role=CANARIES.name, **{CANARIES.word: 1})
    assert message_of(error) == "3 in _Body: role: int_parsing, text: missing, extra_forbidden"
    assert leaks(str(error)) >= {"name", "word"}  # what pydantic itself would have said


def test_a_database_s_values_are_not_told() -> None:
    error = RuntimeError(
        f"duplicate key violates unique constraint\nDETAIL:  Key (name)=({CANARIES.name}) exists.\n"
        f"[SQL: INSERT INTO users VALUES ($1)]\n[parameters: ({CANARIES.name}, 3)]"
    )
    assert_nothing_personal(message_of(error))
    assert "duplicate key violates unique constraint" in message_of(error)


def test_a_message_about_code_or_of_our_own_is_told_whole() -> None:
    assert message_of(NoModel("pull one with 'mongars models pull'")) == "pull one with 'mongars models pull'"
    assert message_of(AttributeError("'Turn' object has no attribute 'x'")) == "'Turn' object has no attribute 'x'"
    assert message_of(FileNotFoundError(2, "No such file or directory", f"/x/{CANARIES.name}")) == (
        "ENOENT No such file or directory"
    )


def test_groups_and_causes_are_told_and_bounded() -> None:
    deep: Exception = ValueError("bottom")
    for _ in range(100):
        outer = RuntimeError("wrapped")
        outer.__cause__ = deep
        deep = outer
    described = describe(ExceptionGroup("several", [deep, *[KeyError(CANARIES.name)] * 100]))
    assert len(described["members"]) == failures.MAX_GROUP
    assert len(json.dumps(described)) < 4000
    assert_nothing_personal(json.dumps(described))


def test_a_cycle_of_causes_ends() -> None:
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    assert describe(first)["cause"]["cause"]["type"] == "ValueError"


def test_uncaught_errors_of_threads_tasks_and_warnings_are_lines(lines: Lines) -> None:
    def fail() -> None:
        raise KeyError(CANARIES.name)

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join(5)
    sys.excepthook(ValueError, ValueError(CANARIES.email), None)
    with asyncio.Runner() as runner:
        runner.get_loop().call_exception_handler({"message": "task failed", "exception": ValueError(CANARIES.email)})
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(f"no {CANARIES.email}", stacklevel=1)
    text = lines.text()
    events = [json.loads(line)["logger"] for line in text.splitlines()]
    assert events == ["uncaught", "uncaught", "asyncio", "py.warnings"]
    assert_nothing_personal(text)


def test_of_the_test__a_plain_formatter_leaks_every_kind(lines: Lines) -> None:
    logging.getLogger().handlers[0].setFormatter(logging.Formatter("%(message)s"))
    for value in vars(CANARIES).values():
        logging.getLogger("x").error("it was %s", value)
    assert leaks(lines.text()) >= set(vars(CANARIES))


def test_of_the_test__without_the_quoted_parts_rule_a_name_in_an_exception_leaks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    error = KeyError(CANARIES.name)
    assert_nothing_personal(message_of(error))
    monkeypatch.setattr(failures, "_SPEAKS_OF_CODE", (Exception,))
    with pytest.raises(AssertionError, match="last_name"):
        assert_nothing_personal(message_of(error))
