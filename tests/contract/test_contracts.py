"""The contracts themselves, and that each has exactly one server in the services' code."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from libs.shared import contracts
from libs.shared.contracts import BUCKETS, CONTRACTS, STREAMS
from libs.shared.contracts.base import AnyContract, Broadcast, Event, Rpc, Stream, by_subject
from libs.shared.contracts.telemetry import HEALTH, METRICS

ROOT = Path(__file__).parents[2]
SERVING = {"serve": Rpc, "serve_stream": Stream}
SPEAKING = {"publish": Event, "broadcast": Broadcast}
_COMMON = {c.subject for c in (*HEALTH.values(), *METRICS.values())}
"""Served by the service lifecycle on behalf of each."""


def _named() -> dict[str, AnyContract]:
    """Every contract by the name of its constant."""
    kinds = (Rpc, Stream, Event, Broadcast)
    modules = [
        getattr(contracts, name)
        for name in dir(contracts)
        if hasattr(getattr(contracts, name), "__path__")
        or getattr(getattr(contracts, name), "__name__", "").startswith("libs.shared.contracts.")
    ]
    return {name: value for module in modules for name, value in vars(module).items() if isinstance(value, kinds)}


NAMED = _named()


def calls(tree: ast.AST, verbs: dict[str, type]) -> Iterator[str]:
    """The contracts named as first argument of ``….serve(NAME, …)`` and its like, by constant."""
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
            continue
        first = node.args[0]
        if node.func.attr in verbs and isinstance(first, ast.Name) and first.id in NAMED:
            assert isinstance(NAMED[first.id], verbs[node.func.attr]), f"{node.func.attr}({first.id})"
            yield first.id


def mentioned(service: Path) -> Iterator[str]:
    """The names of contracts that a service's code uses at all."""
    for path in service.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Name) and node.id in NAMED:
                yield node.id


def serving(services: Path) -> dict[str, list[str]]:
    """Which services serve each contract, by constant; a table of handlers counts as its owner's word."""
    found: dict[str, list[str]] = {}
    for service in sorted(p for p in services.iterdir() if (p / "__init__.py").exists()):
        names = Counter(n for path in service.rglob("*.py") for n in calls(ast.parse(path.read_text()), SERVING))
        for name, times in names.items():
            found.setdefault(name, []).extend([service.name] * times)
    return found


def test_no_subject_is_declared_twice() -> None:
    assert len(by_subject(CONTRACTS)) == len(CONTRACTS)


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda c: c.subject)
def test_a_subject_names_its_owner_or_a_shared_topic(contract: AnyContract) -> None:
    root, version, owner, *rest = contract.subject.split(".")
    assert (root, version) == ("mongars", "v1")
    assert owner in (contract.owner.value, "telemetry")
    assert rest
    assert contract.owner not in contract.callers or isinstance(contract, Broadcast)


@pytest.mark.parametrize("contract", [c for c in CONTRACTS if isinstance(c, Rpc | Stream)], ids=lambda c: c.subject)
def test_an_endpoint_name_has_no_dots_and_is_unique(contract: AnyContract) -> None:
    assert contract.endpoint_name.replace("_", "").isalnum()
    same = [c for c in CONTRACTS if c.owner == contract.owner and isinstance(c, Rpc | Stream)]
    assert [c.endpoint_name for c in same].count(contract.endpoint_name) == 1


def test_a_service_is_served_by_its_owner_alone_and_once() -> None:
    for name, services in serving(ROOT / "services").items():
        assert services == [NAMED[name].owner.value], f"{name} is served by {services}"


@pytest.mark.parametrize(
    "name", sorted(n for n, c in NAMED.items() if isinstance(c, Rpc | Stream) and c.subject not in _COMMON)
)
def test_every_contract_has_its_server(name: str) -> None:
    owner = NAMED[name].owner.value
    direct = serving(ROOT / "services").get(name, [])
    # some services serve from a table of (contract, handler)
    assert direct == [owner] or name in set(mentioned(ROOT / "services" / owner)), f"{name} has no server"


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
