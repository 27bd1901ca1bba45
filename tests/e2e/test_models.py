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
def hub(models: Path) -> Iterator[LocalHub]:
    """It has the tiny model under a name of its own, and under every name of the catalogue."""
    tiny = (models / language_model.GGUF_FILE).read_bytes()
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


def test_a_terminal_offers_one_model_brings_it_on_yes_and_remembers_a_no(
    make_installation: Callable[..., Installation], meet: Meet, hub: LocalHub
) -> None:
    installed = make_installation("offered", MONGARS_HUB_URL=hub.url)
    with terminal(installed, "--port", str(unusual_port())) as screen:
        asked = screen.until("Bring it now? [Y/n]")
        for said in ("licence  apache-2.0", "size ", "source ", "GGUF"):
            assert said in asked
        assert hub.requests == [], "nothing is downloaded before the answer"
        screen.answer("y")
        screen.until("answers from now on")
        ada: Person = meet(installed, "ada")
        answered = ada.say(FACT)
        assert answered.degraded is None
        installed.mongars("models", "rm", answered.body["model"], "--force")
        check_it_explains_itself_and_quotes(installed, ada)
    with terminal(installed) as screen:
        screen.until("Bring it now? [Y/n]")
        screen.answer("n")
        assert "mongars models pull" in screen.until("Ctrl-C stops it.").partition("[Y/n]")[2]
    with terminal(installed) as screen:
        assert "Bring it" not in screen.until("Ctrl-C stops it.")


def test_a_model_comes_gets_a_role_and_goes(
    make_installation: Callable[..., Installation], meet: Meet, hub: LocalHub, models: Path
) -> None:
    installed = make_installation("models", MONGARS_HUB_URL=hub.url)
    installed.up("--timeout", "240")
    assert hub.asked == [], "--detach neither asks nor downloads"
    ada: Person = meet(installed, "ada")
    explained = ada.say(FACT)
    assert explained.degraded == "no-model"
    assert explained.text.count("mongars models pull") == 1
    first = json.loads(installed.mongars("models", "pull", REPO, "--json"))
    assert (first["name"], first["served"], first["licence"]) == ("small-q4_k_m", True, "apache-2.0")
    assert ada.say("Where does Odile live?").body["model"] == "small-q4_k_m"
    stick = models / language_model.GGUF_FILE
    installed.mongars("models", "pull", "--from", str(stick), "--name", "coder", "--role", "code", "--json")
    assert ada.say("Where does Odile live?").body["model"] == "small-q4_k_m", "the one that answered goes on"
    assert ada.say("def add(a, b):", model="mongars/code").body["model"] == "coder"
    told = {model["id"]: model for model in ada.http.get("/v1/models").json()["data"]}
    assert told["mongars/code"]["alias_of"] == "coder"
    rows = {row["name"]: row for row in json.loads(installed.mongars("models", "list", "--json"))}
    assert (rows["coder"]["roles"], rows["small-q4_k_m"]["roles"]) == (["code"], ["chat"])
    assert installed.run("models", "rm", "coder").returncode == 5
    for name, freed in (("coder", ["code"]), ("small-q4_k_m", ["chat"])):
        assert json.loads(installed.mongars("models", "rm", name, "--force", "--json"))["freed"] == freed
    check_it_explains_itself_and_quotes(installed, ada)
