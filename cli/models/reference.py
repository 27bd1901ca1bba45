"""What is to be pulled: ``REPO``, ``REPO:FILE`` or ``REPO:QUANT``, held against the files that are there. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from cli.errors import CommandError, Exit

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_REVISION = re.compile(r"[\w][\w./-]{0,199}")
_SPLIT = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf", re.IGNORECASE)
_PREFERRED = ("q4_k_m", "q4_k_s", "q5_k_m", "q4_0", "q6_k", "q8_0", "f16", "bf16")
"""With no quantisation named: the usual middle between size and quality first."""
_SHOWN = 12


@dataclass(frozen=True)
class Reference:
    """``wanted`` is a file's name or a quantisation; None: whichever is usual."""

    repository: str
    wanted: str | None = None
    revision: str = "main"


def parse(text: str) -> Reference:
    """``OWNER/NAME[@REVISION][:FILE or quantisation]``. Raises CommandError."""
    place, _, wanted = text.partition(":")
    repository, _, revision = place.partition("@")
    known = _REPOSITORY.fullmatch(repository) and _REVISION.fullmatch(revision or "main")
    if not known or ".." in text or wanted.startswith("/"):
        raise CommandError(
            f"{text!r} names no repository",
            "write OWNER/NAME, or OWNER/NAME:FILE.gguf, or OWNER/NAME:Q4_K_M",
            code=Exit.USAGE,
        )
    return Reference(repository, wanted or None, revision or "main")


def choose(files: Sequence[str], wanted: str | None, repository: str) -> tuple[str, ...]:
    """The file to pull, or all parts of a split one, the first first. Raises CommandError, naming what is there."""
    models = [f for f in files if f.lower().endswith(".gguf") and not f.rsplit("/", 1)[-1].startswith("mmproj")]
    if not models:
        raise CommandError(
            f"{repository} holds no GGUF file",
            "look for a repository of the same model whose name ends in -GGUF",
            code=Exit.REFUSED,
        )
    first = _first(models, wanted)
    if first is None:
        raise CommandError(
            f"{repository} has no {wanted or 'usual quantisation'}", f"it has: {_shown(models)}", code=Exit.REFUSED
        )
    return _with_parts(first, models, repository)


def _first(models: Sequence[str], wanted: str | None) -> str | None:
    if wanted is None:
        found = (name for quant in _PREFERRED for name in _of_quant(models, quant))
        return next(found, models[0] if len(models) == 1 else None)
    for name in models:
        if wanted.lower() in (name.lower(), name.rsplit("/", 1)[-1].lower()):
            return name
    return next(iter(_of_quant(models, wanted.lower())), None)


def _of_quant(models: Sequence[str], quant: str) -> list[str]:
    """Those whose name has ``quant`` as a word of its own: ``q4_k`` isn't in ``q4_k_m``. Whole files before split."""
    bounded = re.compile(rf"(?<![a-z0-9_]){re.escape(quant)}(?![a-z0-9_])")
    return sorted((n for n in models if bounded.search(n.lower())), key=lambda n: (bool(_SPLIT.fullmatch(n)), n))


def _with_parts(first: str, models: Sequence[str], repository: str) -> tuple[str, ...]:
    split = _SPLIT.fullmatch(first)
    if split is None:
        return (first,)
    count = int(split[3])
    parts = tuple(f"{split[1]}-{number:05}-of-{split[3]}.gguf" for number in range(1, count + 1))
    missing = [part for part in parts if part not in models]
    if missing or not parts:
        raise CommandError(f"{repository} lacks {missing[0] if missing else first}", "choose another file of it")
    return parts


def _shown(models: Sequence[str]) -> str:
    more = f", and {len(models) - _SHOWN} more" if len(models) > _SHOWN else ""
    return ", ".join(sorted(models)[:_SHOWN]) + more
