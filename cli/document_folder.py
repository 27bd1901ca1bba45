"""Documents of a folder, and keeping the installation's in step with them."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from cli.errors import CommandError, Exit
from cli.gateway import Gateway, GatewayAway, Refused

KINDS = frozenset({".txt", ".text", ".md", ".markdown", ".mdown", ".mkd", ".pdf", ".docx"})
"""Endings of files that are tried when a folder is added; a file that is named is tried in any case."""
_LARGEST = 24 * 1024 * 1024
_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 15.0
_KEY_ENDED = frozenset({"invalid_api_key"})
_PASSING = frozenset({"unavailable", "timed_out", "overloaded", "not_yet_applied", "internal", "cancelled", "no_node"})
"""Refusals that say nothing of the document."""
_CHECKED_EVERY_S = 1.0
_MOST_LISTED = 1_000_000


@dataclass(frozen=True)
class Place:
    """A file or folder to add. Its documents are named from its own name on: ``notes/2024/trip.md``."""

    path: Path

    def name_of(self, file: Path) -> str:
        return file.relative_to(self.path.parent).as_posix()

    def files(self) -> Iterator[Path]:
        """Every file of a kind that is read; hidden ones and what links lead to are left alone."""
        if self.path.is_file():
            yield self.path
            return
        for folder, below, names in os.walk(self.path):
            below[:] = sorted(name for name in below if not name.startswith("."))
            yield from (Path(folder, name) for name in sorted(names) if is_plain(Path(folder, name)))

    def holds(self, file: Path) -> bool:
        """Whether ``file`` would be among ``files``, if it is there."""
        if self.path == file:
            return True
        inside = file.is_relative_to(self.path) and file != self.path
        return inside and not any(part.startswith(".") for part in file.relative_to(self.path).parts)


def place_at(path: Path) -> Place:
    """Raises CommandError when nothing is there."""
    if not path.exists():
        raise CommandError(f"there is nothing at {path}", "name a file or a folder", code=Exit.USAGE)
    return Place(path.resolve())


def is_document(file: Path) -> bool:
    return file.suffix.lower() in KINDS


def is_plain(file: Path) -> bool:
    """A file of its own that a person put there: not hidden, no link, no editor's lock."""
    return not file.name.startswith((".", "~$")) and file.is_file() and not file.is_symlink()


@dataclass
class Outcome:
    """What came of the files so far."""

    added: int = 0
    unchanged: int = 0
    forgotten: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    """Files of kinds that aren't read, by ending."""
    refused: list[dict[str, str]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return {
            "added": self.added,
            "unchanged": self.unchanged,
            "forgotten": self.forgotten,
            "skipped": dict(self.skipped),
            "refused": self.refused,
        }


Say = Callable[[str], None]


@dataclass
class DocumentFolder:
    """Adds and forgets documents over HTTP; what is refused is told and passed over."""

    gateway: Gateway
    say: Say
    outcome: Outcome = field(default_factory=Outcome)

    def add(self, place: Place, file: Path) -> None:
        """Raises GatewayAway, and Refused when it isn't for the document's sake."""
        if place.path != file and not is_document(file):
            kind = file.suffix.lower() or "no ending"
            if not self.outcome.skipped[kind]:
                self.say(f"skipped: files with {kind} are not read")
            self.outcome.skipped[kind] += 1
            return
        name = place.name_of(file)
        try:
            content = _content(file)
            answered = self.gateway.ask("POST", "/api/v1/documents", content=content, name=name)
        except OSError as error:
            self._refused(name, error.strerror or "can't be read")
        except Refused as error:
            if error.reason in _PASSING | _KEY_ENDED:
                raise
            self._refused(name, error.problem)
        else:
            self._told(name, answered)

    def _told(self, name: str, answered: dict[str, Any]) -> None:
        if answered["changed"]:
            self.outcome.added += 1
            self.say(f"added: {name} (passages: {answered['document']['passages']})")
        else:
            self.outcome.unchanged += 1

    def _refused(self, name: str, why: str) -> None:
        self.outcome.refused.append({"name": name, "reason": why})
        self.say(f"not added: {name}: {why}")

    def forget(self, name: str) -> None:
        """The document of that name, and those below a folder of that name; nothing when there are none."""
        for document in self.gateway.pages("/api/v1/documents", "documents", most=_MOST_LISTED):
            if document["name"] == name or document["name"].startswith(f"{name}/"):
                self.gateway.ask("DELETE", f"/api/v1/documents/{document['document_id']}")
                self.outcome.forgotten += 1
                self.say(f"forgotten: {document['name']}")


def _content(file: Path) -> bytes:
    """Raises OSError."""
    if file.stat().st_size > _LARGEST:
        raise OSError(27, f"larger than {_LARGEST // 1024 // 1024} MB")
    return file.read_bytes()


class Watch:
    """Follows folders until stopped: new and changed files are added, removed ones forgotten if that is wanted."""

    def __init__(self, folder: DocumentFolder, places: Sequence[Place], *, forget_removed: bool) -> None:
        self._folder = folder
        self._places = places
        self._forget_removed = forget_removed
        self.stopped = threading.Event()

    def run(self) -> None:
        """Adds what is there, then follows. Waits for an installation that is away."""
        from watchfiles import watch

        changes = watch(
            *(place.path for place in self._places),
            watch_filter=None,
            stop_event=self.stopped,
            rust_timeout=int(_CHECKED_EVERY_S * 1000),
            yield_on_timeout=True,
            raise_interrupt=True,
        )
        next(changes)  # watching before looking, so that nothing falls between
        self.look()
        self._folder.say("watching; Ctrl-C ends")
        for batch in changes:
            for file in sorted({Path(path) for _, path in batch}):
                self.changed(file)

    def look(self) -> None:
        """Adds everything that is there."""
        for place in self._places:
            for file in place.files():
                self._patiently(partial(self._folder.add, place, file))

    def changed(self, file: Path) -> None:
        """Something happened to ``file``, or to the folder of that name."""
        for place in self._places:
            if not place.holds(file):
                continue
            if file.is_dir() or is_plain(file):
                for found in Place(file).files():
                    self._patiently(partial(self._folder.add, place, found))
            elif self._forget_removed and not file.exists():
                self._patiently(partial(self._folder.forget, place.name_of(file)))

    def _patiently(self, act: Callable[[], None]) -> None:
        """Does it, again and again while the installation is away."""
        wait_s, told = _FIRST_WAIT_S, ""
        while not self.stopped.is_set():
            try:
                act()
                return
            except (GatewayAway, Refused) as error:
                if isinstance(error, Refused) and error.reason in _KEY_ENDED:
                    self._renew()
                    continue
                if error.problem != told:
                    self._folder.say(f"{error.problem}; trying again")
                told = error.problem
            self.stopped.wait(wait_s)
            wait_s = min(_LONGEST_WAIT_S, wait_s * 2)

    def _renew(self) -> None:
        try:
            self._folder.gateway.key.renew()
        except CommandError:
            self.stopped.wait(_LONGEST_WAIT_S)
