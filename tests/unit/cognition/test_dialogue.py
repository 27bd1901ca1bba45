"""What of a client's messages is new, and what is its history."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from libs.shared.contracts.chat import ChatMessage
from services.cognition import dialogue

message = st.builds(
    ChatMessage,
    role=st.sampled_from(["system", "user", "assistant", "tool"]),
    content=st.text(max_size=20),
)


def messages(*said: tuple[Any, str]) -> list[ChatMessage]:
    return [ChatMessage(role=role, content=text) for role, text in said]


@given(st.lists(message, min_size=1, max_size=8))
def test_nothing_is_lost_or_reordered(sent: list[ChatMessage]) -> None:
    read = dialogue.read(sent)
    assert [*read.history, *read.new] == sent
    assert read.new


def test_one_message_is_all_new() -> None:
    read = dialogue.read(messages(("user", "hello")))
    assert (read.history, read.said, read.question) == ((), ("hello",), "hello")
    assert not read.resends


def test_a_system_message_is_no_history() -> None:
    assert not dialogue.read(messages(("system", "be brief"), ("user", "hello"))).resends


def test_a_client_that_resends_its_history_is_known() -> None:
    read = dialogue.read(messages(("user", "a"), ("assistant", "b"), ("user", "c")))
    assert read.resends
    assert read.said == ("c",)


def test_several_messages_in_a_row_are_all_said_now() -> None:
    read = dialogue.read(messages(("user", "a"), ("assistant", "b"), ("user", "c"), ("user", "d")))
    assert read.said == ("c", "d")
    assert read.question == "c\nd"


def test_tool_results_are_not_said_again() -> None:
    read = dialogue.read(messages(("user", "weather?"), ("assistant", ""), ("tool", "sunny")))
    assert read.said == ()
    assert len(read.new) == 3
    assert read.question == "weather?"


def test_empty_words_are_not_kept() -> None:
    assert dialogue.read(messages(("user", "  "))).said == ()


def test_thinking_that_a_client_sends_back_is_left_out() -> None:
    sent = messages(("user", "a"), ("assistant", "<think>secret</think>b"), ("assistant", "<think>more"), ("user", "c"))
    read = dialogue.read(sent)
    assert [m.text for m in read.history] == ["a", "b"]
    said = {"type": "text", "text": "<think>secret</think>b"}
    sent_back = {"role": "assistant", "content": [said], "reasoning_content": "secret"}
    parts = ChatMessage.model_validate_json(json.dumps(sent_back))
    assert "secret" not in dialogue.read([parts, *messages(("user", "c"))]).history[0].model_dump_json()


def test_what_a_user_writes_is_left_as_it_is() -> None:
    assert dialogue.read(messages(("user", "<think>a</think>b"))).said == ("<think>a</think>b",)
