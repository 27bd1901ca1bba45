"""What the training benchmark reads and counts; its figures are the command's own."""

from __future__ import annotations

from pathlib import Path

from bench.training.data import documents, pairs, plain, sentences


def test_tokenised_text_is_read_as_people_write_it() -> None:
    assert plain(" The price ( about $ 4 @.@ 50 ) fell , he didn 't say <unk> why . \n") == (
        "The price (about $4.50) fell, he didn 't say why."
    )


def test_headings_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "valid.txt"
    path.write_text(" \n = Lobsters = \n \n They live in the sea . They are blue when alive . \n = = Diet = = \n")
    assert documents([path]) == ["They live in the sea. They are blue when alive."]
    assert sentences(documents([path])) == ["They live in the sea.", "They are blue when alive."]
    assert sentences(["Too short. " + "far too long " * 40]) == []


def test_pairs_keep_their_scores(tmp_path: Path) -> None:
    path = tmp_path / "sts.csv"
    path.write_text('main-captions\tMSRvid\t2012test\t0000\t5.000\tA "hard" hat.\tA hat.\tlicence\n')
    found = pairs(path)
    assert (found.first, found.second, found.scores) == (['A "hard" hat.'], ["A hat."], [5.0])
