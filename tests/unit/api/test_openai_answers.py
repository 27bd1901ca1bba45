"""OpenAI's API: chat whole and streamed, models, embeddings, and refusals that its clients understand."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import pytest

from libs.shared.contracts.chat import ChatChunk, ChatMessage, ChatRequest, Recalled
from libs.shared.contracts.common import MemoryMode, Usage
from libs.shared.contracts.inference import EmbedRequest
from libs.shared.errors import ContextExceeded, ModelNotFound, NoNode, Unavailable
from services.api import completions
from tests.unit.api.house import AT, Api, chat_model, whole_turn


def events(text: str) -> list[Any]:
    """The JSON of each event, and ``[DONE]`` as it is."""
    data = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    return [item if item == "[DONE]" else json.loads(item) for item in data]


async def test_a_whole_answer_has_text_a_reason_and_counted_tokens(api: Api) -> None:
    answer = await api.ask(api.key())
    told = answer.json()
    assert answer.status_code == 200
    assert told["object"] == "chat.completion"
    assert told["model"] == "tiny"
    assert told["choices"][0]["message"] == {"role": "assistant", "content": "Hello, wörld", "refusal": None}
    assert told["choices"][0]["finish_reason"] == "stop"
    assert told["usage"] == {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
    assert answer.headers["x-mongars-conversation-id"] == "c-new"
    assert told["id"] == "chatcmpl-" + answer.headers["x-mongars-turn-id"]


async def test_a_stream_begins_with_the_role_and_ends_with_usage(api: Api) -> None:
    answer = await api.ask(api.key(), stream=True, stream_options={"include_usage": True})
    assert answer.headers["content-type"].startswith("text/event-stream")
    told = events(answer.text)
    assert told[-1] == "[DONE]"
    chunks = told[:-1]
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    texts = [c["choices"][0]["delta"].get("content", "") for c in chunks if c["choices"]]
    assert "".join(texts) == "Hello, wörld"
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["total_tokens"] == 9
    assert all(chunk["usage"] is None for chunk in chunks[:-1])


async def test_a_stream_without_options_tells_no_usage(api: Api) -> None:
    told = events((await api.ask(api.key(), stream=True)).text)
    assert all("usage" not in chunk for chunk in told[:-1])


async def test_an_error_amid_a_stream_names_the_turn_and_no_end_follows(api: Api) -> None:
    api.house.answer = lambda request: whole_turn(request)[:2]
    answer = await api.ask(api.key(), stream=True)
    told = events(answer.text)
    assert told[-1]["error"]["code"] == "backend_failed"
    assert told[-1]["error"]["turn_id"] == answer.headers["x-mongars-turn-id"]
    assert "[DONE]" not in told


async def test_a_whole_answer_that_breaks_off_is_an_error(api: Api) -> None:
    api.house.answer = lambda request: whole_turn(request)[:2]
    answer = await api.ask(api.key())
    assert answer.status_code == 502
    assert answer.json()["error"]["code"] == "backend_failed"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("error", "status"),
    [(ModelNotFound("no such model"), 404), (ContextExceeded("too long", prompt_tokens=9), 400), (NoNode("busy"), 503)],
)
async def test_a_refusal_before_the_first_chunk_has_its_own_status(
    api: Api, error: Any, status: int, stream: bool
) -> None:
    api.house.answer = lambda _: error
    answer = await api.ask(api.key(), stream=stream)
    assert answer.status_code == status
    assert answer.json()["error"]["code"] == error.code
    assert answer.json()["error"]["message"] == error.detail


async def test_tool_calls_are_assembled_whole_and_indexed_in_a_stream(api: Api) -> None:
    def calls(request: ChatRequest) -> list[ChatChunk]:
        turn = request.turn_id
        first = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "heat", "arguments": '{"a"'}}
        return [
            ChatChunk(turn_id=turn, tool_calls=(first,), model="tiny"),
            ChatChunk(turn_id=turn, tool_calls=({"index": 0, "function": {"arguments": ":1}"}},)),
            ChatChunk(turn_id=turn, finish_reason="tool_calls", usage=Usage(prompt_tokens=1, completion_tokens=1)),
        ]

    api.house.answer = calls
    tools = [{"type": "function", "function": {"name": "heat"}}]
    whole = (await api.ask(api.key(), tools=tools, tool_choice="auto")).json()["choices"][0]
    assert whole["finish_reason"] == "tool_calls"
    assert whole["message"]["content"] is None
    call = {"id": "call_1", "type": "function", "function": {"name": "heat", "arguments": '{"a":1}'}}
    assert whole["message"]["tool_calls"] == [call]
    streamed = events((await api.ask(api.key(), tools=tools, stream=True)).text)
    assert streamed[1]["choices"][0]["delta"]["tool_calls"][0]["index"] == 0
    assert api.house.told(ChatRequest)[0].tools.tools == tuple(tools)


async def test_explain_tells_what_was_recalled_and_given(api: Api) -> None:
    def explained(request: ChatRequest) -> list[ChatChunk]:
        recalled = Recalled(message_id="m1", conversation_id="c0", text="a fact", at=AT, score=0.5)
        prompt = (ChatMessage(role="user", content="hello"),)
        first, *rest = whole_turn(request)
        return [first.model_copy(update={"recalled": (recalled,), "prompt": prompt}), *rest]

    api.house.answer = explained
    told = (await api.ask(api.key(), metadata={"explain": "true"})).json()["mongars"]
    assert told["recalled"][0]["text"] == "a fact"
    assert told["prompt"][0]["content"] == "hello"
    assert api.house.told(ChatRequest)[0].explain
    streamed = events((await api.ask(api.key(), metadata={"explain": "true"}, stream=True)).text)
    assert streamed[0]["mongars"]["recalled"][0]["message_id"] == "m1"


async def test_degraded_answers_say_so_in_a_header(api: Api) -> None:
    api.house.answer = lambda r: [
        ChatChunk(turn_id=r.turn_id, text="From memory.", degraded="no-model", finish_reason="stop")
    ]
    for stream in (False, True):
        assert (await api.ask(api.key(), stream=stream)).headers["x-mongars-degraded"] == "no-model"


async def test_an_answer_from_afar_says_so_in_a_header(api: Api) -> None:
    def afar(r: ChatRequest) -> list[ChatChunk]:
        first, *rest = whole_turn(r)
        return [first.model_copy(update={"remote": "afar"}), *rest]

    assert "x-mongars-remote" not in (await api.ask(api.key())).headers
    api.house.answer = afar
    for stream in (False, True):
        assert (await api.ask(api.key(), stream=stream)).headers["x-mongars-remote"] == "afar"


async def test_thinking_is_told_apart_from_the_answer_and_counted(api: Api) -> None:
    def thoughtful(r: ChatRequest) -> list[ChatChunk]:
        usage = Usage(prompt_tokens=7, completion_tokens=5, reasoning_tokens=3, cached_tokens=4)
        return [
            ChatChunk(turn_id=r.turn_id, text="thought aloud ", model="tiny"),
            ChatChunk(turn_id=r.turn_id, retracts=True),
            ChatChunk(turn_id=r.turn_id, reasoning="hm"),
            ChatChunk(turn_id=r.turn_id, text="Hello"),
            ChatChunk(turn_id=r.turn_id, finish_reason="stop", usage=usage),
        ]

    api.house.answer = thoughtful
    told = (await api.ask(api.key())).json()
    message = told["choices"][0]["message"]
    assert (message["content"], message["reasoning_content"]) == ("Hello", "thought aloud hm")
    assert told["usage"]["completion_tokens_details"] == {"reasoning_tokens": 3}
    assert "prompt_tokens_details" not in told["usage"], "it would tell what others have asked"
    deltas = [e["choices"][0]["delta"] for e in events((await api.ask(api.key(), stream=True)).text)[:-1]]
    assert [d["reasoning_content"] for d in deltas if "reasoning_content" in d] == ["hm"]


@pytest.mark.parametrize(
    ("of_key", "store", "expected"),
    [
        (MemoryMode.READ_WRITE, None, MemoryMode.READ_WRITE),
        (MemoryMode.READ_WRITE, True, MemoryMode.READ_WRITE),
        (MemoryMode.READ_WRITE, False, MemoryMode.OFF),
        (MemoryMode.READ, True, MemoryMode.READ),
        (MemoryMode.OFF, True, MemoryMode.OFF),
        (MemoryMode.OFF, None, MemoryMode.OFF),
    ],
)
async def test_a_request_never_gets_more_memory_than_its_key(
    api: Api, of_key: MemoryMode, store: bool | None, expected: MemoryMode
) -> None:
    await api.ask(api.key(memory=of_key), store=store)
    assert api.house.told(ChatRequest)[0].memory is expected


async def test_a_session_reads_and_writes_memory_and_joins_a_conversation(api: Api) -> None:
    await api.ask(await api.session(), metadata={"conversation_id": "c7", "parent_id": "m3"})
    turn = api.house.told(ChatRequest)[0]
    assert (turn.memory, turn.user_id) == (MemoryMode.READ_WRITE, "id-ana")
    assert (turn.conversation_id, turn.parent_id) == ("c7", "m3")


@pytest.mark.parametrize(("metadata", "again"), [(None, True), ({}, False), ({"explain": "true"}, False)])
async def test_a_key_s_first_message_may_come_again_unless_its_program_knows_of_metadata(
    api: Api, metadata: dict[str, str] | None, again: bool
) -> None:
    await api.ask(api.key(memory=MemoryMode.READ_WRITE), metadata=metadata)
    assert api.house.told(ChatRequest)[-1].again is again


async def test_a_session_s_first_message_always_begins_a_conversation(api: Api) -> None:
    await api.ask(await api.session())
    assert not api.house.told(ChatRequest)[-1].again


async def test_unknown_fields_are_ignored_and_null_ones_too(api: Api) -> None:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": "before",
        "refusal": None,
        "tool_calls": None,
        "annotations": [],
    }
    messages = [{"role": "user", "content": "a"}, message, {"role": "user", "content": "b"}]
    answer = await api.ask(
        api.key(), messages=messages, user="u", service_tier="auto", n=1, logprobs=False, tools=None, stream=None
    )
    assert answer.status_code == 200


PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
ELSEWHERE = {"type": "image_url", "image_url": {"url": "https://elsewhere.example/a.png"}}


async def test_pictures_as_data_urls_are_passed_on(api: Api) -> None:
    messages = [{"role": "user", "content": [{"type": "text", "text": "what?"}, PICTURE]}]
    assert (await api.ask(api.key(), messages=messages)).status_code == 200
    content = api.house.told(ChatRequest)[0].messages[0].content
    assert content[1].image_url.url == PICTURE["image_url"]["url"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"messages": []}, "invalid_request", "messages"),
        ({"messages": "hello"}, "invalid_request", "messages"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "invalid_request", "messages.0.role"),
        ({"messages": [{"role": "user"}]}, "bad_request", "messages.0.content"),
        ({"messages": [{"role": "user", "content": 5}]}, "invalid_request", "messages.0.content"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "invalid_request", "messages.0.content"),
        ({"stop": 5}, "invalid_request", "stop"),
        ({"tool_choice": 5}, "invalid_request", "tool_choice"),
        ({"messages": [{"role": "user", "content": [ELSEWHERE]}]}, "unsupported_parameter", "messages.0.content"),
        ({"max_tokens": -1}, "invalid_request", "max_tokens"),
        ({"max_tokens": "9"}, "invalid_request", "max_tokens"),
        ({"max_completion_tokens": 10**9}, "token_limit", "max_completion_tokens"),
        ({"temperature": "hot"}, "invalid_request", "temperature"),
        ({"stream": "yes"}, "invalid_request", "stream"),
        ({"n": 2}, "unsupported_parameter", "n"),
        ({"logprobs": True}, "unsupported_parameter", "logprobs"),
        ({"logit_bias": {"1": 2}}, "unsupported_parameter", "logit_bias"),
        ({"functions": [{"name": "f"}]}, "unsupported_parameter", "functions"),
        ({"metadata": {"conversation_id": "../x"}}, "invalid_request", "conversation_id"),
        ({"metadata": {"explain": True}}, "invalid_request", "metadata.explain"),
    ],
)
async def test_what_cannot_be_meant_is_refused_by_name(api: Api, body: dict[str, Any], code: str, param: str) -> None:
    answer = await api.ask(api.key(), **body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == (code, param)
    assert error["type"] == "invalid_request_error"
    assert error["message"]
    assert not api.house.told(ChatRequest)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"messages": NaN}', b'"\xff"', b"[" * 100_000])
async def test_a_body_that_is_no_request_is_a_plain_400(api: Api, body: bytes) -> None:
    answer = await api.client.post("/v1/chat/completions", content=body, headers=api.key())
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_request"


async def test_an_image_from_elsewhere_would_get_through_without_its_check(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completions, "_check_images", lambda *_: None)
    answer = await api.ask(api.key(), messages=[{"role": "user", "content": [ELSEWHERE]}])
    assert answer.status_code == 200


async def test_models_begin_with_the_default_and_end_with_what_embeds(api: Api) -> None:
    models = (chat_model("minilm", kind="embed"), chat_model("extractive"), chat_model("alpha"), chat_model("tiny"))
    api.house.models = api.house.models.model_copy(update={"models": models})
    told = (await api.client.get("/v1/models", headers=api.key())).json()
    served = [model["id"] for model in told["data"] if model["alias_of"] is None]
    assert served == ["tiny", "alpha", "extractive", "minilm"]
    assert [model["id"] for model in told["data"]][: len(served)] == served, "a client may take the first"
    assert (await api.client.get("/v1/models/alpha", headers=api.key())).json()["id"] == "alpha"
    missing = await api.client.get("/v1/models/Qwen/none", headers=api.key())
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")


async def test_many_texts_are_asked_for_in_small_batches_and_stay_in_order(api: Api) -> None:
    texts = ["x" * (1 + number % 7) for number in range(100)]
    told = (await api.client.post("/v1/embeddings", json={"input": texts}, headers=api.key())).json()
    assert [item["embedding"][1] for item in told["data"]] == [float(len(text)) for text in texts]
    # a small board embeds about two long texts a second, and a batch has half a minute
    assert max(len(asked.texts) for asked in api.house.told(EmbedRequest)) <= 32


async def test_roles_are_listed_after_the_models_and_marked_as_aliases(api: Api) -> None:
    models = (chat_model("tiny"), chat_model("coder"), chat_model("minilm", kind="embed", dimensions=3))
    api.house.models = api.house.models.model_copy(update={"models": models, "default_code": "coder"})
    told = (await api.client.get("/v1/models", headers=api.key())).json()["data"]
    aliases = {model["id"]: (model["alias_of"], model["owned_by"]) for model in told if model["alias_of"]}
    assert aliases == {
        "mongars/chat": ("tiny", "mongars"),
        "mongars/code": ("coder", "mongars"),
        "mongars/embed": ("minilm", "mongars"),
    }
    one = await api.client.get("/v1/models/mongars/code", headers=api.key())
    assert one.json()["alias_of"] == "coder"


async def test_embeddings_are_floats_or_base64_in_order(api: Api) -> None:
    body = {"model": "minilm", "input": ["a", "four"]}
    floats = (await api.client.post("/v1/embeddings", json=body, headers=api.key())).json()
    assert [item["embedding"] for item in floats["data"]] == [[0.5, 1.0, -1.0], [0.5, 4.0, -1.0]]
    assert floats["usage"] == {"prompt_tokens": 2, "total_tokens": 2}
    packed = (
        await api.client.post("/v1/embeddings", json={**body, "encoding_format": "base64"}, headers=api.key())
    ).json()
    assert struct.unpack("<3f", base64.b64decode(packed["data"][1]["embedding"])) == (0.5, 4.0, -1.0)


async def test_another_replica_is_asked_when_one_fails(api: Api) -> None:
    api.house.lost_replicas.add("node-0")
    answer = await api.client.post("/v1/embeddings", json={"input": "a"}, headers=api.key())
    assert answer.status_code == 200
    assert answer.json()["model"] == "minilm"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"input": []}, 400, "bad_request"),
        ({"input": ""}, 400, "bad_request"),
        ({"input": [1, 2]}, 400, "unsupported_parameter"),
        ({"input": 3}, 400, "invalid_request"),
        ({"input": "a", "dimensions": 7}, 400, "unsupported_parameter"),
        ({"input": "a", "model": "none"}, 404, "model_not_found"),
    ],
)
async def test_embeddings_refuse_what_they_cannot_do(api: Api, body: dict[str, Any], status: int, code: str) -> None:
    answer = await api.client.post("/v1/embeddings", json=body, headers=api.key())
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_turn_waits_for_a_cognition_that_restarts(api: Api, stream: bool) -> None:
    refusals = iter([Unavailable("restarting"), Unavailable("restarting")])
    api.house.answer = lambda request: next(refusals, None) or whole_turn(request)
    answer = await api.ask(api.key(), stream=stream)
    assert answer.status_code == 200
    assert next(refusals, None) is None


async def test_without_patience_a_restart_would_be_seen(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.api.turns.PAUSE_S", 3600.0)
    api.house.answer = lambda request: Unavailable("restarting")
    answer = await api.ask(api.key())
    assert answer.status_code == 503


async def test_a_model_with_an_adapter_is_listed_as_a_model_of_its_own(api: Api) -> None:
    models = (chat_model("tiny", adapters=("ada", "bea")), chat_model("alpha"))
    api.house.models = api.house.models.model_copy(update={"models": models})
    told = (await api.client.get("/v1/models", headers=api.key())).json()["data"]
    listed = [(model["id"], model["adapter_of"]) for model in told if model["alias_of"] is None]
    assert listed == [("tiny", None), ("alpha", None), ("tiny:ada", "tiny"), ("tiny:bea", "tiny")]
    assert (await api.client.get("/v1/models/tiny:ada", headers=api.key())).json()["adapter_of"] == "tiny"


async def test_a_model_with_an_adapter_that_is_the_default_comes_first(api: Api) -> None:
    models = (chat_model("tiny", adapters=("ada", "bea")), chat_model("alpha"))
    api.house.models = api.house.models.model_copy(update={"models": models, "default_chat": "tiny:ada"})
    told = (await api.client.get("/v1/models", headers=api.key())).json()["data"]
    listed = [(model["id"], model["adapter_of"], model["alias_of"]) for model in told]
    assert listed == [
        ("tiny:ada", "tiny", None),
        ("alpha", None, None),
        ("tiny", None, None),
        ("tiny:bea", "tiny", None),
        ("mongars/chat", "tiny", "tiny:ada"),
    ]


async def test_a_name_that_a_model_has_for_itself_is_listed_once(api: Api) -> None:
    models = (chat_model("tiny", adapters=("ada", "bea")), chat_model("tiny:ada"))
    api.house.models = api.house.models.model_copy(update={"models": models})
    told = (await api.client.get("/v1/models", headers=api.key())).json()["data"]
    listed = [(model["id"], model["adapter_of"]) for model in told if model["alias_of"] is None]
    assert listed == [("tiny", None), ("tiny:ada", None), ("tiny:bea", "tiny")]
