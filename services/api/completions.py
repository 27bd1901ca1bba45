"""OpenAI's chat request, and the turn that it stands for. Pure."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator

from libs.shared.contracts.chat import ChatMessage, ChatRequest, ImagePart, Sampling, Tools
from libs.shared.contracts.common import JsonObject, MemoryMode
from services.api.access import Caller
from services.api.bodies import OpenAIBody, invalid
from services.api.errors import BadRequest, TokenLimit, UnsupportedParameter

_IGNORED: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "audio": (),
    "modalities": (["text"],),
    "prediction": (),
    "functions": ([],),
    "function_call": ("none",),
    "web_search_options": (),
}
"""Parameters that change what an answer means, and the values that change nothing."""


class IncomingMessage(ChatMessage):
    """A message as clients send it back: absent tool calls may be written as null."""

    @field_validator("tool_calls", mode="before")
    @classmethod
    def _null_is_none(cls, value: object) -> object:
        return () if value is None else value


class StreamOptions(OpenAIBody):
    """What a stream tells beside the answer."""

    include_usage: bool = False


class ChatCompletionRequest(OpenAIBody):
    """The parameters that are honoured, and those that are refused rather than passed over."""

    messages: tuple[IncomingMessage, ...] = Field(min_length=1)
    model: str | None = Field(default=None, max_length=256)
    user: str | None = Field(default=None, max_length=1024)
    """Counts for keys with the scope ``on-behalf-of``, where no header names the user."""
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    store: bool | None = None
    """false: neither recalled nor kept."""
    metadata: dict[str, str] | None = Field(default=None, max_length=16)
    """``conversation_id`` joins a conversation, ``parent_id`` answers to an older message of it, ``explain`` ("true")
    tells what was recalled and what the model was given, ``remember`` ("false") begins a conversation that is kept and
    never recalled elsewhere."""
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    seed: int | None = None
    stop: str | tuple[str, ...] | None = Field(default=None)
    tools: tuple[JsonObject, ...] | None = None
    tool_choice: Literal["none", "auto", "required"] | JsonObject | None = None
    response_format: JsonObject | None = None
    n: Any = None
    logprobs: Any = None
    top_logprobs: Any = None
    logit_bias: Any = None
    audio: Any = None
    modalities: Any = None
    prediction: Any = None
    functions: Any = None
    function_call: Any = None
    web_search_options: Any = None

    @property
    def include_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage


def turn_for(
    wanted: ChatCompletionRequest, caller: Caller, *, turn_id: str, most_output_tokens: int, chat: str | None = None
) -> ChatRequest:
    """The turn. Raises UnsupportedParameter, TokenLimit, BadRequest, InvalidRequest, each naming the parameter."""
    _refuse_unsupported(wanted)
    _check_messages(wanted.messages)
    metadata = wanted.metadata or {}
    try:
        return ChatRequest(
            turn_id=turn_id,
            user_id=caller.user_id,
            messages=wanted.messages,
            model=wanted.model or None,
            conversation_id=metadata.get("conversation_id"),
            parent_id=metadata.get("parent_id"),
            chat=chat,
            again=caller.key_id is not None and wanted.metadata is None,
            memory=MemoryMode.OFF if wanted.store is False else caller.memory,
            sampling=_sampling(wanted, most_output_tokens),
            tools=_tools(wanted),
            remember=metadata.get("remember") != "false",
            explain=metadata.get("explain") == "true",
        )
    except ValidationError as error:
        raise invalid(error) from None


def _refuse_unsupported(wanted: ChatCompletionRequest) -> None:
    for name in wanted.model_fields_set:
        if name in _IGNORED:
            value = getattr(wanted, name)
            if value is not None and value not in _IGNORED[name]:
                raise UnsupportedParameter(f"{name} is not supported here.", param=name)


def _check_messages(messages: tuple[IncomingMessage, ...]) -> None:
    for index, message in enumerate(messages):
        if message.content is None and not message.tool_calls:
            raise BadRequest(f"Message {index} has no content.", param=f"messages.{index}.content")
        if isinstance(message.content, tuple):
            _check_images(message.content, f"messages.{index}.content")


def _check_images(parts: tuple[Any, ...], param: str) -> None:
    for part in parts:
        if isinstance(part, ImagePart) and not part.image_url.url.startswith("data:image/"):
            raise UnsupportedParameter("An image must be a data URL: nothing is fetched from elsewhere.", param=param)


def _sampling(wanted: ChatCompletionRequest, most_output_tokens: int) -> Sampling:
    param = "max_tokens" if wanted.max_completion_tokens is None else "max_completion_tokens"
    max_tokens: int | None = getattr(wanted, param)
    if max_tokens is not None and max_tokens > most_output_tokens:
        raise TokenLimit(f"{param} may be at most {most_output_tokens}.", param=param, limit=most_output_tokens)
    stop = wanted.stop or ()
    return Sampling(
        max_tokens=max_tokens,
        temperature=wanted.temperature,
        top_p=wanted.top_p,
        presence_penalty=wanted.presence_penalty,
        frequency_penalty=wanted.frequency_penalty,
        seed=wanted.seed,
        stop=(stop,) if isinstance(stop, str) else stop,
    )


_NO_TOOLS = Tools()


def _tools(wanted: ChatCompletionRequest) -> Tools:
    if not wanted.tools and wanted.tool_choice is None and wanted.response_format is None:
        return _NO_TOOLS
    return Tools(tools=wanted.tools or (), tool_choice=wanted.tool_choice, response_format=wanted.response_format)
