"""Showing what a long command does: a moving line on a terminal, plain lines anywhere else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.text import Text


class Progress:
    """Writes to stderr, so that what a command answers can be piped."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self._console = Console(stderr=True, quiet=quiet, highlight=False, soft_wrap=True)

    def say(self, text: str) -> None:
        """One line that stays."""
        self._console.print(text, markup=False)

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Shows ``title`` while it lasts, and how long it took; a failure leaves the title marked."""
        begun = time.monotonic()
        try:
            with self._moving(title):
                yield
        except BaseException:
            self._console.print(f"[red]✗[/] {title}")
            raise
        self._console.print(f"[green]✓[/] {title} [dim]({time.monotonic() - begun:.1f} s)[/]")

    @contextmanager
    def changing(self, title: str) -> Iterator[Callable[[str], None]]:
        """A line that is said anew as things go on: in place on a terminal, else one more line where it changed."""
        if not self._console.is_terminal:
            yield self._said_once()
            return
        with self._console.status(Text(title)) as status:
            yield lambda text: status.update(Text(text))

    def _said_once(self) -> Callable[[str], None]:
        last = ""

        def say(text: str) -> None:
            nonlocal last
            if text != last:
                last = text
                self.say(text)

        return say

    @contextmanager
    def _moving(self, title: str) -> Iterator[None]:
        if self._console.is_terminal:
            with self._console.status(title):
                yield
        else:
            yield
