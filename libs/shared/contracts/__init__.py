"""Every subject, message, stream and bucket of the installation, declared once. Imports pydantic alone."""

from __future__ import annotations

from libs.shared.contracts import (
    accounts,
    adapters,
    backups,
    caching,
    chat,
    conversations,
    digests,
    documents,
    dreaming,
    forgetting,
    indexing,
    inference,
    jobs,
    keeping,
    ledger,
    material,
    memory,
    ratings,
    recall,
    replay,
    replaying_placements,
    scaling,
    scheduling,
    sessions,
    sleep,
    telemetry,
    training,
    turns,
    watching,
)
from libs.shared.contracts.base import AnyContract, Broadcast, Bucket, Event, JetStream, ObjectStore, Rpc, Stream

_MODULES = (
    accounts,
    adapters,
    backups,
    caching,
    chat,
    conversations,
    digests,
    documents,
    dreaming,
    forgetting,
    indexing,
    inference,
    jobs,
    keeping,
    ledger,
    material,
    memory,
    ratings,
    recall,
    replay,
    replaying_placements,
    scaling,
    scheduling,
    sleep,
    telemetry,
    training,
    turns,
    watching,
)


def _declared() -> tuple[AnyContract, ...]:
    kinds = (Rpc, Stream, Event, Broadcast)
    found: list[AnyContract] = []
    for module in _MODULES:
        for value in vars(module).values():
            values = value.values() if isinstance(value, dict) else (value,)
            found += [v for v in values if isinstance(v, kinds) and v not in found]
    return tuple(found)


CONTRACTS: tuple[AnyContract, ...] = _declared()
STREAMS: tuple[JetStream, ...] = (turns.TURNS, jobs.JOBS, ledger.LEDGER)
BUCKETS: tuple[Bucket, ...] = (*sessions.BUCKETS, ledger.SETTINGS, sleep.SLEEP)
OBJECT_STORES: tuple[ObjectStore, ...] = (adapters.ARTEFACTS,)
