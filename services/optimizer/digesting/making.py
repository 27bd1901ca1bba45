"""A digest of each of some memories: what a child process computes, from bytes to bytes. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np
from pydantic import TypeAdapter

from libs.shared.contracts.base import Message
from libs.shared.contracts.common import Id
from services.optimizer.digesting.alike import telling_keys
from services.optimizer.digesting.dating import dated
from services.optimizer.digesting.measuring import Tally, tally
from services.optimizer.digesting.telling import telling

RECIPE = "extractive@2"
"""What makes digests, with its version: another one makes all of them anew."""
_LARGEST = 127


class Said(Message):
    """A memory to digest."""

    message_id: Id
    version: int
    text: str
    speaker: str
    at: datetime


class Telling(Message):
    """What a memory tells: its sentences as they were said (to be embedded), and as they are read."""

    message_id: Id
    version: int
    said: tuple[str, ...]
    read: tuple[str, ...]
    keys: bytes = b""
    """Of what each sentence tells."""


class Made(Message):
    """What the child process hands back."""

    tellings: tuple[Telling, ...]
    tally: Tally


_SAID = TypeAdapter(tuple[Said, ...])


def digests(memories: Sequence[Said]) -> tuple[Telling, ...]:
    """One a memory, in order; a memory that tells nothing has no sentences."""
    return tuple(_digest(memory) for memory in memories)


def _digest(memory: Said) -> Telling:
    said = telling(memory.text)
    read = tuple(dated(sentence, memory.at) for sentence in said)
    return Telling(
        message_id=memory.message_id,
        version=memory.version,
        said=said,
        read=read,
        keys=telling_keys(read, memory.speaker, memory.message_id),
    )


def job(payload: bytes) -> bytes:
    """``digests`` as the child process runs it."""
    memories = _SAID.validate_json(payload)
    made = digests(memories)
    told = tally([memory.text for memory in memories], [one.read for one in made])
    return Made(tellings=made, tally=told).model_dump_json().encode()


def payload_of(memories: Sequence[Said]) -> bytes:
    """For ``job``."""
    return _SAID.dump_json(tuple(memories))


def in_bytes(vectors: Sequence[bytes]) -> bytes:
    """float32 vectors as int8, one after another, each by its own largest value: their directions stay, to 0.4 %."""
    if not vectors:
        return b""
    rows = np.stack([np.frombuffer(vector, dtype="<f4") for vector in vectors])
    largest = np.maximum(np.abs(rows).max(axis=1, keepdims=True), np.float32(1e-12))
    made: bytes = np.rint(rows / largest * _LARGEST).astype(np.int8).tobytes()
    return made
