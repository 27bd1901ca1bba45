"""A second machine, in a network namespace of its own: it joins, answers, is cut off, comes back, moves, is removed."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.installation import INLINE
from tests.support.namespaces import Elsewhere, Wire, require_namespaces, wired

_CONNECTED_S = 60.0
_RECOVERED_S = 150.0
"""A connection whose other end vanished is noticed after half a minute, by pings."""


@contextmanager
def stopped_at_the_end(made: Elsewhere) -> Iterator[Elsewhere]:
    try:
        yield made
    finally:
        if (made.state / "installation.json").exists():
            made.run("down")


def nodes(main: Elsewhere) -> dict[str, dict[str, Any]]:
    ran = main.run("nodes", "--json")
    if ran.returncode != 0:
        return {}
    return {node["telemetry"]["node_id"]: node for node in json.loads(ran.stdout)["nodes"]}


def available(main: Elsewhere, name: str) -> bool:
    return bool(nodes(main).get(name, {}).get("available"))


def serves(main: Elsewhere, name: str, model: str) -> bool:
    return any(served["name"] == model for served in nodes(main).get(name, {}).get("telemetry", {}).get("models", ()))


def degraded(main: Elsewhere, name: str) -> list[str]:
    return list(nodes(main).get(name, {}).get("telemetry", {}).get("degraded", ["unknown"]))


def invite(main: Elsewhere, *arguments: str) -> str:
    return str(json.loads(main.mongars("nodes", "invite", "--json", *arguments))["code"])


def boot(main: Elsewhere, name: str) -> str:
    return str(nodes(main)[name]["telemetry"]["boot_id"])


@pytest.fixture
def wire() -> Iterator[Wire]:
    require_namespaces()
    with wired() as made:
        yield made


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_second_machine_joins_answers_survives_and_is_removed(wire: Wire, tmp_path: Path, models: Path) -> None:
    tiny = {"name": "tiny", "backend": "llama_cpp", "path": str(models / "tiny.gguf"), "context_tokens": 512}
    own = {"MONGARS_MODELS": json.dumps([tiny])}
    with (
        stopped_at_the_end(Elsewhere(tmp_path / "main", INLINE, namespace=wire.here)) as main,
        stopped_at_the_end(Elsewhere(tmp_path / "node", {**INLINE, **own}, namespace=wire.there)) as node,
    ):
        main.up()
        code = invite(main, "--listen", f"{wire.address(1)}:7422")
        joined = json.loads(node.mongars("join", code, "--name", "attic", "--json"))
        assert joined == {"node_id": "attic", "state": str(node.state), "reached": f"{wire.address(1)}:7422"}
        assert main.wait_until(lambda: serves(main, "attic", "tiny"), _CONNECTED_S), node.log("inference")
        check_nothing_else_runs_there(node)
        check_a_code_is_spent(main, code, tmp_path, wire)

        told = json.loads(main.mongars("chat", "--user", "ada", "--model", "tiny", "--message", "hello", "--json"))
        assert "no-model" not in json.dumps(told)

        life = boot(main, "attic")
        wire.cut()
        assert main.wait_until(lambda: not available(main, "attic"), _CONNECTED_S)
        wire.mend()
        assert main.wait_until(lambda: available(main, "attic"), _RECOVERED_S), node.log("inference")
        assert boot(main, "attic") == life, "it was not started anew"
        assert len(nodes(main)) == 2, "and left no ghost"

        wire.move(wire.there, 2, 3)
        assert main.wait_until(lambda: available(main, "attic"), _RECOVERED_S)
        assert boot(main, "attic") == life

        node.mongars("down")
        main.mongars("upstreams", "allow-remote", "on")
        node.mongars("up", "--detach")
        assert main.wait_until(lambda: serves(main, "attic", "tiny") and available(main, "attic"), _CONNECTED_S)
        assert main.wait_until(lambda: "remote-models" in degraded(main, "attic"), _CONNECTED_S), "it asked"
        main.mongars("upstreams", "allow-remote", "off")
        assert main.wait_until(lambda: not {"remote-models", "unknown"} & {*degraded(main, "attic")}, _CONNECTED_S)

        assert json.loads(main.mongars("nodes", "remove", "attic", "--json"))["seen_refused"]
        assert "attic" not in nodes(main)
        begun = time.monotonic()
        assert node.wait_until(lambda: "the broker refuses this service's key" in node.log("inference"), _CONNECTED_S)
        assert "attic" not in nodes(main), f"forgotten for good, {time.monotonic() - begun:.0f} s later too"


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_node_follows_its_installation_to_another_address(wire: Wire, tmp_path: Path) -> None:
    with (
        stopped_at_the_end(Elsewhere(tmp_path / "main", INLINE, namespace=wire.here)) as main,
        stopped_at_the_end(Elsewhere(tmp_path / "node", INLINE, namespace=wire.there)) as node,
    ):
        main.up()
        join_with_the_code_typed_in(node, invite(main), "attic")
        assert main.wait_until(lambda: available(main, "attic"), _CONNECTED_S)
        wire.move(wire.here, 1, 4)
        told = json.loads(node.mongars("join", "--address", wire.address(4), "--json"))
        assert told["reached"] == f"{wire.address(4)}:7422"
        assert main.wait_until(lambda: available(main, "attic"), _CONNECTED_S)
        check_an_old_process_is_told_of_and_replaced(node)
        assert main.wait_until(lambda: available(main, "attic"), _CONNECTED_S)
        check_the_port_is_closed_and_opened(main)


def join_with_the_code_typed_in(node: Elsewhere, code: str, name: str) -> None:
    command = node.command("join", "-", "--name", name)
    ran = subprocess.run(
        command,
        input=f"{code}\n",
        env=node.shell,
        cwd=node.code,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr


def check_an_old_process_is_told_of_and_replaced(node: Elsewhere) -> None:
    """As after another version was installed here: what runs is the one from before."""
    marker = node.state / "installation.json"
    before = node.pid("inference")
    marker.write_text(json.dumps({**json.loads(marker.read_text()), "product_version": "0.0"}))
    assert node.run("status").returncode == 4
    assert node.status()["restart_needed"]
    node.mongars("up", "--detach")
    assert node.pid("inference") not in (before, None)
    assert not node.status()["restart_needed"]


def check_the_port_is_closed_and_opened(main: Elsewhere) -> None:
    (member,) = json.loads(main.mongars("nodes", "members", "--json"))["nodes"]
    assert member["node_id"] == "attic"
    assert json.loads(main.mongars("nodes", "close", "--json"))["cut_off"] == ["attic"]
    assert main.wait_until(lambda: not available(main, "attic"), _CONNECTED_S)
    invite(main)
    assert main.wait_until(lambda: available(main, "attic"), _CONNECTED_S)


def check_nothing_else_runs_there(node: Elsewhere) -> None:
    told = node.status()
    assert list(told["services"]) == ["inference"]
    assert not (node.state / "database").exists()
    assert not (node.state / "keys" / "installation.key").exists()
    seeds = [path.name for path in (node.state / "keys" / "nats").iterdir()]
    assert seeds == ["inference-attic.nk"]
    refused = node.run("memory", "list")
    assert refused.returncode == 5
    assert "run this command there" in refused.stderr


def check_a_code_is_spent(main: Elsewhere, code: str, tmp_path: Path, wire: Wire) -> None:
    again = Elsewhere(tmp_path / "again", INLINE, namespace=wire.there)
    ran = again.run("join", code, "--name", "cellar")
    assert ran.returncode == 5
    assert "used already" in ran.stderr
    assert not (tmp_path / "again" / "installation.json").exists()
    assert "cellar" not in nodes(main)
