"""The models folder: what lies there, what is known of it, and putting a file in or taking it away in one step."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from cli.errors import CommandError, Exit
from cli.models import part as parts
from libs.shared import gguf
from libs.shared.durable import sync_folder, write_private
from libs.shared.errors import ModelBroken

ENDING = ".gguf"
_MANIFEST = ".json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,180}\.gguf", re.IGNORECASE)
_PART_OF = re.compile(r"(.+)-(\d{5})-of-(\d{5})")
_EMBEDDER = re.compile(r"bert|^t5encoder$|^gemma-embedding$")


class Manifest(BaseModel):
    """``FILE.gguf.json``: where a file came from, and what vouched for it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    source: Literal["hub", "url", "file"]
    origin: str
    """``OWNER/NAME@COMMIT:FILE``, the address, or the path."""
    licence: str | None = None
    size: int
    checksum: str
    checksum_kind: Literal["sha256", "git-blob"] = "sha256"
    vouched_by: str | None = None
    """Who told the checksum that the file was held against; None: nobody, it is the file's own."""
    at: datetime


@dataclass(frozen=True)
class Present:
    """A model on the shelf. ``name`` is under which it is served."""

    name: str
    file: Path
    size: int
    context_tokens: int | None
    manifest: Manifest | None
    problem: str | None = None


def file_name(name: str) -> str:
    """A name that a file in the folder may have. Raises CommandError."""
    wanted = name if name.lower().endswith(ENDING) else name + ENDING
    if not _NAME.fullmatch(wanted) or wanted.lower().startswith("mmproj"):
        raise CommandError(f"{name!r} can't be a model's file name", "letters, digits, dots, dashes; --name NAME")
    return wanted[: -len(ENDING)] + ENDING


def part_path(folder: Path, name: str) -> Path:
    """Where a file lies while it comes."""
    return folder / (name + parts.SUFFIX)


def check_header(path: Path, label: str) -> None:
    """Raises CommandError unless it is a language model in GGUF."""
    try:
        header = gguf.read_header(path)
    except ModelBroken as error:
        raise CommandError(
            f"{label} is no GGUF model: {error.detail.removeprefix(path.name).strip()}",
            "is it the right file, and whole?",
            code=Exit.REFUSED,
        ) from None
    if _EMBEDDER.search(str(header.metadata["general.architecture"])):
        raise CommandError(
            f"{label} is an embedder, and can't answer", "for those: mongars embedders add", code=Exit.REFUSED
        )


def put(folder: Path, name: str, manifest: Manifest) -> Path:
    """Moves a whole, verified part into its place. What was there under that name is replaced in the same step."""
    path = part_path(folder, name)
    target = folder / name
    path.chmod(0o600)
    path.replace(target)
    sync_folder(folder)
    write_private(manifest_path(target), manifest.model_dump_json(indent=2).encode() + b"\n")
    parts.known_path(path).unlink(missing_ok=True)
    return target


def present(folder: Path) -> list[Present]:
    """Every GGUF model in the folder, by name; the parts of a split one are one."""
    if not folder.is_dir():
        return []
    files = [p for p in sorted(folder.iterdir()) if p.suffix == ENDING and p.is_file()]
    return [_described(p) for p in files if not p.name.startswith("mmproj") and _is_first(p)]


def find(folder: Path, name: str) -> Present:
    """By the name under which it is served, or its file's. Raises CommandError."""
    for model in present(folder):
        if name in (model.name, model.file.name):
            return model
    raise CommandError(f"there is no model {name} in {folder}", "see: mongars models list", code=Exit.REFUSED)


def remove(model: Present) -> None:
    """All its parts and what is known of them."""
    for path in gguf.parts(model.file):
        path.unlink()
        manifest_path(path).unlink(missing_ok=True)
    sync_folder(model.file.parent)


def served_name(file: str) -> str:
    """Under which inference serves a file of that name."""
    stem = file.removesuffix(ENDING)
    split = _PART_OF.fullmatch(stem)
    return split[1] if split else stem


def manifest_path(file: Path) -> Path:
    return file.with_name(file.name + _MANIFEST)


def read_manifest(file: Path) -> Manifest | None:
    """None where nothing is known: a file that was put there by hand."""
    try:
        return Manifest.model_validate_json(manifest_path(file).read_bytes())
    except (OSError, ValidationError):
        return None


def now() -> datetime:
    return datetime.now(UTC)


def _is_first(path: Path) -> bool:
    split = _PART_OF.fullmatch(path.stem)
    return split is None or int(split[2]) == 1


def _described(path: Path) -> Present:
    size = sum(p.stat().st_size for p in gguf.parts(path))
    try:
        context: int | None = gguf.read_header(path).context_tokens
        problem = None
    except ModelBroken as error:
        context, problem = None, error.detail
    return Present(served_name(path.name), path, size, context, read_manifest(path), problem)
