"""Makes the streams, consumers and buckets that the contracts declare; running it again changes nothing."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from libs.shared.bus.calls import Calls
from libs.shared.bus.connection import NatsTransport
from libs.shared.bus.inbox import Inbox
from libs.shared.bus.jetstream import EPOCH, JetStreamApi, Refused
from libs.shared.bus.permissions import SETUP, inbox_prefix
from libs.shared.contracts import BUCKETS, CONTRACTS, OBJECT_STORES, STREAMS
from libs.shared.contracts.base import Bucket, Consumer, Event, JetStream, ObjectStore
from libs.shared.errors import Internal

_NS = 1_000_000_000
_NOT_FOUND = 10059
_RETENTION = {False: "limits", True: "workqueue"}


async def ensure_streams(
    url: str, *, seed_file: Path | None, ca_file: Path | None = None, replicas: int = 1, name: str = "mongars-setup"
) -> None:
    """Connects as the start-up key and makes or updates everything. Raises Unavailable, Forbidden, Internal."""
    transport = NatsTransport(inbox_prefix(SETUP))
    await transport.open(url, seed_file=seed_file, ca_file=ca_file, name=name)
    try:
        inbox = Inbox(transport)
        await inbox.open()
        api = JetStreamApi(Calls(transport, inbox))
        for stream in STREAMS:
            await _ensure_stream(api, _stream_config(stream, replicas))
        for bucket in BUCKETS:
            await _ensure_stream(api, _bucket_config(bucket, replicas))
        for store in OBJECT_STORES:
            await _ensure_stream(api, _store_config(store, replicas))
        for event in CONTRACTS:
            if isinstance(event, Event):
                for consumer in event.consumers:
                    await _ensure_consumer(api, event, consumer)
    except Refused as error:
        raise Internal(f"the broker refused a stream ({error.code}: {error})") from None
    finally:
        await transport.close()


async def _ensure_stream(api: JetStreamApi, wanted: dict[str, Any]) -> None:
    try:
        found = await api.ask(f"STREAM.INFO.{wanted['name']}")
    except Refused as error:
        if error.code != _NOT_FOUND:
            raise
        await api.ask(f"STREAM.CREATE.{wanted['name']}", {**wanted, "metadata": {EPOCH: secrets.token_hex(8)}})
        return
    config: dict[str, Any] = found["config"]
    # the epoch belongs to the stream's life, so an update keeps it; a stream made by hand is given one
    metadata = {EPOCH: secrets.token_hex(8), **(config.get("metadata") or {})}
    if any(config.get(key) != value for key, value in wanted.items()) or config.get("metadata") != metadata:
        await api.ask(f"STREAM.UPDATE.{wanted['name']}", {**wanted, "metadata": metadata})


async def _ensure_consumer(api: JetStreamApi, event: Event[Any], consumer: Consumer) -> None:
    config = {
        "durable_name": consumer.name,
        "name": consumer.name,
        "filter_subject": event.subject,
        "deliver_policy": "all",
        "ack_policy": "explicit",
        "replay_policy": "instant",
        "ack_wait": int(consumer.ack_wait_s * _NS),
        "max_ack_pending": consumer.max_ack_pending,
        # the handler sets a message aside at its last attempt; were the broker to stop delivering, a crash then
        # would lose it
        "max_deliver": -1,
    }
    where = f"{event.stream.name}.{consumer.name}"
    body = {"stream_name": event.stream.name, "config": config}
    await api.ask(f"CONSUMER.CREATE.{where}.{event.subject}", body)


def _stream_config(stream: JetStream, replicas: int) -> dict[str, Any]:
    subjects = sorted(c.subject for c in CONTRACTS if isinstance(c, Event) and c.stream == stream)
    return {
        "name": stream.name,
        "subjects": subjects,
        "retention": _RETENTION[stream.work_queue],
        "max_bytes": stream.max_bytes,
        "max_age": int(stream.max_age_s * _NS),
        "storage": "file",
        "discard": "new",
        "num_replicas": replicas,
        "duplicate_window": int(stream.duplicate_window_s * _NS),
    }


def _storage(bucket: Bucket, replicas: int) -> dict[str, Any]:
    """Where entries lie. A single broker forgets a memory stream altogether when it restarts, so there "in memory"
    means a file that nobody waits for; among several, the others still have it."""
    if not bucket.in_memory:
        return {"storage": "file"}
    return {"storage": "file", "persist_mode": "async"} if replicas == 1 else {"storage": "memory"}


def _bucket_config(bucket: Bucket, replicas: int) -> dict[str, Any]:
    subject = f"$KV.{bucket.name}.>"
    return {
        "name": f"KV_{bucket.name}",
        "subjects": [subject],
        "retention": "limits",
        "max_msgs_per_subject": 1,
        "max_bytes": bucket.max_bytes,
        "max_age": int(bucket.ttl_s * _NS),
        **_storage(bucket, replicas),
        **({"max_msgs": bucket.max_entries} if bucket.max_entries else {}),
        "discard": "old" if bucket.evicts else "new",
        "num_replicas": replicas,
        "allow_direct": True,
        "allow_rollup_hdrs": True,
        # what a watch subscribes to, so that readers need no right to make consumers
        "republish": {"src": subject, "dest": bucket.watch_subject(">")},
    }


def _store_config(store: ObjectStore, replicas: int) -> dict[str, Any]:
    return {
        "name": store.stream,
        "subjects": [f"{store.parts_subject}.>", f"{store.about_subject}.>"],
        "retention": "limits",
        "max_bytes": store.max_bytes,
        "storage": "file",
        "discard": "new",
        "num_replicas": replicas,
        "allow_direct": True,
        # one word about an object takes the place of the one before
        "allow_rollup_hdrs": True,
    }
