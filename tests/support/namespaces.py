"""Two machines on one: network namespaces with a wire between them. Root alone can make them."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from tests.support.installation import Installation


def require_namespaces() -> None:
    """Skips the test, with the reason, where they can't be made."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and the ip command")
    probe = f"mgp{secrets.token_hex(3)}"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        pytest.skip(f"network namespaces can't be made here: {made.stderr.strip()}")
    _ip("netns", "del", probe)


@dataclass(frozen=True)
class Wire:
    """Two namespaces, and the interface of each."""

    here: str
    there: str

    def cut(self) -> None:
        """Nothing passes any more, and neither side is told so."""
        self._everything_lost(True)

    def mend(self) -> None:
        self._everything_lost(False)

    def address(self, number: int) -> str:
        """Of the first namespace; more are given with ``move``."""
        return f"10.77.0.{number}"

    def move(self, namespace: str, old: int, new: int) -> None:
        """Another address instead of the one that the machine had."""
        _ip("-n", namespace, "addr", "del", f"{self.address(old)}/24", "dev", _INTERFACE)
        _ip("-n", namespace, "addr", "add", f"{self.address(new)}/24", "dev", _INTERFACE)

    def _everything_lost(self, lost: bool) -> None:
        state = "down" if lost else "up"
        _ip("-n", self.there, "link", "set", _INTERFACE, state)


@dataclass
class Elsewhere(Installation):
    """An installation, or a node, whose every process is in one namespace."""

    namespace: str = ""

    def command(self, *arguments: str) -> list[str]:
        return ["ip", "netns", "exec", self.namespace, *super().command(*arguments)]


@contextmanager
def wired() -> Iterator[Wire]:
    """The first has ``10.77.0.1``, the second ``10.77.0.2``; what is left in them is ended."""
    unique = secrets.token_hex(3)
    names = (f"mga{unique}", f"mgb{unique}")
    try:
        for name in names:
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
        ends = (_INTERFACE, "netns", names[0], "type", "veth", "peer", "name", _INTERFACE, "netns", names[1])
        _ip("link", "add", *ends)
        for number, name in enumerate(names, start=1):
            _ip("-n", name, "addr", "add", f"10.77.0.{number}/24", "dev", _INTERFACE)
            _ip("-n", name, "link", "set", _INTERFACE, "up")
        yield Wire(*names)
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


_INTERFACE = "wire0"


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], capture_output=True, text=True, check=True)
