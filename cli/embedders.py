"""Embedders in the models folder: taken in from a folder as it was downloaded, tried, listed, removed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cli.errors import CommandError, Exit
from libs.shared.durable import sync_folder

FOLDER = "embedders"
_TRIAL = "services.inference.embedder_trial"
_TRIAL_TIMEOUT_S = 900.0
"""A large one is built on a small board in minutes."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_KEPT = ("tokenizer.json", "config.json")
_WEIGHTS = ("model.onnx", "onnx/model.onnx")
_SAFETENSORS = "model.safetensors"
_LONGEST_PREFIX = 1000
_E5 = re.compile(r"(?:^|[-_])e5(?:$|[-_])", re.IGNORECASE)


@dataclass(frozen=True)
class Asked:
    """What the embedder's own files leave open, as the caller says it; None: as they say, or as is usual."""

    pooling: str | None = None
    query_prefix: str | None = None
    passage_prefix: str | None = None
    max_tokens: int | None = None


@dataclass(frozen=True)
class Description:
    """``embedder.json``."""

    pooling: str = "mean"
    normalise: bool = True
    max_tokens: int = 512
    query_prefix: str = ""
    passage_prefix: str = ""
    dimensions: int | None = None


@dataclass(frozen=True)
class Added:
    """An embedder that passed its trial."""

    name: str
    version: str
    dimensions: int
    across_languages: float
    unrelated: float

    @property
    def id(self) -> str:
        return f"{self.name}@{self.version}"


def described(source: Path, name: str, asked: Asked) -> Description:
    """From the files that Sentence Transformers leaves in a model's folder, where they are there."""
    pooling = _json(source / "1_Pooling" / "config.json")
    limits = _json(source / "sentence_bert_config.json")
    prompts = _prompts(source)
    usual = ("query: ", "passage: ") if _E5.search(name) else ("", "")
    query = prompts.get("query", usual[0])
    passage = prompts.get("passage", prompts.get("document", usual[1]))
    return Description(
        pooling=asked.pooling or ("cls" if pooling.get("pooling_mode_cls_token") else "mean"),
        max_tokens=asked.max_tokens or _within(limits.get("max_seq_length"), 16, 8192) or 512,
        query_prefix=query if asked.query_prefix is None else asked.query_prefix,
        passage_prefix=passage if asked.passage_prefix is None else asked.passage_prefix,
    )


def add(root: Path, source: Path, name: str, asked: Asked) -> Added:
    """Copies the embedder aside, tries it there, and puts it in its place. Raises CommandError."""
    checked_name(name)
    if (root / name).exists():
        raise CommandError(f"there is an embedder {name} already", f"remove it first: mongars embedders rm {name}")
    aside = root / f".{name}.new"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True, mode=0o700)
    try:
        _copy(source, aside)
        description = described(source, name, asked)
        _write(aside, description)
        told = _trial(aside, name)
        _write(aside, Description(**{**asdict(description), "dimensions": told["dimensions"]}))
        aside.rename(root / name)
        sync_folder(root)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return Added(name, **told)


def remove(root: Path, name: str) -> None:
    """In one step for whoever looks, then for good. Raises CommandError."""
    checked_name(name)
    if not (root / name).is_dir():
        raise CommandError(f"no embedder {name} is installed", "see: mongars embedders list", code=Exit.REFUSED)
    aside = root / f".{name}.old"
    shutil.rmtree(aside, ignore_errors=True)
    (root / name).rename(aside)
    shutil.rmtree(aside)


def checked_name(name: str) -> None:
    """Raises CommandError for what can't be a folder's name, or part of a version."""
    if not _NAME.fullmatch(name):
        raise CommandError(
            f"{name!r} can't be an embedder's name", "letters, digits, dots, dashes; --name NAME", code=Exit.USAGE
        )


def _copy(source: Path, target: Path) -> None:
    """The tokenizer, and the weights in the form that is there."""
    graph = next((source / name for name in _WEIGHTS if (source / name).is_file()), None)
    weights = source / _SAFETENSORS
    if not (source / _KEPT[0]).is_file() or (graph is None and not weights.is_file()):
        raise CommandError(
            f"{source} is not an embedder's folder",
            "it needs tokenizer.json, and model.onnx or model.safetensors with config.json",
            code=Exit.USAGE,
        )
    for name in _KEPT:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
    if graph is None:
        shutil.copyfile(weights, target / _SAFETENSORS)
        return
    for part in (graph, *graph.parent.glob("model.onnx_data*")):
        shutil.copyfile(part, target / part.name)


def _write(folder: Path, description: Description) -> None:
    (folder / "embedder.json").write_text(json.dumps(asdict(description), indent=2) + "\n")


def _trial(folder: Path, name: str) -> dict[str, Any]:
    """In a process of its own: loading takes memory, and a broken file may take the process with it."""
    try:
        ran = subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-m", _TRIAL, str(folder), name],
            capture_output=True,
            timeout=_TRIAL_TIMEOUT_S,
            check=False,
        )
        told = json.loads(ran.stdout)
    except (ValueError, subprocess.TimeoutExpired):
        raise CommandError(f"{name} can't be loaded", "is the download whole?") from None
    if "refused" in told:
        raise CommandError(told["refused"], code=Exit.REFUSED)
    return dict(told)


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _prompts(source: Path) -> dict[str, str]:
    """By purpose."""
    told = _json(source / "config_sentence_transformers.json").get("prompts")
    if not isinstance(told, dict):
        return {}
    return {key: value for key, value in told.items() if isinstance(value, str) and len(value) <= _LONGEST_PREFIX}


def _within(value: object, least: int, most: int) -> int | None:
    return value if isinstance(value, int) and least <= value <= most else None
