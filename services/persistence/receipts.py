"""Signing receipts with a key that follows from the installation key."""

from __future__ import annotations

import base64
from datetime import datetime

from nacl.signing import SigningKey

from libs.shared.contracts.forgetting import Receipt, Removed, Scope
from libs.shared.receipts import canonical


def write_receipt(
    seed: bytes,
    *,
    receipt_id: str,
    scope: Scope,
    subject_id: str,
    at: datetime,
    removed: Removed,
    pending: tuple[str, ...] = (),
    backups: tuple[str, ...] = (),
    tainted_adapters: tuple[str, ...] = (),
) -> Receipt:
    """A signed receipt; ``seed`` are 32 bytes that only this installation has."""
    key = SigningKey(seed)
    unsigned = Receipt(
        receipt_id=receipt_id,
        scope=scope,
        subject_id=subject_id,
        at=at,
        removed=removed,
        pending=pending,
        backups=backups,
        tainted_adapters=tainted_adapters,
        key=base64.b64encode(bytes(key.verify_key)).decode(),
        signature="",
    )
    signature = key.sign(canonical(unsigned.model_dump(mode="json"))).signature
    return unsigned.model_copy(update={"signature": base64.b64encode(signature).decode()})
