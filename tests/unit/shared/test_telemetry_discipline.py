"""Nowhere in the product does a log line or a metric leave room for what a person said."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from libs.shared.telemetry import metrics

ROOT = Path(__file__).parents[3]
PACKAGES = ("libs", "services", "cli", "migrations")
_LEVELS = {"debug", "info", "warning", "error", "critical", "exception"}
_EVENT = re.compile(r"[a-z][a-z0-9_]*")
_FIXED = {
    label.name: label.values
    for instrument in metrics.INSTRUMENTS
    for label in instrument.kept.labels
    if label.values is not None
}
_NAMES = {label.name for instrument in metrics.INSTRUMENTS for label in instrument.kept.labels}


def calls(tree: ast.AST) -> Iterator[tuple[ast.Attribute, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield node.func, node


def _events(value: ast.expr) -> Iterator[ast.expr]:
    """The event, or both when one of two is chosen."""
    if isinstance(value, ast.IfExp):
        yield from (*_events(value.body), *_events(value.orelse))
    else:
        yield value


def _is_constant_event(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and isinstance(value.value, str) and bool(_EVENT.fullmatch(value.value))


def loose_events(tree: ast.AST) -> list[int]:
    """Lines of log calls whose event isn't a constant in snake case, or that pass positional arguments."""
    return [
        call.lineno
        for function, call in calls(tree)
        if function.attr in _LEVELS and isinstance(function.value, ast.Name) and function.value.id in ("log", "_log")
        if len(call.args) != 1 or not all(_is_constant_event(event) for event in _events(call.args[0]))
    ]


def _label_faults(labels: ast.Dict) -> Iterator[str]:
    for key, value in zip(labels.keys, labels.values, strict=True):
        if not isinstance(key, ast.Constant):
            continue
        if key.value not in _NAMES:
            yield f"no instrument has the label {key.value!r}"
        elif isinstance(value, ast.Constant) and value.value not in _FIXED.get(key.value, {value.value}):
            yield f"{key.value!r} has no value {value.value!r}"


def unknown_labels(tree: ast.AST) -> list[str]:
    """Labels written in calls of instruments that would be dropped, or shown as ``other``."""
    return [
        f"{call.lineno}: {fault}"
        for function, call in calls(tree)
        if function.attr in ("add", "record") and ast.unparse(function.value).startswith("metrics.")
        for argument in call.args
        if isinstance(argument, ast.Dict)
        for fault in _label_faults(argument)
    ]


def sources() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_events_are_constants_and_labels_are_declared(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert loose_events(tree) == []
    assert unknown_labels(tree) == []


@pytest.mark.parametrize(
    "line",
    ["log.info(f'user {name} came')", "log.info('came', name)", "log.warning(text)", "log.error('User came')"],
)
def test_of_the_test__a_loose_event_is_noticed(line: str) -> None:
    assert loose_events(ast.parse(line)) == [1]


@pytest.mark.parametrize(
    "line",
    ["metrics.LLM_FALLBACKS.add(1, {'reason': 'whatever'})", "metrics.LLM_REQUESTS.add(1, {'user': user})"],
)
def test_of_the_test__an_unknown_label_is_noticed(line: str) -> None:
    assert len(unknown_labels(ast.parse(line))) == 1


def test_every_package_is_walked() -> None:
    found = {path.relative_to(ROOT).parts[0] for path in sources()}
    assert {"libs", "services", "cli"} <= found
