"""Servers of models in a whole installation: added, talked to, marked, refused; what they think is not remembered."""

from __future__ import annotations

import asyncio
import json
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.person import Meet, Person
from tests.integration.inference.upstreams import FakeOllama, FakeOpenAI, FakeUpstream
from tests.support.installation import Installation, installation

KEY = "sk-household-4711"
SEEN_WITHIN_S = 20.0
BEYOND = "http://203.0.113.7:8000/v1"
"""An address set aside for documentation: refused before anything is sent there."""


@contextmanager
def serving(upstream: FakeUpstream) -> Iterator[FakeUpstream]:
    """In a thread of its own: the tests here are not asynchronous."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(upstream.start(), loop).result(10)
    try:
        yield upstream
    finally:
        asyncio.run_coroutine_threadsafe(upstream.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installation(tmp_path_factory.mktemp("upstreams") / "state") as made:
        made.up()
        yield made


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_text(KEY + "\n")
    return path


def names(person: Person) -> dict[str, dict[str, object]]:
    return {model["id"]: model["mongars"] for model in person.models()}


def check_the_key_shows_nowhere(installed: Installation, *printed: str) -> None:
    assert all(KEY not in text for text in printed)
    assert KEY not in (installed.state / "upstreams.json").read_text()
    for log in (installed.state / "logs").glob("*.log"):
        assert KEY not in log.read_text()
    for pid in installed.processes():
        for about in ("cmdline", "environ"):
            assert KEY.encode() not in Path(f"/proc/{pid}/{about}").read_bytes()


def test_an_upstream_is_added_talked_to_and_removed(installed: Installation, meet: Meet, key_file: Path) -> None:
    ada = meet(installed, "ada")
    with serving(FakeOpenAI()) as upstream:
        upstream.key = KEY
        upstream.words = ("<th", "ink>the user keeps wombats", "</think>", "\n\nBees live", " in hives.")
        printed = installed.mongars(
            "upstreams", "add", upstream.url, "--name", "shed", "--key-file", str(key_file), "--model", "big", "--json"
        )
        told = json.loads(printed)
        assert (told["backend"], told["models"], told["remote"], told["served"]) == ("openai", ["big"], False, True)
        kept = installed.state / "keys" / "upstreams" / "shed.key"
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        assert names(ada)["big"] == {"remote": False, "upstream": "shed"}
        answer = ada.say("Where do bees live?", model="big")
        assert answer.text == "Bees live in hives."
        assert "wombats" in answer.body["choices"][0]["message"]["reasoning_content"]
        assert "x-mongars-remote" not in answer.headers
        streamed = [c["choices"][0]["delta"] for c in ada.stream("And now?", model="big") if c["choices"]]
        assert "".join(d.get("content", "") for d in streamed) == "Bees live in hives."
        assert "wombats" in "".join(d.get("reasoning_content", "") for d in streamed)
        resent = [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "<think>of wombats</think>b", "reasoning_content": "wombats"},
            {"role": "user", "content": "c"},
        ]
        ada.http.post("/v1/chat/completions", json={"model": "big", "messages": resent}).raise_for_status()
        assert "wombats" not in json.dumps([asked["messages"] for asked in upstream.asked])
        exported = installed.mongars("memory", "export", "--user", "ada")
        assert "hives" in exported
        assert "wombats" not in exported
        assert json.loads(installed.mongars("upstreams", "test", "shed", "--json"))["answered"] == "big"
        listed = installed.mongars("upstreams", "list", "--json")
        check_the_key_shows_nowhere(installed, printed, listed, installed.mongars("upstreams", "list"))
        (row,) = json.loads(listed)["upstreams"]
        assert (row["name"], row["remote"], row["key"], row["models"]) == ("shed", False, True, ["big"])
    installed.mongars("upstreams", "rm", "shed")
    assert not kept.exists()
    assert installed.wait_until(lambda: "big" not in names(ada), SEEN_WITHIN_S)


def test_what_is_no_use_is_refused_with_the_remedy_and_nothing_is_kept(installed: Installation, key_file: Path) -> None:
    with serving(FakeOpenAI()) as upstream:
        upstream.key = "another"
        cases: list[tuple[list[str], int, str, str]] = [
            ([upstream.url, "--key-file", str(key_file)], 5, "refused its key", "--key-file"),
            ([BEYOND], 5, "beyond this network", "allow-remote on"),
            ([installed.url], 2, "itself", "another server"),
        ]
        for arguments, code, problem, remedy in cases:
            refused = installed.run("upstreams", "add", *arguments, "--name", "odd")
            assert refused.returncode == code, refused.stderr
            assert problem in refused.stderr
            assert remedy in refused.stderr
            assert KEY not in refused.stdout + refused.stderr
    assert "odd" not in {one["name"] for one in json.loads((installed.state / "upstreams.json").read_text())}
    assert not (installed.state / "keys" / "upstreams" / "odd.key").exists()


def test_remote_models_need_an_admin_s_leave_and_are_marked(installed: Installation, meet: Meet) -> None:
    ada = meet(installed, "ada")
    with serving(FakeOllama()) as upstream:
        installed.mongars("upstreams", "add", upstream.url, "--name", "attic")
        far = "attic/huge:cloud"
        assert installed.wait_until(lambda: "llama" in names(ada), SEEN_WITHIN_S)
        assert far not in names(ada)
        installed.mongars("upstreams", "allow-remote", "on")
        assert installed.wait_until(lambda: far in names(ada), SEEN_WITHIN_S)
        assert names(ada)[far] == {"remote": True, "upstream": "attic"}
        assert names(ada)["llama"]["remote"] is False
        assert ada.say("Where do bees live?", model=far).headers["x-mongars-remote"] == "attic"
        assert "x-mongars-remote" not in ada.say("And wasps?").headers, "none is asked that nobody named"
        assert installed.wait_until(lambda: "remote-models" in installed.status()["degraded"], SEEN_WITHIN_S)
        row = json.loads(installed.mongars("upstreams", "list", "--json"))["upstreams"][0]
        assert row["remote_models"] == [far]
        installed.mongars("upstreams", "allow-remote", "off")
        asked = len(upstream.asked)
        body = {"model": far, "messages": [{"role": "user", "content": "my secret"}]}
        answered = ada.http.post("/v1/chat/completions", json=body)
        assert "x-mongars-remote" not in answered.headers, "it is quoted from memory, or refused"
        assert len(upstream.asked) == asked
        installed.mongars("upstreams", "rm", "attic")
