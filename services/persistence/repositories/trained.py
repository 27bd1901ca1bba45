"""Which adapter was trained on what, and what of that may no longer be used: by keyed hashes of ids."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from hashlib import blake2b
from typing import Any

from services.persistence.postgres import Statement
from services.persistence.repositories.consents import ALLOWED_SQL, DECISIONS_SQL
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
    """What stands for an id in a dataset: without the installation key nobody can tell which it was, or try one."""
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
SELECT DISTINCT a.adapter FROM trained_adapters AS a JOIN matched USING (dataset_id)
"""
_TAINTS = {kind: Statement(_TAINT.format(kind=kind.value)) for kind in Kind}


async def hold_owners(driver: Any, user_ids: Collection[str]) -> frozenset[str]:
    """Those of the users that there are. Until the commit no dataset is recorded with their words, and nothing of
    theirs is forgotten, edited or withdrawn; turns are kept meanwhile, for what refers to a user doesn't wait."""
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
    return tuple(sorted(row[0] for row in rows))


# ---------------------------------------------------------------- recording

RECORDABLE_SQL = f"""
SELECT t.turn_id, t.conversation_id, t.user_id FROM {DECISIONS_SQL} JOIN turns AS t USING (conversation_id)
JOIN unnest(CAST(:turn_ids AS varchar[]), CAST(:versions AS bigint[])) AS wanted (turn_id, version)
  ON wanted.turn_id = t.turn_id AND wanted.version = t.slot
WHERE {ALLOWED_SQL}
"""  # noqa: S608 - constants of ours alone
_RECORDABLE = Statement(RECORDABLE_SQL)
_OWNERS_OF_TURNS = Statement("SELECT DISTINCT user_id FROM turns WHERE turn_id = ANY(CAST(:turn_ids AS varchar[]))")
_ADD_DATASET = Statement("""
INSERT INTO training_datasets (dataset_id, exchanges, owners, recorded_at)
VALUES (:dataset_id, :exchanges, :owners, :now) ON CONFLICT DO NOTHING RETURNING 1
""")
_ADD_OWNERS = Statement("""
INSERT INTO training_owners (dataset_id, user_id)
SELECT CAST(:dataset_id AS varchar), user_id FROM unnest(CAST(:user_ids AS varchar[])) AS o (user_id)
""")
_ADD_MEMBERS = Statement("""
INSERT INTO training_members (dataset_id, turn, conversation, owner, tainted)
SELECT CAST(:dataset_id AS varchar), m.turn, m.conversation, m.owner, false
FROM unnest(CAST(:turns AS bytea[]), CAST(:conversations AS bytea[]), CAST(:owners AS bytea[]))
  AS m (turn, conversation, owner)
""")
_MEMBERS = Statement("SELECT turn FROM training_members WHERE dataset_id = :dataset_id")


@dataclass(frozen=True)
class Turn:
    """A turn that may be trained on, as it was read."""

    turn_id: str
    conversation_id: str
    user_id: str


async def owners_of(driver: Any, turn_ids: Sequence[str]) -> frozenset[str]:
    """Whose turns they are."""
    return frozenset(row[0] for row in await _OWNERS_OF_TURNS.fetch(driver, turn_ids=list(turn_ids)))


async def recordable(driver: Any, versions: Mapping[str, int]) -> list[Turn]:
    """Those of the turns that may be trained on now, and still say what they said in that version."""
    rows = await _RECORDABLE.fetch(driver, turn_ids=list(versions), versions=list(versions.values()))
    return [Turn(*row) for row in rows]


async def add_dataset(driver: Any, keys: KeyRing, dataset_id: str, turns: Sequence[Turn], now: datetime) -> bool:
    """Whether there was none of that id yet."""
    owners = sorted({turn.user_id for turn in turns})
    values = {"dataset_id": dataset_id, "exchanges": len(turns), "owners": len(owners), "now": now}
    if not await _ADD_DATASET.fetch(driver, **values):
        return False
    await _ADD_OWNERS.fetch(driver, dataset_id=dataset_id, user_ids=owners)
    await _ADD_MEMBERS.fetch(
        driver,
        dataset_id=dataset_id,
        turns=[commitment(keys, Kind.TURN, turn.turn_id) for turn in turns],
        conversations=[commitment(keys, Kind.CONVERSATION, turn.conversation_id) for turn in turns],
        owners=[commitment(keys, Kind.OWNER, turn.user_id) for turn in turns],
    )
    return True


async def is_drawn_from(driver: Any, keys: KeyRing, dataset_id: str, turn_ids: Collection[str]) -> bool | None:
    """Whether the dataset was recorded with exactly these turns; None: it was never recorded."""
    held = {row[0] for row in await _MEMBERS.fetch(driver, dataset_id=dataset_id)}
    return held == {commitment(keys, Kind.TURN, turn_id) for turn_id in turn_ids} if held else None


_DATASETS = Statement("""
SELECT dataset_id FROM training_datasets WHERE dataset_id = ANY(CAST(:ids AS varchar[])) ORDER BY dataset_id FOR UPDATE
""")
_DATASETS_OF = Statement("SELECT dataset_id FROM trained_adapters WHERE adapter = :adapter ORDER BY dataset_id")
_ADD_ADAPTER = Statement("""
INSERT INTO trained_adapters (adapter, dataset_id, recorded_at)
SELECT CAST(:adapter AS varchar), dataset_id, CAST(:now AS timestamptz)
FROM unnest(CAST(:datasets AS varchar[])) AS d (dataset_id) ON CONFLICT DO NOTHING
""")


async def hold_datasets(driver: Any, dataset_ids: Sequence[str]) -> list[str]:
    """Those of them that were recorded; who records an adapter on one of them waits until the commit."""
    return [row[0] for row in await _DATASETS.fetch(driver, ids=list(dataset_ids))]


async def datasets_of(driver: Any, adapter: str) -> list[str]:
    """What the adapter was recorded with; nothing: there is no record of it."""
    return [row[0] for row in await _DATASETS_OF.fetch(driver, adapter=adapter)]


async def add_adapter(driver: Any, adapter: str, datasets: Sequence[str], now: datetime) -> None:
    """The adapter was trained on these."""
    await _ADD_ADAPTER.fetch(driver, adapter=adapter, datasets=list(datasets), now=now)


_CONVERSATIONS = Statement("""
SELECT DISTINCT conversation FROM training_members WHERE dataset_id = ANY(CAST(:ids AS varchar[]))
""")


async def conversations_in(driver: Any, dataset_ids: Sequence[str]) -> frozenset[bytes]:
    """The keyed hashes of the conversations of which the datasets have anything."""
    return frozenset(bytes(row[0]) for row in await _CONVERSATIONS.fetch(driver, ids=list(dataset_ids)))


# ---------------------------------------------------------------- how adapters stand

_STANDING_OF_DATASETS = """
SELECT d.dataset_id, d.owners AS people,
  ARRAY(SELECT o.user_id FROM training_owners AS o WHERE o.dataset_id = d.dataset_id ORDER BY o.user_id) AS owners,
  (SELECT count(*) FROM training_owners AS o JOIN training_choices AS p USING (user_id)
    WHERE o.dataset_id = d.dataset_id AND p.share_adapters) = d.owners AS shared
FROM training_datasets AS d
"""
_STANDING = Statement(_STANDING_OF_DATASETS + "WHERE d.dataset_id = ANY(CAST(:ids AS varchar[])) ORDER BY d.dataset_id")
_TAINTS_OF = Statement("""
SELECT dataset_id, cause, exchanges, at FROM training_taints WHERE dataset_id = ANY(CAST(:ids AS varchar[])) ORDER BY id
""")
_NAMES = Statement("""
SELECT a.adapter, min(a.recorded_at), array_agg(a.dataset_id ORDER BY a.dataset_id) FROM trained_adapters AS a
WHERE (cardinality(CAST(:adapters AS varchar[])) = 0 OR a.adapter = ANY(CAST(:adapters AS varchar[])))
  AND (CAST(:after AS varchar) IS NULL OR a.adapter > CAST(:after AS varchar))
GROUP BY a.adapter
HAVING (CAST(:owner AS varchar) IS NULL OR bool_or(EXISTS (
    SELECT FROM training_owners AS o WHERE o.dataset_id = a.dataset_id AND o.user_id = :owner)))
  AND (NOT CAST(:tainted AS boolean) OR bool_or(EXISTS (
    SELECT FROM training_taints AS t WHERE t.dataset_id = a.dataset_id)))
ORDER BY a.adapter LIMIT :most
""")
_OF_OWNER = Statement("""
SELECT DISTINCT a.adapter FROM trained_adapters AS a JOIN training_owners AS o USING (dataset_id)
WHERE o.user_id = :user_id ORDER BY a.adapter
""")


@dataclass(frozen=True)
class Standing:
    """Of a dataset: whose words, and whether each of them shares what is trained on it."""

    dataset_id: str
    people: int
    owners: tuple[str, ...]
    shared: bool


_OTHERS = Statement("""
SELECT 1 FROM users AS u WHERE NOT EXISTS (
  SELECT FROM training_owners AS o WHERE o.dataset_id = :dataset_id AND o.user_id = u.user_id
) LIMIT 1
""")


async def is_everybody(driver: Any, dataset_id: str) -> bool:
    """Whether nobody has an account but those whose words the dataset holds."""
    return not await _OTHERS.fetch(driver, dataset_id=dataset_id)


async def standing(driver: Any, dataset_ids: Sequence[str]) -> list[Standing]:
    """By id."""
    rows = await _STANDING.fetch(driver, ids=list(dataset_ids))
    return [Standing(row[0], row[1], tuple(row[2]), row[3]) for row in rows]


@dataclass(frozen=True)
class Tainted:
    """A taint of a dataset."""

    dataset_id: str
    cause: str
    exchanges: int
    at: datetime


async def taints_of(driver: Any, dataset_ids: Sequence[str]) -> list[Tainted]:
    """Oldest first."""
    return [Tainted(*row) for row in await _TAINTS_OF.fetch(driver, ids=list(dataset_ids))]


@dataclass(frozen=True)
class Recorded:
    """An adapter with its datasets."""

    adapter: str
    recorded_at: datetime
    datasets: tuple[str, ...]


async def adapters(
    driver: Any, names: Sequence[str], owner: str | None, after: str | None, most: int, *, tainted: bool
) -> list[Recorded]:
    """By name; of ``names`` alone where there are any."""
    rows = await _NAMES.fetch(driver, adapters=list(names), after=after, owner=owner, tainted=tainted, most=most)
    return [Recorded(row[0], row[1], tuple(row[2])) for row in rows]


async def adapters_of_owner(driver: Any, user_id: str) -> tuple[str, ...]:
    """Those that the user's words trained, by name."""
    return tuple(row[0] for row in await _OF_OWNER.fetch(driver, user_id=user_id))
