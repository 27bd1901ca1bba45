"""Generating and embedding on one replica: cognition and the api ask, the replica answers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from libs.shared.contracts.base import MIB, Empty, Message, Principal, Rpc, Stream
from libs.shared.contracts.chat import ChatMessage, Sampling, Tools
from libs.shared.contracts.common import AdapterName, Id, JsonObject, Usage, Vector
from libs.shared.contracts.scheduling import Drained, Ticket
from libs.shared.contracts.telemetry import MetricsText

REPLICAS_PER_NODE = 16
"""Replica ids are ``<node>-0`` to ``<node>-15``: a node's key may serve those and no others."""


class GenerateRequest(Message):
    """A prompt for one model. Raises ``model_not_found``, ``adapter_not_found``, ``adapter_broken``,
    ``adapter_mismatched``, ``model_does_not_fit`` (the adapter finds no room), ``context_exceeded`` (with
    ``prompt_tokens`` and ``context_tokens``), ``unsupported``, ``remote_not_allowed``, ``overloaded`` (with
    ``retry_after_s``), ``backend_failed``."""

    request_id: Id
    model: str
    adapter: AdapterName | None = None
    """The LoRA adapter with which the model is to answer; None: none."""
    messages: tuple[ChatMessage, ...] = Field(min_length=1)
    sampling: Sampling = Sampling()
    tools: Tools = Tools()
    session: Id | None = None
    remote: bool = False
    """The caller knows that the model is a remote one, and says so to whoever asked: otherwise it is refused."""
    ticket: Ticket | None = None
    """Of the placement that led here."""
    background: bool = False
    """Nobody waits for it, and it is cancelled when somebody does: it counts as nothing that is ahead of requests."""


class GenerateChunk(Message):
    """A piece of the answer as the model makes it; the last has ``finish_reason`` and ``usage``."""

    text: str = ""
    reasoning: str = ""
    """What the model thinks on the way: shown apart, and never remembered."""
    retracts: bool = False
    """All ``text`` before this chunk was thinking: the model told so only now."""
    tool_calls: tuple[JsonObject, ...] = ()
    finish_reason: Literal["stop", "length", "tool_calls", "content_filter"] | None = None
    usage: Usage | None = None


class EmbedRequest(Message):
    """Texts to embed, each cut at the model's own limit. Raises ``model_not_found``, ``overloaded``."""

    model: str
    texts: tuple[str, ...] = Field(min_length=1, max_length=512)
    background: bool = False
    """Nobody waits for these: they give way to the texts of others, and are refused as ``preempted`` in the middle when
    somebody asks anything."""
    purpose: Literal["query", "passage"] = "passage"
    """Some embedders were trained to be told which; the others embed both alike."""


class Embeddings(Message):
    """One normalised vector a text, in order."""

    embedder: str
    """``name@version``: vectors of two embedders are never compared."""
    dimensions: int
    vectors: tuple[Vector, ...]
    prompt_tokens: int


class SetDraining(Message):
    """Tells a node to take no new requests, or to take them again."""

    draining: bool


GENERATE = Stream(
    "mongars.v1.inference.generate.{replica}",
    GenerateRequest,
    GenerateChunk,
    owner=Principal.INFERENCE,
    callers=frozenset({Principal.COGNITION}),
    max_bytes=16 * MIB,
    first_timeout_s=60.0,
    idle_timeout_s=30.0,
)
EMBED = Rpc(
    "mongars.v1.inference.embed.{replica}",
    EmbedRequest,
    Embeddings,
    owner=Principal.INFERENCE,
    callers=frozenset({Principal.COGNITION, Principal.API, Principal.TRAINER, Principal.OPTIMIZER}),
    max_bytes=16 * MIB,
    timeout_s=30.0,
    each_instance=True,
)
SET_DRAINING = Rpc(
    "mongars.v1.inference.set_draining.{node}",
    SetDraining,
    Drained,
    owner=Principal.INFERENCE,
    callers=frozenset({Principal.SCHEDULER}),
    timeout_s=2.0,
    each_instance=True,
)
REPLICA_METRICS = Rpc(
    "mongars.v1.inference.replica_metrics.{replica}",
    Empty,
    MetricsText,
    owner=Principal.INFERENCE,
    callers=frozenset({Principal.INFERENCE}),
    timeout_s=1.0,
    max_bytes=8 * MIB,
    each_instance=True,
)
"""A replica in a process of its own is asked for its metrics by its node's service, which tells them with its own."""
