"""A dataset lies whole under its version or not at all, only its owner reads it, and it goes with what is forgotten."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from libs.shared.errors import DatasetBroken
from services.trainer.curation.datasets import curate
from services.trainer.curation.shelf import forget, keep, page, read
from tests.support.exchanges import exchange, exchanges


def test_a_dataset_comes_back_as_it_was(tmp_path: Path) -> None:
    dataset = curate(exchanges(12))
    folder = keep(dataset, tmp_path)
    assert folder.name == dataset.card.version
    assert read(folder) == dataset
    assert keep(dataset, tmp_path) == folder, "once more is no other"
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
    assert folder.stat().st_mode & 0o077 == 0


def test_a_dataset_that_was_being_written_isn_t_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = curate(exchanges(12))
    with monkeypatch.context() as cut:
        cut.setattr(Path, "rename", lambda self, target: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            keep(dataset, tmp_path)
    assert not (tmp_path / dataset.card.version).exists()
    assert read(keep(dataset, tmp_path)) == dataset
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("damage", ["a word", "a line", "the card", "no card", "no JSON", "the name"])
def test_what_was_changed_is_refused_without_a_word_of_it(tmp_path: Path, damage: str) -> None:
    folder = keep(curate([*exchanges(12), exchange("c0", "s", answer="The secret plan is roses, then.")]), tmp_path)
    examples, card = folder / "examples.jsonl", folder / "card.json"
    text = examples.read_text()
    match damage:
        case "a word":
            examples.write_text(text.replace("secret plan", "secret plot"))
        case "a line":
            examples.write_text("".join(text.splitlines(keepends=True)[1:]))
        case "the card":
            card.write_text(json.dumps(json.loads(card.read_text()) | {"owners": 1}))
        case "no card":
            card.unlink()
        case "no JSON":
            examples.write_text(text.replace('"', "secret"))
        case _:
            folder = folder.rename(tmp_path / "another")
    with pytest.raises(DatasetBroken, match="make it again") as caught:
        read(folder)
    assert caught.value.__cause__ is None
    assert "secret" not in str(caught.value)


def test_what_is_forgotten_takes_its_datasets_along(tmp_path: Path) -> None:
    first, second = curate(exchanges(12)), curate([exchange(f"d{at}", f"d{at}") for at in range(12)])
    for dataset in (first, second):
        keep(dataset, tmp_path)
    assert forget(tmp_path, {"unknown"}) == []
    assert forget(tmp_path, {"c3", "unknown"}) == [first.card.version]
    assert [path.name for path in tmp_path.iterdir()] == [second.card.version]
    (tmp_path / second.card.version / "card.json").unlink()
    assert forget(tmp_path, {"unknown"}) == [second.card.version], "nobody knows what is in there"
    assert forget(tmp_path / "nowhere", {"c3"}) == []


def test_the_page_says_what_people_ask() -> None:
    said = page(curate([*exchanges(12), exchange("c1", "x", rating=-1)]).card)
    for line in ("| people | 2 |", "| disliked: its owner rated it down | 1 |", "## Replaced by a word of its kind"):
        assert line in said
    assert "Other names, places" in said
