"""A question and its answer as the tokens that a model reads and writes, by its tokenizer's own chat template."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from libs.shared.errors import Unsupported

TOO_LONG = "too_long"
CONTROL = "control_token"


@dataclass(frozen=True)
class Row:
    """``ids``: the whole exchange; the first ``given`` are what the model is asked with, the rest is what it learns."""

    ids: tuple[int, ...]
    given: int


@dataclass(frozen=True)
class Tokenized:
    """Rows in the order of their exchanges, which of these each is of, and why the others are left out (reason →
    how many): ``too_long``; ``control_token`` where somebody wrote one of the tokens that divide a chat."""

    rows: tuple[Row, ...]
    of: tuple[int, ...]
    left_out: dict[str, int]


def tokenized(pairs: Iterable[tuple[str, str]], tokenizer: Any, *, row_tokens: int, system: str = "") -> Tokenized:
    """(question, answer) → rows of at most ``row_tokens`` tokens; one that is longer is left out, not cut: half an
    answer teaches to leave off. Raises Unsupported for a tokenizer whose template can't divide asked from answered.
    """
    control = tuple(tokenizer.get_added_vocab())
    rows, of, left_out = [], [], Counter[str]()
    for at, (question, answer) in enumerate(pairs):
        if any(token in question or token in answer for token in control):
            left_out[CONTROL] += 1
            continue
        row = _row(question, answer, tokenizer, system)
        if len(row.ids) > row_tokens:
            left_out[TOO_LONG] += 1
            continue
        rows.append(row)
        of.append(at)
    return Tokenized(tuple(rows), tuple(of), dict(left_out))


def _row(question: str, answer: str, tokenizer: Any, system: str) -> Row:
    asked = [{"role": "system", "content": system}] if system else []
    asked.append({"role": "user", "content": question})
    prompt = _rendered(tokenizer, asked, generate=True)
    whole = _rendered(tokenizer, [*asked, {"role": "assistant", "content": answer}], generate=False)
    if not whole.startswith(prompt):
        raise Unsupported("the model's chat template writes an answer otherwise than it asks for one")
    # Apart, as they are when the model is asked: no token reaches from the prompt into the answer.
    given, learnt = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (prompt, whole[len(prompt) :]))
    end = tokenizer.eos_token_id
    if end in learnt:
        # What a template puts after the end is never asked of the model.
        learnt = learnt[: len(learnt) - learnt[::-1].index(end)]
    return Row((*given, *learnt), len(given))


def _rendered(tokenizer: Any, messages: list[dict[str, str]], *, generate: bool) -> str:
    if not tokenizer.chat_template:
        raise Unsupported("the model's tokenizer has no chat template: it was not made to be talked to")
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=generate))
    except Exception:
        # A template is somebody's program, and its error may quote the message.
        raise Unsupported("the model's chat template refuses a plain question and answer") from None
