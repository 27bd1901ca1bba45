"""An encoder is judged by its files, against the model that it was made of: better, worse, or not to be told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from services.trainer.evaluation import exam as exams
from services.trainer.evaluation.exam import Exam
from services.trainer.spec import RunSpec
from tests.support.language_model import SENTENCES
from tests.support.rated_pairs import SOURCE, pairs_as_seen

pytestmark = pytest.mark.torch


def hear(phase: str, progress: object = None) -> None: ...


def spec(folder: Path, exam: Exam | None) -> RunSpec:
    if exam is not None:
        exams.keep(folder / "exam", exam, None)
    return RunSpec(model=SOURCE, seed=0, threads=1, exam=folder / "exam" if exam is not None else None)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model's own weights, read in both directions."""
    return Path(shutil.copytree(SOURCE, tmp_path_factory.mktemp("made") / "encoder"))


@pytest.mark.parametrize(("causal", "why"), [(False, "better"), (True, "worse")])
def test_the_pairs_decide_whether_it_is_better(encoder: Path, tmp_path: Path, causal: bool, why: str) -> None:
    from services.trainer.judging import judged

    exam = Exam(pairs=pairs_as_seen(causal=causal), lacking="nothing that was said may be used")
    verdict, reason = judged(spec(tmp_path, exam), tmp_path, encoder, None, hear)
    assert verdict is not None
    assert verdict.why == why, reason
    assert json.loads((tmp_path / "evaluation.json").read_text())["accepted"] is (why == "better")
    assert SENTENCES[0] not in (tmp_path / "evaluation.json").read_text()


def test_what_hidden_words_cost_is_a_guard_and_decides_nothing_alone(encoder: Path, tmp_path: Path) -> None:
    from services.trainer.judging import _nats, judged

    nothing = Exam(lacking="nothing that was said may be used")
    verdict, reason = judged(spec(tmp_path, nothing), tmp_path, encoder, np.ones((6, 16), dtype=np.int64), hear)
    assert verdict is None
    assert reason.startswith("undecided: nothing that was said may be used")
    assert not (tmp_path / "evaluation.json").exists()
    (grew,) = _nats([3.0, 3.1, 2.9, 3.0, 3.2, 3.1], [4.0, 4.2, 3.9, 4.0, 4.1, 4.3])
    assert grew.high < 0.0


def test_paragraphs_that_are_held_out_are_never_learnt_from(tmp_path: Path) -> None:
    from services.trainer.encoder import lines_of

    text = tmp_path / "text"
    text.write_text("\n".join(f"paragraph {at}" for at in range(1000)))
    learnt, apart = lines_of(RunSpec(model=SOURCE, text=text, seed=0, threads=1))
    assert 5 <= len(apart) <= 50
    assert len(learnt) + len(apart) == 1000
    assert not set(learnt) & set(apart)
    assert lines_of(RunSpec(model=SOURCE, text=text, seed=1, threads=1)) == (learnt, apart)


def test_ones_own_words_are_learnt_but_for_those_that_are_held_out(tmp_path: Path) -> None:
    from services.trainer.curation import shelf
    from services.trainer.curation.datasets import curate
    from services.trainer.encoder import lines_of
    from tests.support.exchanges import exchanges

    dataset = curate(exchanges(12))
    own = shelf.keep(dataset, tmp_path)
    learnt, apart = lines_of(RunSpec(model=SOURCE, own=own, seed=0, threads=1))
    assert not apart
    assert set(learnt) == {text for one in dataset.of("train") for text in (one.question, one.answer)}
    assert not set(learnt) & {text for one in dataset.of("held_out") for text in (one.question, one.answer)}
