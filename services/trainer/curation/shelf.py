"""Keeps datasets in a folder each, named by its version: whole or not there, and readable by their owner alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection
from pathlib import Path

from libs.shared.errors import DatasetBroken
from services.trainer.curation.choosing import IN_WORDS, LeftOut
from services.trainer.curation.datasets import Card, Dataset, data_hash, line, version_of
from services.trainer.curation.exchanges import Example
from services.trainer.whole import put_folder

EXAMPLES_FILE = "examples.jsonl"
CARD_FILE = "card.json"
PAGE_FILE = "card.md"


def keep(dataset: Dataset, root: Path) -> Path:
    """The folder of ``dataset`` in ``root``; what is there already is left as it is. Raises DatasetBroken when that is
    something else."""
    folder = root / dataset.card.version
    if folder.exists():
        read(folder)
        return folder
    put_folder(
        folder,
        {
            EXAMPLES_FILE: b"".join(line(example) for example in dataset.examples),
            CARD_FILE: dataset.card.model_dump_json(indent=2).encode() + b"\n",
            PAGE_FILE: page(dataset.card).encode(),
        },
    )
    return folder


def read(folder: Path) -> Dataset:
    """What ``keep`` wrote there. Raises DatasetBroken when it isn't that any more, without a word of its content."""
    try:
        card = Card.model_validate_json((folder / CARD_FILE).read_bytes())
        lines = (folder / EXAMPLES_FILE).read_bytes().splitlines()
        examples = tuple(Example(**json.loads(one)) for one in lines)
    except (OSError, ValueError, TypeError):
        # From nothing: what couldn't be read may stand in the error.
        raise DatasetBroken(f"the dataset {folder.name[:12]} can't be read; make it again") from None
    if data_hash(examples) != card.data or not version_of(card) == card.version == folder.name:
        raise DatasetBroken(f"the dataset {folder.name[:12]} isn't what its version says; make it again")
    return Dataset(examples, card)


def forget(root: Path, conversations: Collection[str]) -> list[str]:
    """Takes away every dataset made of one of these conversations, and those that can't be read; their versions."""
    gone = []
    for folder in sorted(root.iterdir()) if root.is_dir() else []:
        if folder.is_dir() and _holds(folder, frozenset(conversations)):
            shutil.rmtree(folder)
            gone.append(folder.name)
    return gone


def _holds(folder: Path, conversations: frozenset[str]) -> bool:
    try:
        return not conversations.isdisjoint(read(folder).sources)
    except DatasetBroken:
        return True


def page(card: Card) -> str:
    """The card for people."""
    facts = [
        ("examples", ", ".join(f"{count} {split.replace('_', ' ')}" for split, count in card.examples.items())),
        ("conversations", ", ".join(f"{n} {split.replace('_', ' ')}" for split, n in card.conversations.items())),
        ("people", str(card.owners)),
        ("from", f"{card.first_day} to {card.last_day}"),
        ("languages of the questions", ", ".join(f"{name} {count}" for name, count in card.languages.items())),
        ("made from", f"{card.given} exchanges"),
        ("version", f"`{card.version}`"),
        ("examples' SHA-256", f"`{card.data}`"),
    ]
    left = [(f"{reason}: {IN_WORDS[LeftOut(reason)]}", str(count)) for reason, count in card.left_out.items()]
    personal = [(kind.lower().replace("_", " "), str(count)) for kind, count in card.personal.items()]
    return (
        f"# Dataset {card.version[:12]}\n\n{_table(('', ''), facts)}\n"
        f"## Left out\n\n{_table(('why', 'exchanges'), left) if left else 'Nothing.'}\n\n"
        f"## Replaced by a word of its kind\n\n{_table(('kind', 'times'), personal) if personal else 'Nothing.'}\n\n"
        'Names are replaced where they are introduced (after a title, "my name is", "je m\'appelle") and where a '
        "first name is a common one in twenty countries, postal addresses only where a street or a British postcode "
        "is written as one. Other names, places and what tells of somebody by its sense are still in the examples: "
        "the folder is to be kept as the conversations are.\n"
    )


def _table(head: tuple[str, str], rows: list[tuple[str, str]]) -> str:
    lines = [f"| {head[0]} | {head[1]} |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]
    return "\n".join(lines) + "\n"
