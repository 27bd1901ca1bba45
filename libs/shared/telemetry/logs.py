"""Logs as JSON, one event a line, each with the service and the trace; nothing reaches the stream unscrubbed."""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import MutableMapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, TextIO

import structlog
from opentelemetry import trace

from libs.shared.telemetry.failures import describe, message_of
from libs.shared.telemetry.scrubbing import scrub_field, scrub_text, scrub_value

QUIET = ("asyncio", "httpx", "httpcore", "urllib3", "opentelemetry", "uvicorn.access", "ray", "filelock")
"""Libraries that tell more at INFO than anyone reads."""

_service = ""


class Line(str):
    """A finished, scrubbed line; the formatter passes it on as it is."""

    __slots__ = ()


def _exception_of(exc_info: Any) -> BaseException | None:
    if isinstance(exc_info, BaseException):
        return exc_info
    if isinstance(exc_info, tuple):
        return exc_info[1] if len(exc_info) > 1 and isinstance(exc_info[1], BaseException) else None
    return sys.exc_info()[1] if exc_info else None


def _trace_id() -> str | None:
    context = trace.get_current_span().get_span_context()
    return f"{context.trace_id:032x}" if context.is_valid else None


def _field(key: str, value: object) -> Any:
    if isinstance(value, BaseException):
        return f"{type(value).__qualname__}: {message_of(value)}"
    return scrub_field(key, value)


def _line(logger: str, level: str, event: object, fields: MutableMapping[str, Any]) -> Line:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    entry: dict[str, Any] = {"at": now, "level": level, "service": _service, "logger": logger}
    entry["event"] = scrub_value(event)
    trace_id = _trace_id()
    if trace_id is not None:
        entry["trace_id"] = trace_id
    error = _exception_of(fields.pop("exc_info", None))
    for key, value in fields.items():
        entry.setdefault(scrub_text(key), _field(key, value))
    if error is not None:
        entry["exception"] = describe(error)
    return Line(json.dumps(entry, default=lambda value: f"<{type(value).__name__}>"))


def _render(logger: logging.Logger, method: str, fields: MutableMapping[str, Any]) -> Line:
    """The last structlog processor."""
    level = "error" if method == "exception" else method
    return _line(logger.name, level, fields.pop("event", ""), fields)


class ScrubbingFormatter(logging.Formatter):
    """Formats what libraries log by ``logging`` as the same lines."""

    def format(self, record: logging.LogRecord) -> str:
        if isinstance(record.msg, Line):
            return record.msg
        try:
            message = record.getMessage()
        except (TypeError, ValueError):
            message = str(record.msg)  # arguments that don't fit the format: the format alone is worth having
        return _line(record.name, record.levelname.lower(), message, {"exc_info": record.exc_info})


class _Handler(logging.StreamHandler[TextIO]):
    """Writes to the standard error stream of the moment; a line that can't be written is dropped in silence."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)
        self.setFormatter(ScrubbingFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802, the base class names it
        # logging would print the record's own values to the stream, unscrubbed.
        return


def _configure_structlog() -> None:
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, structlog.contextvars.merge_contextvars, _render],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _report_uncaught(kind: type[BaseException], error: BaseException | None, traceback: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    logging.getLogger("uncaught").critical("uncaught_exception", exc_info=(kind, error or kind(), traceback))


def _report_unraisable(unraisable: Any) -> None:
    error = unraisable.exc_value
    logging.getLogger("uncaught").error(
        "unraisable_exception", exc_info=(unraisable.exc_type, error, unraisable.exc_traceback) if error else None
    )


def setup(service: str, level: str) -> None:
    """Sends every log of this process, libraries and uncaught exceptions included, to standard error as lines."""
    global _service
    _service = service
    root = logging.getLogger()
    root.handlers = [_Handler()]
    root.setLevel(level)
    for name in QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "ray", "ray.serve"):
        logging.getLogger(name).handlers = []
        logging.getLogger(name).propagate = True
    logging.captureWarnings(True)
    sys.excepthook = _report_uncaught
    sys.unraisablehook = _report_unraisable
    threading.excepthook = lambda args: _report_uncaught(args.exc_type, args.exc_value, args.exc_traceback)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """``log.info("event_in_snake_case", field=value)``: the event is a constant, everything else a field."""
    logger: structlog.stdlib.BoundLogger = structlog.get_logger(name)
    return logger


_configure_structlog()
