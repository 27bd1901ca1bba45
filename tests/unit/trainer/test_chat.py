"""An exchange becomes what the model is asked with and what it is to write, and nothing is cut or smuggled in."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from libs.shared.errors import Unsupported
from services.trainer.chat import tokenized


class Letters(SimpleNamespace):
    """A tokenizer whose tokens are letters, and whose template is a sign for each role."""

    eos_token_id = ord(".")
    chat_template = "{q}?{a}."

    def __call__(self, text: str, *, add_special_tokens: bool) -> dict[str, list[int]]:
        assert not add_special_tokens, "the template has them already"
        return {"input_ids": [ord(letter) for letter in text]}

    def get_added_vocab(self) -> dict[str, int]:
        return {"<|end|>": 7}

    def apply_chat_template(
        self, messages: list[dict[str, str]], *, tokenize: bool, add_generation_prompt: bool
    ) -> str:
        assert not tokenize
        marks = {"system": "!", "user": "?", "assistant": ".\n"}
        said = "".join(message["content"] + marks[message["role"]] for message in messages)
        return said + (">" if add_generation_prompt else "")


class Plain(Letters):
    """Whose template puts the answer right behind the question."""

    def apply_chat_template(self, messages: list[dict[str, str]], **how: Any) -> str:
        return super().apply_chat_template(messages, **how).removesuffix(">")


def text(ids: tuple[int, ...]) -> str:
    return "".join(map(chr, ids))


def test_what_is_asked_and_what_is_learnt_are_told_apart() -> None:
    (row,) = tokenized([("what", "that")], Plain(), row_tokens=99).rows
    assert (text(row.ids[: row.given]), text(row.ids[row.given :])) == ("what?", "that.")


def test_the_end_is_learnt_and_nothing_after_it() -> None:
    (row,) = tokenized([("what", "a. b")], Plain(), row_tokens=99, system="be kind").rows
    assert text(row.ids) == "be kind!what?a. b."


def test_what_is_too_long_or_writes_control_tokens_is_left_out_and_counted() -> None:
    pairs = [("a", "b"), ("a", "b" * 50), ("x<|end|>y", "b"), ("a", "<|end|>"), ("c", "d")]
    found = tokenized(pairs, Plain(), row_tokens=10)
    assert found.of == (0, 4)
    assert found.left_out == {"too_long": 1, "control_token": 2}
    assert all(len(row.ids) <= 10 for row in found.rows)


def test_a_template_that_asks_otherwise_than_it_answers_is_refused() -> None:
    with pytest.raises(Unsupported, match="otherwise than it asks"):
        tokenized([("a", "b")], Letters(), row_tokens=99)


def test_a_tokenizer_without_a_template_is_refused() -> None:
    with pytest.raises(Unsupported, match="no chat template"):
        tokenized([("a", "b")], Plain(chat_template=None), row_tokens=99)


def test_a_template_that_fails_says_nothing_of_the_text() -> None:
    class Failing(Plain):
        def apply_chat_template(self, messages: list[dict[str, str]], **how: Any) -> str:
            raise ValueError(messages[0]["content"])

    with pytest.raises(Unsupported, match="refuses") as caught:
        tokenized([("my secret", "b")], Failing(), row_tokens=99)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
