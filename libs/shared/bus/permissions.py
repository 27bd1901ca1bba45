"""What each key may do at the broker: computed from the contracts, and written nowhere else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from libs.shared.bus.endpoints import QUEUE
from libs.shared.bus.jetstream import API
from libs.shared.contracts import BUCKETS, CONTRACTS, OBJECT_STORES, STREAMS
from libs.shared.contracts.base import AnyContract, Broadcast, Bucket, Event, ObjectStore, Principal, Rpc, Stream
from libs.shared.contracts.inference import REPLICA_METRICS, REPLICAS_PER_NODE
from libs.shared.contracts.scaling import MOST_HERE
from libs.shared.contracts.telemetry import HEALTH, METRICS

SETUP = "setup"
"""Who makes streams, consumers and buckets when an installation starts, and does nothing else."""
WITNESS = "witness"
"""Who looks who is connected after a key was taken away: known to the broker for that moment, in its system account."""
CONNECTIONS = "$SYS.REQ.SERVER.PING.CONNZ"
OPERATOR_INBOX = "_INBOX"
"""What the ``nats`` command uses by default; no service does."""
_ACK = "$JS.ACK"
_FOR_THE_SERVICE = (HEALTH[Principal.INFERENCE], METRICS[Principal.INFERENCE])


@dataclass(frozen=True)
class Permissions:
    """Everything that is allowed; the rest is denied. ``subject q`` allows a queue subscription alone."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


def inbox_prefix(principal: Principal | str, node: str | None = None) -> str:
    """Where the replies to ``principal`` arrive, which nobody else may hear."""
    if principal in (Principal.OPERATOR, Principal.OPS):
        return OPERATOR_INBOX
    return f"_INBOX_{principal}" if node is None else f"_INBOX_{principal}.{node}"


def permissions_of(
    principal: Principal, node: str | None = None, contracts: Iterable[AnyContract] = CONTRACTS
) -> Permissions:
    """What ``principal`` may do; ``node`` says which inference node a key belongs to."""
    publish: list[str] = []
    subscribe: list[str] = [inbox_prefix(principal, node) + ".>"]
    for contract in contracts:
        if contract.owner == principal:
            publish += _published_by_owner(contract, node)
            subscribe += _heard_by_owner(contract, node)
        if principal in contract.callers:
            publish += _published_by_caller(contract)
            subscribe += [contract.subject] if isinstance(contract, Broadcast) else []
        if isinstance(contract, Event):
            publish += _published_by_consumer(contract, principal)
    for bucket in BUCKETS:
        publish += _bucket_publish(bucket, principal)
        subscribe += [bucket.watch_subject(">")] if principal in bucket.readers else []
    for store in OBJECT_STORES:
        publish += _store_publish(store, principal)
    publish += [f"{API}.STREAM.MSG.DELETE.{s.name}" for s in STREAMS if principal == Principal.PERSISTENCE]
    publish += _operator_publish() if principal in (Principal.OPERATOR, Principal.OPS) else []
    if principal in {c.owner for c in contracts if isinstance(c, Rpc | Stream)}:
        publish.append(OPERATOR_INBOX + ".>")
        subscribe += _registration(principal)
    return Permissions(tuple(dict.fromkeys(publish)), tuple(dict.fromkeys(subscribe)))


def inference_node(node_id: str) -> Permissions:
    """What the key of one inference node may do: serve its own replicas, and no other node's."""
    return permissions_of(Principal.INFERENCE, node_id)


def joined_node(node_id: str) -> Permissions:
    """What the key of a node on somebody's other machine may do: less than the installation's own node, which alone
    answers for the service (health, metrics) and asks replicas for their metrics.

    Nothing of JetStream: the broker answers that wherever the asker says, also where the asker itself may not publish,
    so that reading one bucket would write into any other. Such a node asks persistence for the settings.
    """
    kept = (contract for contract in CONTRACTS if contract not in _FOR_THE_SERVICE)
    asked = (replace(c, callers=c.callers - {Principal.INFERENCE}) if c is REPLICA_METRICS else c for c in kept)
    given = permissions_of(Principal.INFERENCE, node_id, tuple(asked))
    return replace(given, publish=tuple(subject for subject in given.publish if not subject.startswith(API)))


def setup_permissions() -> Permissions:
    """Of the start-up key."""
    info = f"{API}.INFO"
    streams = tuple(f"{API}.STREAM.{verb}.*" for verb in ("CREATE", "UPDATE", "INFO"))
    consumers = (f"{API}.CONSUMER.CREATE.*.*", f"{API}.CONSUMER.CREATE.*.*.>", f"{API}.CONSUMER.INFO.*.*")
    return Permissions((info, *streams, *consumers), (inbox_prefix(SETUP) + ".>",))


def witness_permissions() -> Permissions:
    """Of the witness: one question, and its answer."""
    return Permissions((CONNECTIONS,), (inbox_prefix(WITNESS) + ".>",))


def _published_by_owner(contract: AnyContract, node: str | None) -> Iterator[str]:
    if isinstance(contract, Rpc | Stream):
        # listed one by one: allow_responses would let a requester point a reply anywhere
        for caller in sorted(contract.callers):
            # an inference node that asks inference asks itself
            yield inbox_prefix(caller, node if caller == contract.owner else None) + ".>"
    else:
        yield contract.subject
    if isinstance(contract, Event):
        yield f"{API}.STREAM.INFO.{contract.stream.name}"


def _heard_by_owner(contract: AnyContract, node: str | None) -> Iterator[str]:
    if not isinstance(contract, Rpc | Stream):
        return
    for subject in _served_subjects(contract, node):
        yield f"{subject} {QUEUE}"
        yield f"{subject}.parts.*"
        if isinstance(contract, Stream):
            yield f"{subject}.flow"


def _served_subjects(contract: AnyContract, node: str | None) -> Iterator[str]:
    parameters = contract.parameters
    if not parameters:
        yield contract.subject
    elif parameters == ("worker",):
        for number in range(2, MOST_HERE + 1):
            yield contract.subject_at(worker=str(number))
    elif node is None:
        raise ValueError(f"{contract.subject} is served a node, so its permissions need one")
    elif parameters == ("node",):
        yield contract.subject_at(node=node)
    else:
        for number in range(REPLICAS_PER_NODE):
            yield contract.subject_at(replica=f"{node}-{number}")


def _published_by_caller(contract: AnyContract) -> Iterator[str]:
    if not isinstance(contract, Rpc | Stream):
        return
    subject = contract.subject_at(**dict.fromkeys(contract.parameters, "*"))
    yield subject
    yield f"{subject}.parts.*"
    if isinstance(contract, Stream):
        yield f"{subject}.flow"


def _published_by_consumer(event: Event[object], principal: Principal) -> Iterator[str]:  # type: ignore[type-var]
    for consumer in event.consumers:
        if consumer.service == principal:
            where = f"{event.stream.name}.{consumer.name}"
            yield f"{API}.CONSUMER.MSG.NEXT.{where}"
            yield f"{API}.CONSUMER.INFO.{where}"
            yield f"{API}.STREAM.INFO.{event.stream.name}"
            yield f"{_ACK}.{where}.>"


def _bucket_publish(bucket: Bucket, principal: Principal) -> Iterator[str]:
    if principal in bucket.readers | bucket.writers:
        # creating an entry reads the last one, to tell a deletion from a value
        yield f"{API}.DIRECT.GET.KV_{bucket.name}.$KV.{bucket.name}.>"
    if principal in bucket.writers:
        yield f"$KV.{bucket.name}.>"


def _store_publish(store: ObjectStore, principal: Principal) -> Iterator[str]:
    if principal in store.readers | store.writers:
        # a writer looks whether the object is there already
        yield f"{API}.DIRECT.GET.{store.stream}.{store.about_subject}.>"
    if principal in store.readers:
        yield f"{API}.DIRECT.GET.{store.stream}"
    if principal in store.writers:
        yield f"{store.parts_subject}.>"
        yield f"{store.about_subject}.>"
    if principal in store.keepers:
        yield f"{API}.STREAM.MSG.DELETE.{store.stream}"
        yield f"{API}.STREAM.INFO.{store.stream}"


def _operator_publish() -> Iterator[str]:
    yield "$SRV.>"
    yield f"{API}.INFO"
    yield from (f"{API}.STREAM.{verb}" for verb in ("INFO.*", "LIST", "NAMES"))
    yield from (f"{API}.CONSUMER.{verb}" for verb in ("INFO.*.*", "LIST.*", "NAMES.*"))


def _registration(principal: Principal) -> Iterator[str]:
    """The service protocol's own subjects (ADR-32)."""
    yield from (f"$SRV.{verb}" for verb in ("PING", "INFO", "STATS"))
    yield f"$SRV.*.mongars-{principal}"
    yield f"$SRV.*.mongars-{principal}.*"
