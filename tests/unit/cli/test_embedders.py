"""What a downloaded embedder's own files say, and where it is put."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.embedders import Asked, add, described, remove
from cli.errors import CommandError, Exit
from tests.support import embedders as made

NOTHING = Asked()


def write(folder: Path, name: str, content: object) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(content))


def test_sentence_transformers_files_say_how_texts_become_vectors(tmp_path: Path) -> None:
    write(tmp_path, "1_Pooling/config.json", {"pooling_mode_cls_token": True})
    write(tmp_path, "sentence_bert_config.json", {"max_seq_length": 128})
    write(tmp_path, "config_sentence_transformers.json", {"prompts": {"query": "ask: ", "document": "read: "}})
    found = described(tmp_path, "some", NOTHING)
    assert (found.pooling, found.max_tokens, found.query_prefix, found.passage_prefix) == (
        "cls",
        128,
        "ask: ",
        "read: ",
    )


def test_what_the_caller_says_counts_more(tmp_path: Path) -> None:
    write(tmp_path, "1_Pooling/config.json", {"pooling_mode_cls_token": True})
    found = described(tmp_path, "multilingual-e5-small", Asked("mean", "", "p: ", 64))
    assert (found.pooling, found.max_tokens, found.query_prefix, found.passage_prefix) == ("mean", 64, "", "p: ")


@pytest.mark.parametrize(("name", "prefixes"), [("multilingual-e5-small", ("query: ", "passage: ")), ("e50", ("", ""))])
def test_e5_has_its_usual_words(tmp_path: Path, name: str, prefixes: tuple[str, str]) -> None:
    found = described(tmp_path, name, NOTHING)
    assert (found.query_prefix, found.passage_prefix) == prefixes


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"max_seq_length": -3}', '{"max_seq_length": "many"}', '{"prompts": 3}']
)
def test_files_that_say_nothing_usable_are_passed_over(tmp_path: Path, content: str) -> None:
    for name in ("sentence_bert_config.json", "config_sentence_transformers.json"):
        (tmp_path / name).write_text(content)
    found = described(tmp_path, "some", NOTHING)
    assert (found.max_tokens, found.query_prefix) == (512, "")


def test_an_embedder_is_whole_or_not_there(tmp_path: Path) -> None:
    root = tmp_path / "embedders"
    source = made.make(tmp_path / "downloaded")
    added = add(root, source, "tiny", NOTHING)
    assert added.dimensions == made.DIMENSIONS
    assert json.loads((root / "tiny" / "embedder.json").read_text())["dimensions"] == made.DIMENSIONS
    with pytest.raises(CommandError):
        add(root, source, "tiny", NOTHING)
    (source / "tokenizer.json").write_text("{}")
    with pytest.raises(CommandError):
        add(root, source, "other", NOTHING)
    assert [path.name for path in root.iterdir()] == ["tiny"]
    remove(root, "tiny")
    assert list(root.iterdir()) == []


@pytest.mark.parametrize("name", ["../keys", ".hidden", "a/b", "", "a@1"])
def test_a_name_never_leads_elsewhere(tmp_path: Path, name: str) -> None:
    for refused in (lambda: add(tmp_path, tmp_path, name, NOTHING), lambda: remove(tmp_path, name)):
        with pytest.raises(CommandError) as error:
            refused()
        assert error.value.code == Exit.USAGE
