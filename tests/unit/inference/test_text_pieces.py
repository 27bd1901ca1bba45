"""Stop strings, streamed answers of upstreams, and the extractive model."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.shared.contracts.chat import ChatMessage, Sampling, TextPart, Tools
from libs.shared.contracts.common import Usage
from libs.shared.contracts.inference import GenerateRequest
from libs.shared.errors import BackendFailed
from services.inference.backends import ollama
from services.inference.backends.extractive import ExtractiveBackend, quote
from services.inference.backends.openai import Answer, chat_body
from services.inference.backends.stopping import StopFilter
from tests.unit.inference.backends import request

LETTERS = st.text("ab", max_size=40)


def stopped_at(pieces: list[str], stops: tuple[str, ...]) -> str:
    found = StopFilter(stops)
    shown = ""
    for piece in pieces:
        shown += found.feed(piece)
        if found.stopped:
            return shown
    return shown + found.rest()


@given(pieces=st.lists(LETTERS, max_size=20), stops=st.lists(st.text("ab", min_size=1, max_size=5), max_size=3))
def test_text_ends_before_the_first_stop_string_however_it_was_cut(pieces: list[str], stops: list[str]) -> None:
    whole = "".join(pieces)
    shown = stopped_at(pieces, tuple(stops))
    assert whole.startswith(shown)
    assert not any(stop in shown for stop in stops)
    if not any(stop in whole for stop in stops):
        assert shown == whole


def test_nothing_is_held_back_without_stop_strings() -> None:
    assert StopFilter(()).feed("anything") == "anything"


def event(**fields: object) -> bytes:
    return b"data: " + json.dumps(fields).encode()


def delta(**fields: object) -> bytes:
    return event(choices=[{"index": 0, "delta": fields}])


def test_an_upstream_s_tool_calls_are_joined_from_their_pieces() -> None:
    answer = Answer(10)
    answer.read(delta(tool_calls=[{"index": 0, "id": "c1", "function": {"name": "look", "arguments": '{"a"'}}]))
    answer.read(delta(tool_calls=[{"index": 0, "function": {"arguments": ": 1}"}}]))
    answer.read(event(choices=[{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]))
    last = answer.last()
    assert last.finish_reason == "tool_calls"
    assert last.tool_calls[0]["function"] == {"name": "look", "arguments": '{"a": 1}'}


def test_thinking_is_counted_where_the_upstream_counts_it() -> None:
    answer = Answer(10)
    usage = {"prompt_tokens": 3, "completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 7}}
    answer.event({"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": usage})
    assert answer.last().usage == Usage(prompt_tokens=3, completion_tokens=9, reasoning_tokens=7)


def test_what_of_the_prompt_was_read_before_is_counted_where_the_upstream_counts_it() -> None:
    answer = Answer(10)
    usage = {"prompt_tokens": 30, "completion_tokens": 9, "prompt_tokens_details": {"cached_tokens": 20}}
    answer.event({"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": usage})
    assert answer.last().usage == Usage(prompt_tokens=30, completion_tokens=9, cached_tokens=20)


def test_reasoning_is_kept_apart_from_text() -> None:
    chunk = Answer(10).read(delta(reasoning_content="hm"))
    assert chunk is not None
    assert (chunk.text, chunk.reasoning) == ("", "hm")


def test_usage_that_comes_after_the_end_is_counted() -> None:
    answer = Answer(10)
    answer.read(event(choices=[{"index": 0, "delta": {"content": "x"}, "finish_reason": "stop"}]))
    answer.read(event(choices=[], usage={"prompt_tokens": 7, "completion_tokens": 3}))
    usage = answer.last().usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens) == (7, 3)


def test_an_upstream_that_just_stops_has_failed() -> None:
    answer = Answer(10)
    answer.read(delta(content="half"))
    with pytest.raises(BackendFailed) as failed:
        answer.last()
    assert failed.value.data["reason"] == "broke_off"


def test_an_error_within_a_stream_is_a_failure_without_the_upstream_s_words() -> None:
    with pytest.raises(BackendFailed) as failed:
        Answer(10).read(event(error={"message": "secret prompt"}))
    assert "secret" not in failed.value.detail


def test_a_request_keeps_everything_on_its_way_to_an_upstream() -> None:
    given_request = GenerateRequest(
        request_id="r",
        model="m",
        messages=(ChatMessage(role="user", content=(TextPart(text="hi"),)), ChatMessage(role="tool", tool_call_id="c")),
        sampling=Sampling(max_tokens=5, temperature=0.0, stop=("x",)),
        tools=Tools(tools=({"type": "function"},), tool_choice="auto", response_format={"type": "json_object"}),
    )
    body = chat_body(given_request)
    assert body["messages"][0] == {"role": "user", "content": [{"type": "text", "text": "hi"}]}
    assert body["messages"][1] == {"role": "tool", "tool_call_id": "c"}
    assert (body["max_tokens"], body["temperature"], body["stop"]) == (5, 0.0, ["x"])
    assert (body["tool_choice"], body["response_format"]) == ("auto", {"type": "json_object"})


def test_ollama_is_told_its_context_and_not_to_cut() -> None:
    body = ollama.body(request().model_copy(update={"sampling": Sampling(max_tokens=9)}), 4096)
    assert (body["options"]["num_ctx"], body["options"]["num_predict"]) == (4096, 9)
    assert (body["truncate"], body["shift"]) == (False, False)


async def test_the_extractive_model_quotes_what_fits_the_question() -> None:
    messages = (
        ChatMessage(role="system", content="The boat is called Marguerite. Bread costs two euros."),
        ChatMessage(role="user", content="What is the boat called?"),
    )
    asked = GenerateRequest(request_id="r", model="extractive", messages=messages)
    chunks = [chunk async for chunk in ExtractiveBackend().generate(asked)]
    answer = "".join(chunk.text for chunk in chunks)
    assert "Marguerite" in answer
    assert "Bread" not in answer
    assert chunks[-1].finish_reason == "stop"


def test_the_extractive_model_says_so_when_nothing_fits_in_the_asker_s_language() -> None:
    (nothing,) = quote((ChatMessage(role="user", content="Quel est le nom de mon bateau ?"),))
    assert nothing.startswith("Rien")
