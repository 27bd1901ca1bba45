"""Reading a large JSON document one element at a time, within bounds. Pure."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from libs.shared.errors import ArchiveUnreadable

LARGEST_ELEMENT = 16 * 1024 * 1024
"""Characters of one element: a conversation of another assistant, or one message of ours."""
_LONGEST_KEY = 64
_SPACE = re.compile(r"[ \t\r\n]*")
_FIRST_LOOK = 64 * 1024
_decode = json.JSONDecoder().raw_decode


def elements(pieces: Iterable[bytes]) -> Iterator[tuple[str, Any]]:
    """The elements of a document's outermost array, under the name ``""``; or, of an outermost object, the elements of
    each of its arrays under the array's name, and what isn't an array under its own.

    Raises ArchiveUnreadable where it isn't JSON, not UTF-8, or an element is too large.
    """
    text = _Text(pieces)
    opening = text.next_character()
    if opening == "[":
        yield from (("", element) for element in _array(text))
    elif opening == "{":
        yield from _members(text)
    else:
        raise _unreadable()
    if text.peek():
        raise _unreadable()


def _members(text: _Text) -> Iterator[tuple[str, Any]]:
    if text.peek() == "}":
        text.next_character()
        return
    while True:
        name = text.value()
        if not isinstance(name, str) or len(name) > _LONGEST_KEY or text.next_character() != ":":
            raise _unreadable()
        if text.peek() == "[":
            text.next_character()
            yield from ((name, element) for element in _array(text))
        else:
            yield name, text.value()
        if not _goes_on(text, "}"):
            return


def _array(text: _Text) -> Iterator[Any]:
    if text.peek() == "]":
        text.next_character()
        return
    while True:
        yield text.value()
        if not _goes_on(text, "]"):
            return


def _goes_on(text: _Text, end: str) -> bool:
    """Whether another element follows."""
    found = text.next_character()
    if found not in (",", end):
        raise _unreadable()
    return found == ","


class _Text:
    """Characters that come as they are needed; what was used is let go."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._text = ""
        self._at = 0
        self._ended = False

    def peek(self) -> str:
        """The next character that isn't space; nothing at the end."""
        while True:
            space = _SPACE.match(self._text, self._at)
            assert space is not None  # it matches nothing, too
            self._at = space.end()
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more(1):
                return ""

    def next_character(self) -> str:
        """Takes it."""
        found = self.peek()
        self._at += len(found)
        return found

    def value(self) -> Any:
        """Takes one value. More text is looked at in doubling steps, so that each character is parsed few times."""
        self.peek()
        look = _FIRST_LOOK
        while True:
            whole = not self._more(look)
            try:
                value, end = _decode(self._text, self._at)
            except (ValueError, RecursionError):
                if whole or look > LARGEST_ELEMENT:
                    raise _unreadable() from None
            else:
                if end < len(self._text) or whole:  # a number could go on
                    self._at = end
                    return value
            look *= 2

    def _more(self, wanted: int) -> bool:
        """Reads until ``wanted`` characters lie ahead; False when the document ended before."""
        if len(self._text) - self._at >= wanted:
            return True  # nothing is copied, however many elements lie ahead
        parts = [self._text[self._at :]]
        have = len(parts[0])
        while have < wanted and not self._ended:
            piece = next(self._pieces, None)
            self._ended = piece is None
            try:
                parts.append(self._decoder.decode(piece or b"", final=self._ended))
            except UnicodeDecodeError:
                raise _unreadable() from None
            have += len(parts[-1])
        self._text, self._at = "".join(parts), 0
        return have >= wanted


def _unreadable() -> ArchiveUnreadable:
    return ArchiveUnreadable("This isn't an archive of conversations, or it can't be read to its end.")
