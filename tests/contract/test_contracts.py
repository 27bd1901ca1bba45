"""The contracts themselves, and that each has exactly one server in the services' code."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from libs.shared import contracts
from libs.shared.contracts import BUCKETS, CONTRACTS, STREAMS
from libs.shared.contracts.base import AnyContract, Broadcast, Event, Rpc, Stream, by_subject
from libs.shared.contracts.scheduling import PREEMPT
from libs.shared.contracts.telemetry import HEALTH, METRICS

ROOT = Path(__file__).parents[2]
SERVING = {"serve": Rpc, "serve_stream": Stream}
_COMMON = frozenset(c.subject for c in HEALTH.values()) | frozenset(c.subject for c in METRICS.values())
"""Served by the service lifecycle on behalf of each."""


def _named() -> dict[str, AnyContract]:
    """Every contract by the name of its constant."""
    kinds = (Rpc, Stream, Event, Broadcast)
    modules = [module for name, module in sys.modules.items() if name.startswith(contracts.__name__ + ".")]
    return {name: value for module in modules for name, value in vars(module).items() if isinstance(value, kinds)}


NAMED = _named()


def constant(node: ast.expr) -> str | None:
    """The contract that ``NAME`` or ``module.NAME`` stands for."""
    name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else None
    return name if name in NAMED else None


def served(tree: ast.AST) -> Iterator[str]:
    """The contracts in ``….serve(NAME, …)`` and its like, and in rows ``(NAME, handler)`` of a table of handlers."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in SERVING:
            name = constant(node.args[0]) if node.args else None
            if name is not None:
                assert isinstance(NAMED[name], SERVING[node.func.attr]), f"{node.func.attr}({name})"
                yield name
        elif isinstance(node, ast.Tuple) and len(node.elts) == 2 and not isinstance(node.elts[1], ast.Constant):
            name = constant(node.elts[0])
            if name is not None and constant(node.elts[1]) is None and isinstance(NAMED[name], Rpc | Stream):
                yield name


def serving(services: Path) -> dict[str, list[str]]:
    """Which services serve each contract, by constant, once for each place that does."""
    found: dict[str, list[str]] = {}
    for service in sorted(p for p in services.iterdir() if (p / "__init__.py").exists()):
        for path in service.rglob("*.py"):
            for name in served(ast.parse(path.read_text())):
                found.setdefault(name, []).append(service.name)
    return found


def test_no_subject_is_declared_twice() -> None:
    assert len(by_subject(CONTRACTS)) == len(CONTRACTS)


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda c: c.subject)
def test_a_subject_names_its_owner_or_a_shared_topic(contract: AnyContract) -> None:
    root, version, owner, *rest = contract.subject.split(".")
    assert (root, version) == ("mongars", "v1")
    if contract is not PREEMPT:  # the api tells it, and it is the scheduler's business
        assert owner in (contract.owner.value, "telemetry")
    assert rest


@pytest.mark.parametrize("contract", [c for c in CONTRACTS if isinstance(c, Rpc | Stream)], ids=lambda c: c.subject)
def test_an_endpoint_name_has_no_dots_and_is_unique(contract: AnyContract) -> None:
    assert contract.endpoint_name.replace("_", "").isalnum()
    same = [c for c in CONTRACTS if c.owner == contract.owner and isinstance(c, Rpc | Stream)]
    assert [c.endpoint_name for c in same].count(contract.endpoint_name) == 1


@pytest.mark.parametrize(
    "name", sorted(n for n, c in NAMED.items() if isinstance(c, Rpc | Stream) and c.subject not in _COMMON)
)
def test_every_contract_is_served_by_its_owner_in_one_place(name: str) -> None:
    assert serving_now().get(name) == [NAMED[name].owner.value]


@cache
def serving_now() -> dict[str, list[str]]:
    return serving(ROOT / "services")


def test_every_stored_event_has_its_stream_and_every_stream_an_event() -> None:
    events = [c for c in CONTRACTS if isinstance(c, Event)]
    assert {e.stream.name for e in events} == {s.name for s in STREAMS}
    consumers = [(e.stream.name, consumer.name) for e in events for consumer in e.consumers]
    assert len(set(consumers)) == len(consumers)


def test_buckets_have_a_writer_and_a_reader() -> None:
    assert all(bucket.writers and bucket.readers for bucket in BUCKETS)


def test_the_walk_notices_a_second_server_and_a_wrong_kind(tmp_path: Path) -> None:
    for service in ("scheduler", "api"):
        (tmp_path / service).mkdir()
        (tmp_path / service / "__init__.py").touch()
        (tmp_path / service / "service.py").write_text("async def wire(bus):\n    await bus.serve(PLACE, None)\n")
    assert sorted(serving(tmp_path)["PLACE"]) == ["api", "scheduler"]
    (tmp_path / "api" / "service.py").write_text("async def wire(bus):\n    await bus.serve(GENERATE, None)\n")
    with pytest.raises(AssertionError):
        serving(tmp_path)


def test_subjects_are_written_in_the_contracts_alone() -> None:
    for folder in ("libs", "services", "cli"):
        for path in (ROOT / folder).rglob("*.py"):
            if "contracts" not in path.parts:
                assert "mongars.v1" not in path.read_text(), f"{path} spells a subject"
