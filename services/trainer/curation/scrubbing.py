"""Puts a word of its kind in the place of everything personal, the same one throughout a conversation. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from services.trainer.curation.forms import Found, Kind
from services.trainer.curation.personal import find

LEAST_NAME = 3
"""Letters of a name that is looked for where nobody introduces it."""


class Scrubber:
    """Of one conversation: what was ``<EMAIL_1>`` once is it again, and so the sense of a conversation stays."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        """``names`` are known from elsewhere, such as what its owner is called."""
        self._known: dict[tuple[Kind, str], str] = {}
        self._names: dict[str, str] = {}
        """Part of a name that was introduced → its placeholder."""
        self.counts: Counter[Kind] = Counter()
        """How often something was replaced."""
        for name in names:
            if name.strip():
                self._learn_name(name)

    def learn(self, texts: Sequence[str]) -> None:
        """The names that the conversation itself introduces; to be told before the first text is scrubbed."""
        for text in texts:
            for found in find(text):
                if found.kind is Kind.NAME:
                    self._learn_name(text[found.start : found.end])

    def scrub(self, text: str) -> str:
        """``text`` without what is personal in it: looked at again until nothing is found, since what stood beside
        something found may have been a part of it."""
        while founds := find(text):
            parts, at = [], 0
            for found in founds:
                parts += [text[at : found.start], self._placeholder(found, text)]
                at = found.end
            text = "".join([*parts, text[at:]])
        return self._without_names(text)

    def _placeholder(self, found: Found, text: str) -> str:
        self.counts[found.kind] += 1
        if found.kind is Kind.NAME:
            return self._learn_name(text[found.start : found.end])
        return self._of(found.kind, found.value)

    def _of(self, kind: Kind, value: str) -> str:
        if (kind, value) not in self._known:
            number = 1 + sum(known is kind for known, _ in self._known)
            self._known[kind, value] = f"<{kind}_{number}>"
        return self._known[kind, value]

    def _learn_name(self, name: str) -> str:
        parts = name.split()
        placeholder = next((self._names[part] for part in parts if part in self._names), None)
        if placeholder is None:
            placeholder = self._of(Kind.NAME, name.upper())
        for part in parts:
            if len(part) >= LEAST_NAME and part[0].isupper():
                self._names.setdefault(part, placeholder)
        return placeholder

    def _without_names(self, text: str) -> str:
        if not self._names or not text:
            return text
        part = "|".join(sorted(map(re.escape, self._names), key=len, reverse=True))

        def replaced(match: re.Match[str]) -> str:
            self.counts[Kind.NAME] += 1
            return self._names[match[0].split()[0]]

        return re.sub(rf"(?<![\w<])(?:{part})(?: (?:{part}))*(?!\w)", replaced, text)


def totals(scrubbers: Mapping[str, Scrubber]) -> dict[str, int]:
    """Kind → how often it was replaced in all conversations; kinds that weren't found are left out."""
    found: Counter[Kind] = Counter()
    for scrubber in scrubbers.values():
        found += scrubber.counts
    return {str(kind): found[kind] for kind in Kind if found[kind]}
