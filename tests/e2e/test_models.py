"""A language model in a whole installation: offered on a terminal, pulled, answering, and taken away again."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from cli.models.catalogue import catalogue
from tests.e2e.person import Meet, Person
from tests.support import language_model
from tests.support.hub import LocalHub, Upstream, in_a_thread
from tests.support.installation import Installation, unusual_port

REPO = "Acme/Tiny-GGUF"
FACT = "My sister Odile moved to Chicoutimi in May."
WAIT_S = 240.0


@pytest.fixture
def stick() -> Path:
    """The file of a tiny model."""
    return language_model.cached() / language_model.GGUF_FILE


@pytest.fixture
def hub(stick: Path) -> Iterator[LocalHub]:
    """It has the tiny model under a name of its own, and under every name of the catalogue."""
    tiny = stick.read_bytes()
    suggested = {model.repository: {model.file: Upstream(tiny)} for model in catalogue().models}
    made = LocalHub({REPO: {"small-q4_k_m.gguf": Upstream(tiny)}, **suggested})
    with in_a_thread(made):
        yield made


class Terminal:
    """``mongars up`` on a terminal of its own."""

    def __init__(self, installed: Installation, *arguments: str) -> None:
        self._master, slave = pty.openpty()
        self._process = subprocess.Popen(
            installed.command("up", *arguments),
            env={**installed.shell, "TERM": "dumb"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        os.set_blocking(self._master, False)
        self.shown = ""

    def until(self, words: str) -> str:
        """What was shown up to ``words``."""
        deadline = time.monotonic() + WAIT_S
        while words not in self._read():
            assert self._process.poll() is None, self.shown
            assert time.monotonic() < deadline, self.shown
            time.sleep(0.05)
        return self.shown

    def _read(self) -> str:
        with suppress(OSError):  # nothing there yet, or no more to come
            self.shown += os.read(self._master, 65536).decode(errors="replace")
        return self.shown

    def until_it_ends(self) -> str:
        """All that was shown by a command that ends by itself, and well."""
        deadline = time.monotonic() + WAIT_S
        while self._process.poll() is None:
            assert time.monotonic() < deadline, self._read()
            time.sleep(0.05)
        assert self._process.returncode == 0, self._read()
        return self._read()

    def answer(self, text: str) -> None:
        os.write(self._master, text.encode() + b"\n")

    def stop(self) -> int:
        """Ctrl-C; what is shown meanwhile is read, so that nothing waits for the terminal."""
        self._process.send_signal(signal.SIGINT)
        while self._process.poll() is None:
            self._read()
            time.sleep(0.05)
        return self._process.wait()


@contextmanager
def terminal(installed: Installation, *arguments: str) -> Iterator[Terminal]:
    made = Terminal(installed, "--timeout", "240", *arguments)
    try:
        yield made
    finally:
        assert made.stop() == 0, made.shown


def check_it_explains_itself_and_quotes(installed: Installation, ada: Person) -> None:
    explained = ada.say("Où habite Odile ?")
    assert explained.degraded == "no-model"
    assert explained.text.startswith("Aucun modèle de langue n'est installé ici")
    assert explained.text.count("mongars models pull") == 1
    # what was said is searched once it is indexed, which waits for a lull
    assert installed.wait_until(lambda: f"you said: “{FACT}”" in ada.say("Where does Odile live?").text, 60)


def kill_a_pull_midway(installed: Installation, hub: LocalHub) -> None:
    ((name, upstream),) = hub.repositories[REPO].items()
    upstream.stall_after = [len(upstream.content) // 2]
    part = installed.state / "models" / f"{name}.part"
    command = installed.command("models", "pull", REPO)
    pulling = subprocess.Popen(command, env=installed.shell, stderr=subprocess.DEVNULL)
    try:
        assert installed.wait_until(lambda: part.exists() and part.stat().st_size > 0, 60)
    finally:
        pulling.kill()
        pulling.wait()
    assert not part.with_suffix("").exists(), "half a model is never served"


def test_a_model_is_offered_brought_resumed_given_a_role_and_taken_away(
    make_installation: Callable[..., Installation], meet: Meet, hub: LocalHub, stick: Path
) -> None:
    installed = make_installation("models", MONGARS_HUB_URL=hub.url)
    with terminal(installed, "--port", str(unusual_port())) as screen:
        asked = screen.until("Bring it now? [Y/n]")
        for said in ("licence  apache-2.0", "size ", "source ", "GGUF"):
            assert said in asked
        check_detached_it_neither_asks_nor_downloads(installed, hub)
        screen.answer("y")
        screen.until("answers from now on")
        ada: Person = meet(installed, "ada")
        offered = ada.say(FACT).body["model"]
        assert offered in {model.file.removesuffix(".gguf") for model in catalogue().models}

        kill_a_pull_midway(installed, hub)
        second = json.loads(installed.mongars("models", "pull", REPO, "--role", "code", "--json"))
        assert hub.requests[-1]["Range"].startswith("bytes="), "it goes on where the killed one was"
        assert (second["served"], second["licence"], second["vouched_by"]) == (True, "apache-2.0", "the hub")
        assert ada.say("Where does Odile live?").body["model"] == offered, "the one that answered goes on"
        assert ada.say("def add(a, b):", model="mongars/code").body["model"] == second["name"]
        told = {model["id"]: model for model in ada.models()}
        assert told["mongars/code"]["alias_of"] == second["name"]
        rows = {row["name"]: row for row in json.loads(installed.mongars("models", "list", "--json"))}
        assert (rows[second["name"]]["roles"], rows[offered]["roles"]) == (["code"], ["chat"])

        assert installed.run("models", "rm", offered).returncode == 5
        for name, freed in ((second["name"], ["code"]), (offered, ["chat"])):
            assert json.loads(installed.mongars("models", "rm", name, "--force", "--json"))["freed"] == freed
        check_it_explains_itself_and_quotes(installed, ada)

    brought = json.loads(installed.mongars("models", "pull", "--from", str(stick), "--json"))
    assert (brought["name"], brought["served"], brought["vouched_by"]) == (stick.stem, False, None)
    (row,) = json.loads(installed.mongars("models", "list", "--json"))
    assert (row["name"], row["state"]) == (stick.stem, "present")


def check_detached_it_neither_asks_nor_downloads(installed: Installation, hub: LocalHub) -> None:
    """On a terminal too."""
    detached = Terminal(installed, "--detach")
    assert "Bring it" not in detached.until_it_ends()
    assert hub.requests == [], "nothing is downloaded before a yes"
