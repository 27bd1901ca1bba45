"""An adapter out of a dataset: trained, measured on what was held out, and written down only where it helps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from libs.shared.errors import InvalidRequest
from libs.shared.evaluation.bootstrap import LEAST_UNITS, Comparison
from libs.shared.evaluation.decision import Verdict, decide
from services.trainer import sft
from services.trainer.chat import Row, Tokenized, tokenized
from services.trainer.configuration import Sft
from services.trainer.curation.datasets import Dataset
from services.trainer.curation.exchanges import Example
from services.trainer.evaluation.guards import compare_repetition, compare_text
from services.trainer.evaluation.measuring import compare_perplexity, write
from services.trainer.export import save_adapter
from services.trainer.masking import Tokens
from services.trainer.run import Outcome, Report, Stop


@dataclass(frozen=True)
class Made:
    """How the run ended; ``verdict`` is None where it didn't finish, ``folder`` where the verdict refuses.

    ``left_out``: of the dataset's examples, why and how many the model's tokenizer left out.
    """

    outcome: Outcome
    left_out: dict[str, int]
    verdict: Verdict | None = None
    folder: Path | None = None


def make_adapter(
    config: Sft,
    model: Any,
    tokenizer: Any,
    dataset: Dataset,
    run_folder: Path,
    target: Path,
    *,
    base: str,
    passes: float = 3.0,
    text: Tokens | None = None,
    report: Report = lambda progress: None,
    stop: Stop = lambda: False,
) -> Made:
    """Trains an adapter for ``model``, called ``base``, in ``run_folder`` or resumes there, and puts it into ``target``
    if its held-out answers say that it helps.

    Batch and steps of ``config`` are those of the data (``sft.fitted``). ``text`` (blocks x tokens) is other text,
    which it must not get worse at. Raises InvalidRequest where too little is held out to tell anything from, or
    nothing left to train on, and what ``sft.train`` raises.
    """
    train, held_out = (rows_of(dataset.of(split), tokenizer, config) for split in ("train", "held_out"))
    held = dataset.of("held_out")
    conversations = [held[at].conversation_id for at in held_out.of]
    if (units := len(set(conversations))) < LEAST_UNITS:
        raise InvalidRequest(
            f"answers of {units} conversations are held out, and below {LEAST_UNITS} nothing can be told from chance;"
            " rate or allow more conversations",
            held_out=units,
        )
    left_out = dict(Counter(train.left_out) + Counter(held_out.left_out))
    fitted = sft.fitted(config, len(train.rows), passes=passes)
    adapted, outcome = sft.train(fitted, model, train.rows, run_folder, report=report, stop=stop)
    if outcome.ended != "finished":
        return Made(outcome, left_out)
    verdict = measured(adapted, tokenizer, held_out.rows, conversations, text, seed=config.seed)
    write(run_folder, verdict)
    folder = save_adapter(adapted, target, base=base) if verdict.accepted else None
    return Made(outcome, left_out, verdict, folder)


def measured(
    adapted: Any, tokenizer: Any, rows: Sequence[Row], conversations: Sequence[str], text: Tokens | None, *, seed: int
) -> Verdict:
    """Whether the adapter around ``adapted`` answers ``rows``, of those conversations, better than its model alone, and
    neither repeats itself nor is worse at ``text``."""
    others: list[Comparison] = []
    if tokenizer.eos_token_id is not None:
        others.append(compare_repetition(adapted, rows, conversations, int(tokenizer.eos_token_id)))
    if text is not None:
        others.append(compare_text(adapted, text))
    return decide(compare_perplexity(adapted, rows, conversations, seed=seed), others)


def rows_of(examples: Sequence[Example], tokenizer: Any, config: Sft) -> Tokenized:
    """What the tokenizer makes of them, and which it leaves out."""
    pairs = ((example.question, example.answer) for example in examples)
    return tokenized(pairs, tokenizer, row_tokens=config.row_tokens, system=config.system)
