"""A model's thinking and its answer, told apart whatever the pieces."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.shared import thinking
from libs.shared.thinking import Splitter, apart, without_thinking


def split(pieces: Iterable[str], splitter: Splitter | None = None) -> tuple[str, str]:
    splitter = splitter or Splitter()
    answer = thought = ""
    for told in [*(s for piece in pieces for s in splitter.feed(piece)), *splitter.rest()]:
        if told.retracts:
            answer, thought = "", thought + answer
        answer, thought = answer + told.text, thought + told.thought
    return answer, thought


@pytest.mark.parametrize(
    ("text", "answer", "thought"),
    [
        ("Bees live in hives.", "Bees live in hives.", ""),
        (" Bees", " Bees", ""),
        ("<think>\nhm\n</think>\n\nBees.", "Bees.", "hm\n"),
        ("\n<think>hm</think>Bees.", "Bees.", "hm"),
        ("<think>\n\n</think>\n\nBees.", "Bees.", ""),
        ("<think>hm and no end", "", "hm and no end"),
        ("Well. <think>hm</think> Bees.", "Well.  Bees.", "hm"),
        ("<think>a</think>One.<think>b</think>Two.", "One.Two.", "ab"),
        ("<think>a <think> b</think> c</think> Bees.", "Bees.", "a <think> bc"),
        ("hm\n</think>\nBees.", "Bees.", "hm\n"),
        ("[THINK]hm[/THINK]Bees.", "Bees.", "hm"),
        ("<thinking>hm</think></thinking>Bees.", "Bees.", "hm</think>"),
        ("1 < 2 and <b>bold</b> [x]", "1 < 2 and <b>bold</b> [x]", ""),
        ("The `<think>` tag, and `</think>`.", "The `<think>` tag, and `</think>`.", ""),
        ("The tag </think> in prose.", "The tag </think> in prose.", ""),
        ("```xml\n<think>no</think>\n```\nDone.", "```xml\n<think>no</think>\n```\nDone.", ""),
        ("````\n```\n<think>\n````\n<think>hm", "````\n```\n<think>\n````\n", "hm"),
        ("<think>say:\n```\n<think>x</think>\n```\nso</think>Bees.", "Bees.", "say:\n```\n<think>x</think>\n```\nso"),
        ("<think>say:\n```\nnever closed\n</think>\nBees.", "Bees.", "say:\n```\nnever closed\n"),
        ("<think>end with `</think>` then</think>Bees.", "Bees.", "end with `</think>` then"),
        ("   ", "   ", ""),
        ("<thi", "<thi", ""),
    ],
)
def test_thinking_is_told_from_the_answer(text: str, answer: str, thought: str) -> None:
    assert split([text]) == (answer, thought) == apart(text)
    assert split(text) == (answer, thought), "one character at a time"


PARTS = st.sampled_from(
    (*thinking._TAGS, "```", "````", "~~~", "`", "\n", " ", "<", "</", "[", "think", "hm", "Bees.", "é", "xml", "~")
)


@given(st.lists(PARTS, max_size=24).map("".join), st.data())
@settings(max_examples=300, deadline=None)
def test_however_a_text_is_cut_the_split_is_the_same(text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert split(pieces) == split([text])


@given(st.lists(PARTS, max_size=24).map("".join))
@settings(max_examples=200, deadline=None)
def test_nothing_but_tags_and_white_space_is_lost(text: str) -> None:
    def bare(said: str) -> list[str]:
        for tag in thinking._TAGS:
            said = said.replace(tag, "")
        return sorted("".join(said.split()))

    told = split([text])
    left = bare("".join(told))
    if not any(sign in text for sign in ("<", "[", "think")):  # parts of tags may make up one
        assert left == bare(text)


def test_in_json_a_thought_can_only_come_first() -> None:
    text = '<think>hm</think>{"tag": "<think>"}'
    assert split([text], Splitter(only_at_start=True)) == ('{"tag": "<think>"}', "hm")


def test_a_check_that_forgets_what_is_held_back_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutation: tags are looked for in each piece alone."""
    monkeypatch.setattr(Splitter, "feed", lambda self, piece: self._read(piece, ended=True))
    assert split(["<thi", "nk>secret</think>Bees."]) != ("Bees.", "secret")


@pytest.mark.parametrize(
    "kept",
    [
        "<think>secret</think>\nBees.",
        '<details type="reasoning" done="true" duration="3">\n<summary>Thought</summary>\n> secret\n</details>\nBees.',
    ],
)
def test_what_a_client_sends_back_is_freed_of_thinking(kept: str) -> None:
    assert without_thinking(kept) == "Bees."
    assert without_thinking("Bees.") == "Bees."
