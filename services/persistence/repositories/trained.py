"""Which adapter was trained on what, and what of that may no longer be used: by keyed hashes of ids."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from enum import StrEnum
from hashlib import blake2b
from typing import Any

from services.persistence.postgres import Statement
from services.persistence.sealing import KeyRing

_PURPOSE = b"mongars training"
_BYTES = 16


class Kind(StrEnum):
    """What an id in a dataset is of; the column that holds its keyed hash."""

    TURN = "turn"
    CONVERSATION = "conversation"
    OWNER = "owner"


class Cause(StrEnum):
    """Why something in a dataset may no longer be used."""

    FORGOTTEN = "forgotten"
    EDITED = "edited"
    WITHDRAWN = "withdrawn"


def commitment(keys: KeyRing, kind: Kind, of: str) -> bytes:
    """What stands for an id in a dataset: without the installation key nobody can tell which id it was, or try one."""
    return blake2b(f"{kind}:{of}".encode(), key=keys.derived_key(_PURPOSE), digest_size=_BYTES).digest()


_LOCK_OWNERS = Statement("""
SELECT user_id FROM users WHERE user_id = ANY(CAST(:ids AS varchar[])) ORDER BY user_id FOR NO KEY UPDATE
""")
_TAINT = """
WITH matched AS (
  SELECT dataset_id, turn, tainted FROM training_members WHERE {kind} = ANY(CAST(:commitments AS bytea[]))
), marked AS (
  UPDATE training_members AS m SET tainted = true FROM matched
  WHERE m.dataset_id = matched.dataset_id AND m.turn = matched.turn AND NOT m.tainted RETURNING m.dataset_id
), noted AS (
  INSERT INTO training_taints (dataset_id, cause, exchanges, at)
  SELECT dataset_id, CAST(:cause AS varchar), count(*), CAST(:now AS timestamptz) FROM marked GROUP BY dataset_id
)
SELECT DISTINCT a.adapter FROM trained_adapters AS a JOIN matched USING (dataset_id) ORDER BY a.adapter
"""
_TAINTS = {kind: Statement(_TAINT.format(kind=kind.value)) for kind in Kind}


async def hold_owners(driver: Any, user_ids: Collection[str]) -> frozenset[str]:
    """Those of the users that there are. Until the commit no dataset is recorded with their words, and nothing of theirs
    is forgotten, edited or withdrawn; turns are kept meanwhile, since what refers to a user doesn't wait for this."""
    return frozenset(row[0] for row in await _LOCK_OWNERS.fetch(driver, ids=sorted(user_ids)))


async def taint(
    driver: Any, keys: KeyRing, kind: Kind, ids: Sequence[str], cause: Cause, now: datetime
) -> tuple[str, ...]:
    """Marks what datasets hold of these; the adapters that were trained on any of it, by name.

    The caller holds the owner (``hold_owners``, or ``lock_user`` of a forgetting): no dataset is recorded beside it.
    """
    if not ids:
        return ()
    rows = await _TAINTS[kind].fetch(
        driver, commitments=[commitment(keys, kind, one) for one in ids], cause=cause.value, now=now
    )
    return tuple(row[0] for row in rows)
