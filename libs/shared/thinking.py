"""Tells a model's thinking from its answer, in text that comes piece by piece: the same split however it is cut."""

from __future__ import annotations

import re
from dataclasses import dataclass

_CLOSES = {
    "<think>": "</think>",
    "<thinking>": "</thinking>",
    "[THINK]": "[/THINK]",
    "◁think▷": "◁/think▷",
}
"""Opening tag → the one that ends it: DeepSeek's and Qwen's, those of prompts, Mistral's, Kimi's."""
_OPENS = {close: opening for opening, close in _CLOSES.items()}
_TAGS = (*_CLOSES, *_OPENS)
_PLAIN = re.compile(r"[^<\[◁`~\n]+")
_FENCE = 3
"""Back-quotes or tildes at the beginning of a line that fence code."""
_DETAILS = re.compile(r"<details\b[^>]*\btype=\"reasoning\"[^>]*>.*?(?:</details>|\Z)\s*", re.DOTALL)
"""How some clients keep thinking in what they send back."""


@dataclass
class Split:
    """What a piece adds to the answer and to the thinking. ``retracts``: all the text before it was thinking."""

    text: str = ""
    thought: str = ""
    retracts: bool = False


class Splitter:
    """Reads one answer. Tags count outside code alone; a thought that is never closed goes on to the end.

    A closing tag that nothing opened means that the prompt opened it: then what came before was thinking, which
    a ``Split`` tells with ``retracts``. With ``only_at_start`` a thought can only come before the answer: for JSON.
    """

    def __init__(self, *, only_at_start: bool = False) -> None:
        self._only_at_start = only_at_start
        self._pending = ""
        self._closing: str | None = None
        self._fence: str | None = None
        self._code: str | None = None
        self._nested = 0
        self._line_start = True
        self._lead = ""
        self._said = False
        self._skipping = False
        self._thoughts = 0

    def feed(self, piece: str) -> list[Split]:
        """What can be told now; a few characters that may become a tag are held back."""
        if not self._pending and self._closing is None and not self._skipping and _PLAIN.fullmatch(piece):
            # most pieces of most answers: nothing in them could be a tag, and no thought is open
            splits: list[Split] = []
            self._emit(piece, splits)
            return splits
        return self._read(self._pending + piece, ended=False)

    def rest(self) -> list[Split]:
        """What was held back, once nothing more comes."""
        if not self._pending and not self._lead:
            return []
        splits = self._read(self._pending, ended=True)
        lead, self._lead = self._lead, ""
        return [*splits, Split(text=lead)] if lead else splits

    def _read(self, buffer: str, *, ended: bool) -> list[Split]:
        splits: list[Split] = []
        at = 0
        while at < len(buffer) and (step := self._step(buffer, at, ended, splits)):
            at += step
        self._pending = buffer[at:]
        return splits

    def _step(self, buffer: str, at: int, ended: bool, splits: list[Split]) -> int:
        """Characters that were understood; 0 when it takes more to tell."""
        plain = _PLAIN.match(buffer, at)
        if plain:
            self._emit(plain[0], splits)
            return len(plain[0])
        if buffer[at] == "\n":
            self._code = None
            self._emit("\n", splits)
            self._line_start = True
            return 1
        return self._run(buffer, at, ended, splits) if buffer[at] in "`~" else self._tag(buffer, at, ended, splits)

    def _run(self, buffer: str, at: int, ended: bool, splits: list[Split]) -> int:
        """Back-quotes or tildes: they fence code, or enclose a piece of it."""
        run = re.compile(re.escape(buffer[at]) + "+").match(buffer, at)
        assert run is not None
        after = buffer[run.end() : run.end() + 1]
        if not after and not ended:
            return 0
        if self._line_start and len(run[0]) >= _FENCE:
            self._fence_met(run[0], after)
        elif buffer[at] == "`" and self._fence is None:
            self._code = None if self._code == run[0] else self._code or run[0]
        self._emit(run[0], splits)
        return len(run[0])

    def _fence_met(self, run: str, after: str) -> None:
        if self._fence is None:
            self._fence, self._nested = run, 0
        elif run[0] == self._fence[0] and len(run) >= len(self._fence) and not after.strip():
            self._fence = None

    def _tag(self, buffer: str, at: int, ended: bool, splits: list[Split]) -> int:
        tag = next((tag for tag in _TAGS if buffer.startswith(tag, at)), None)
        if tag is None:
            begun = buffer[at : at + max(map(len, _TAGS))]
            if not ended and len(buffer) - at == len(begun) and any(tag.startswith(begun) for tag in _TAGS):
                return 0
            self._emit(buffer[at], splits)
            return 1
        after = buffer[at + len(tag) : at + len(tag) + 1]
        if not after and not ended:
            return 0
        if not (self._ends(tag, after) if self._closing else self._begins(tag, after, splits)):
            self._emit(tag, splits)
        return len(tag)

    def _ends(self, tag: str, after: str) -> bool:
        """Whether ``tag`` ends the thought; one that code in the thought opened is the code's."""
        assert self._closing is not None
        if self._fence is not None and tag == _OPENS[self._closing]:
            self._nested += 1
            return False
        if tag != self._closing or after == "`":
            return False
        if self._fence is not None and self._nested:
            self._nested -= 1
            return False
        self._turn(None)
        return True

    def _begins(self, tag: str, after: str, splits: list[Split]) -> bool:
        """Whether ``tag`` begins a thought, or shows that one had begun before the first word."""
        if self._fence is not None or self._code is not None or (self._only_at_start and self._said):
            return False
        if tag in _CLOSES:
            self._lead = ""
            self._turn(_CLOSES[tag])
            return True
        if not (self._thoughts or self._line_start or after in ("", "\n", "\r")):
            return False
        splits.append(Split(retracts=True, thought=self._lead))
        self._lead, self._said = "", False
        self._turn(None)
        return True

    def _turn(self, closing: str | None) -> None:
        self._closing = closing
        self._fence = self._code = None
        self._skipping = closing is not None or not self._said
        self._line_start = True
        self._thoughts += 1

    def _emit(self, said: str, splits: list[Split]) -> None:
        blank = not said.strip()
        self._line_start = self._line_start and blank
        if self._skipping:
            said = said.lstrip()
            if not said:
                return
            self._skipping = False
        if self._closing is not None:
            _last(splits).thought += said
        elif blank and not self._said:
            self._lead += said
        else:
            _last(splits).text += self._lead + said
            self._lead, self._said = "", True


def _last(splits: list[Split]) -> Split:
    if not splits:
        splits.append(Split())
    return splits[-1]


def apart(text: str) -> tuple[str, str]:
    """The answer and the thinking of a whole text."""
    splitter = Splitter()
    answer = thought = ""
    for split in (*splitter.feed(text), *splitter.rest()):
        if split.retracts:
            answer, thought = "", thought + answer
        answer, thought = answer + split.text, thought + split.thought
    return answer, thought


def without_thinking(text: str) -> str:
    """What an assistant said, of what a client kept of it."""
    if not any(sign in text for sign in (*_TAGS, 'type="reasoning"')):
        return text
    return apart(_DETAILS.sub("", text))[0]
