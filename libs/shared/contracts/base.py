"""The four kinds of conversation on the bus, and who may take part in each.

A contract is declared once, here in ``libs.shared.contracts``; the broker's permissions, the service
registrations and the tests that walk them are computed from these declarations.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from string import Formatter
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

KIB = 1024
MIB = 1024 * KIB
FLOW = ".flow"
"""What is added to a stream's subject for credit and cancellation."""


class Principal(StrEnum):
    """Who holds a key to the broker. Services own subjects; the others only call or read."""

    API = "api"
    COGNITION = "cognition"
    PERSISTENCE = "persistence"
    SCHEDULER = "scheduler"
    INFERENCE = "inference"
    OPTIMIZER = "optimizer"
    TRAINER = "trainer"
    CLI = "cli"
    """The ``mongars`` command of whoever owns the state folder."""
    OPERATOR = "operator"
    """Reads what the ``nats`` command shows; changes nothing."""
    OPS = "ops"
    """The operator who may also drain and undrain."""


SERVICES: tuple[Principal, ...] = (
    Principal.PERSISTENCE,
    Principal.SCHEDULER,
    Principal.INFERENCE,
    Principal.COGNITION,
    Principal.API,
    Principal.TRAINER,
    Principal.OPTIMIZER,
)
"""The services that exist, in the order in which they start."""
IN_BACKGROUND = frozenset({Principal.TRAINER, Principal.OPTIMIZER})
"""Those that no answer needs: an installation is ready without them, and they start once it is."""


class Message(BaseModel):
    """A frozen value on the wire: JSON, unknown fields ignored, wrong types refused, bytes as base64."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        strict=True,
        ser_json_bytes="base64",
        val_json_bytes="base64",
        allow_inf_nan=False,
        protected_namespaces=(),
    )


class Empty(Message):
    """Nothing to say."""


Q = TypeVar("Q", bound=Message)
R = TypeVar("R", bound=Message)


def subject_parameters(subject: str) -> tuple[str, ...]:
    """The names in braces in ``subject``, such as ``("replica",)``."""
    return tuple(name for _, name, _, _ in Formatter().parse(subject) if name)


@dataclass(frozen=True, kw_only=True)
class _Contract:
    subject: str = field(kw_only=False)
    owner: Principal
    """The one principal that serves (Rpc, Stream) or publishes (Event, Broadcast)."""
    callers: frozenset[Principal] = frozenset()
    """Who may call (Rpc, Stream), or subscribe (Broadcast)."""
    max_bytes: int = 1 * MIB
    """Largest encoded body in either direction; over 512 KiB the bus chunks it."""

    def subject_at(self, **where: str) -> str:
        """The concrete subject. Raises KeyError when a parameter is missing."""
        return self.subject.format(**where) if where else self.subject

    @property
    def parameters(self) -> tuple[str, ...]:
        return subject_parameters(self.subject)

    @property
    def endpoint_name(self) -> str:
        """A micro endpoint name: no dots, since the ``nats`` command drops services that use them."""
        return "_".join(t for t in self.subject.split(".")[3:] if not t.startswith("{"))


@dataclass(frozen=True, kw_only=True)
class Rpc(_Contract, Generic[Q, R]):
    """One request, one reply."""

    request: type[Q] = field(kw_only=False)
    reply: type[R] = field(kw_only=False)
    timeout_s: float = 5.0
    each_instance: bool = False
    """Every instance answers on its own (no queue group): for a subject that names one instance."""


@dataclass(frozen=True, kw_only=True)
class Stream(_Contract, Generic[Q, R]):
    """One request, many replies and an end; the caller may cancel, and the server waits for credit.

    Control messages (credit, cancel) go to ``flow_subject``, which every instance of the server hears.
    """

    request: type[Q] = field(kw_only=False)
    chunk: type[R] = field(kw_only=False)
    first_timeout_s: float = 30.0
    """Longest wait for the first chunk."""
    idle_timeout_s: float = 30.0
    """Longest silence between two chunks."""
    window: int = 64
    """Chunks that may be under way without having been taken by the caller."""

    def flow_subject_at(self, **where: str) -> str:
        """Where the caller sends credit and cancellation."""
        return self.subject_at(**where) + FLOW


@dataclass(frozen=True, kw_only=True)
class JetStream:
    """A durable stream of events: on disk before it is acknowledged, full means refused."""

    name: str
    work_queue: bool = False
    max_bytes: int = 256 * MIB
    max_age_s: float = 0.0
    """0 keeps a message until it is deleted (or, in a work queue, acknowledged)."""
    duplicate_window_s: float = 120.0


@dataclass(frozen=True, kw_only=True)
class Consumer:
    """One durable pull consumer of an event, named for what it does, made at start-up only."""

    name: str
    service: Principal
    max_ack_pending: int = 256
    at_once: int = 16
    """Deliveries that one process handles at the same time, where order is of no matter."""
    ack_wait_s: float = 30.0
    """What a process holds is delivered again so long after its last sign of life."""
    max_deliver: int = 8
    """After so many deliveries a message is quarantined."""


@dataclass(frozen=True, kw_only=True)
class Event(_Contract, Generic[Q]):
    """A fact on a JetStream stream: at least once, idempotent by message id."""

    message: type[Q] = field(kw_only=False)
    stream: JetStream
    consumers: tuple[Consumer, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Broadcast(_Contract, Generic[Q]):
    """Core NATS: lossy, every subscriber hears it, the newest wins."""

    message: type[Q] = field(kw_only=False)


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """A key-value bucket: who reads, who writes, how long an entry lives.

    A key may not hold personal data: ids and hashes only. Changes are republished on
    ``mongars.v1.kv.<name>.<key>``, which is what a watch subscribes to.
    """

    name: str
    writers: frozenset[Principal]
    readers: frozenset[Principal]
    ttl_s: float = 0.0
    in_memory: bool = False
    max_bytes: int = 16 * MIB
    max_entries: int = 0
    """0: as many as fit."""
    evicts: bool = False
    """Of a cache: when it is full the oldest entry leaves, where otherwise a new one is refused."""

    def watch_subject(self, key: str) -> str:
        """Where a change of ``key`` is republished; ``>`` takes all keys."""
        return f"mongars.v1.kv.{self.name}.{key}"


@dataclass(frozen=True, kw_only=True)
class ObjectStore:
    """A store of files on JetStream, laid out as the ``nats object`` command does: who writes, and who reads. Who does
    both keeps it, and alone may delete.

    A name may not hold personal data: hashes and ids only.
    """

    name: str
    writers: frozenset[Principal]
    readers: frozenset[Principal]
    max_bytes: int

    @property
    def keepers(self) -> frozenset[Principal]:
        return self.writers & self.readers

    @property
    def stream(self) -> str:
        return f"OBJ_{self.name}"

    @property
    def parts_subject(self) -> str:
        """Under which the parts of objects lie, by the id of their putting."""
        return f"$O.{self.name}.C"

    @property
    def about_subject(self) -> str:
        """Under which it stands which objects are there: parts alone are none."""
        return f"$O.{self.name}.M"


AnyContract = Rpc[Any, Any] | Stream[Any, Any] | Event[Any] | Broadcast[Any]


def by_subject(contracts: Iterable[AnyContract]) -> dict[str, AnyContract]:
    """The contracts by subject. Raises ValueError when a subject is declared twice."""
    found: dict[str, AnyContract] = {}
    for contract in contracts:
        if contract.subject in found:
            raise ValueError(f"subject {contract.subject} is declared twice")
        found[contract.subject] = contract
    return found
