"""An encoder counts as better where it finds what words don't, and as nothing where there is nothing to tell by."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from libs.shared.errors import InvalidRequest
from libs.shared.evaluation.bootstrap import compare_ranks
from services.trainer.evaluation import encoders, exam_vectors
from services.trainer.evaluation import exam as exams
from services.trainer.evaluation.encoders import judge, telling_conversations
from services.trainer.evaluation.exam import Exam
from services.trainer.evaluation.figures import figures_of
from services.trainer.evaluation.pairs import Pairs, pairs_of
from services.trainer.evaluation.questions import Question, Questions, questions_of
from services.trainer.evaluation.retrieval import reciprocal_ranks

CONVERSATIONS, EACH, WIDTH = 12, 3, 24


def asked(conversations: int = CONVERSATIONS, *, by_words: bool = False) -> Questions:
    """As many questions of each conversation, each with an answer of its own."""
    return Questions(
        questions=tuple(
            Question(text=f"q{at}", conversation=f"c{at // EACH}", answer=at, by_words=by_words)
            for at in range(conversations * EACH)
        ),
        passages=tuple(f"a{at}" for at in range(conversations * EACH)),
    )


def vectors(questions: Questions, noise: float, seed: int) -> dict[str, np.ndarray]:
    """Questions lie near their answers, but for ``noise``."""
    draw = np.random.default_rng(seed)
    passages = draw.normal(size=(len(questions.passages), WIDTH)).astype(np.float32)
    near = passages[[one.answer for one in questions.questions]]
    queries = (near + noise * draw.normal(size=near.shape)).astype(np.float32)
    none = np.zeros((0, 1), dtype=np.float32)
    return {"queries": queries, "passages": passages, "first": none, "second": none}


def test_better_than_each_is_accepted_and_as_good_as_one_is_not() -> None:
    exam = Exam(questions=asked())
    bad, good, other = (vectors(exam.questions, noise, seed) for seed, noise in enumerate((9.0, 1.0, 1.0)))
    better = judge(exam, {"the model untrained": bad, "granite@1": bad}, good)
    assert better is not None
    assert better.accepted, better.reason
    assert better.primary.units == CONVERSATIONS
    same = judge(exam, {"the model untrained": bad, "granite@1": other}, good)
    assert same is not None
    assert (same.accepted, same.why) == (False, "within_noise")
    assert "against granite@1" in same.reason
    worse = judge(exam, {"granite@1": good}, bad)
    assert worse is not None
    assert worse.why == "worse"
    assert figures_of(better)["accepted"] == 1.0
    assert figures_of(better)[f"{better.primary.metric}, low"] == better.primary.low


def test_questions_that_words_answer_decide_nothing() -> None:
    easy = Exam(questions=asked(by_words=True))
    assert telling_conversations(easy.questions) == 0
    assert judge(easy, {"untrained": vectors(easy.questions, 9.0, 0)}, vectors(easy.questions, 0.1, 1)) is None
    few = Exam(questions=asked(4))
    assert judge(few, {"untrained": vectors(few.questions, 9.0, 0)}, vectors(few.questions, 0.1, 1)) is None


def test_rated_pairs_decide_where_there_are_no_questions_and_guard_where_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(encoders, "compare_ranks", partial(compare_ranks, resamples=100))
    draw = np.random.default_rng(0)
    first = draw.normal(size=(200, WIDTH)).astype(np.float32)
    scores = draw.uniform(0, 1, 200)
    second = (scores[:, None] * first + (1 - scores[:, None]) * draw.normal(size=first.shape)).astype(np.float32)
    blind = draw.normal(size=first.shape).astype(np.float32)
    pairs = Pairs(first=("x",) * 200, second=("y",) * 200, scores=tuple(scores))
    none = vectors(Questions(), 0.0, 0)
    good, bad = none | {"first": first, "second": second}, none | {"first": first, "second": blind}
    found = judge(Exam(pairs=pairs), {"untrained": bad}, good)
    assert found is not None
    assert (found.accepted, found.primary.unit) == (True, "pairs")
    exam = Exam(questions=asked(), pairs=pairs)
    near, far = vectors(exam.questions, 0.5, 0), vectors(exam.questions, 9.0, 1)
    only = {"first": first, "second": blind}
    guarded = judge(exam, {"untrained": far | {"first": first, "second": second}}, near | only)
    assert guarded is not None
    assert guarded.why == "another_worse"


def test_words_that_both_share_find_an_answer_and_sense_alone_does_not() -> None:
    found = questions_of(
        [
            ("c1", "what does the violin cost", "the violin costs four hundred"),
            ("c2", "how do I get there", "take the train at nine"),
            ("c3", "what about bread", "flour, water and patience"),
        ]
    )
    assert [one.by_words for one in found.questions] == [True, False, False]
    assert [one.answer for one in found.questions] == [0, 1, 2]
    assert found.telling == (1, 2)


def test_vectors_that_are_all_alike_find_nothing() -> None:
    same = np.ones((4, 3), dtype=np.float32)
    assert reciprocal_ranks(same, same, [0, 1, 2, 3]).tolist() == [0.25] * 4


def test_an_exam_is_kept_whole_and_for_its_owner_alone(tmp_path: object) -> None:
    folder = tmp_path / "exam"  # type: ignore[operator]
    exam = Exam(questions=asked(2), in_use="granite@1")
    given = vectors(exam.questions, 1.0, 0)
    exams.keep(folder, exam, {name: [row.tobytes() for row in rows] for name, rows in given.items()})
    read, there = exam_vectors.read(folder)
    assert read == exam
    assert there is not None
    assert all((there[name] == given[name]).all() for name in given)
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


def test_pairs_are_read_as_people_and_the_benchmark_write_them() -> None:
    own = "".join(f"{at % 6}\tone {at}\tother {at}\n" for at in range(30))
    bench = "".join(f'a\tb\tc\td\t{at % 6}.5\tone "{at}\tother {at}\n' for at in range(30))
    assert pairs_of(own).first[2] == "one 2"
    assert pairs_of(bench).scores[1] == 1.5
    with pytest.raises(InvalidRequest, match="row 31"):
        pairs_of(own + "no score\there\tat all\n")
    with pytest.raises(InvalidRequest, match="2 pairs"):
        pairs_of("1\ta\tb\n2\ta\tb\n")
    with pytest.raises(InvalidRequest, match="same score"):
        pairs_of("1\ta\tb\n" * 30)
