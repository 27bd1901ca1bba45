"""What a backup is asked about the database: its rows and the keys that they need, and since when something is kept."""

from __future__ import annotations

from typing import Any

from services.persistence.backup_list import Kept
from services.persistence.postgres import Statement
from services.persistence.repositories import work
from services.persistence.repositories.forgetting import Promise

_SNAPSHOT = Statement("SELECT pg_export_snapshot()")
_REVISION = Statement("SELECT version_num FROM alembic_version")
_LAST = Statement("SELECT coalesce(max(ordinal), 0) FROM messages")
_TABLES = Statement("""
SELECT c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = 'public' AND c.relkind = 'r' ORDER BY c.relname
""")
_ALIVE = Statement("SELECT 1")


async def export_snapshot(driver: Any) -> str:
    """The transaction's snapshot, for others to look at the same rows while it lasts."""
    ((name,),) = await _SNAPSHOT.fetch(driver)
    return str(name)


async def schema_revision(driver: Any) -> str:
    """The migration at which the snapshot stands."""
    ((revision,),) = await _REVISION.fetch(driver)
    return str(revision)


async def last_ordinal(driver: Any) -> int:
    """The highest number of a message; 0: there is none."""
    ((found,),) = await _LAST.fetch(driver)
    return int(found)


async def slots(driver: Any) -> list[int]:
    """Every slot whose key a row needs, those of a forgetting that is under way not among them."""
    return [row[0] for row in await driver.fetch(work.needed_slots_sql())]


async def counts(driver: Any) -> dict[str, int]:
    """Rows of each table."""
    found: dict[str, int] = {}
    for (table,) in await _TABLES.fetch(driver):
        found[table] = int(await driver.fetchval(f'SELECT count(*) FROM "{table}"'))  # noqa: S608 - a table's own name
    return found


async def stay_alive(driver: Any) -> None:
    """The server ends a transaction that is idle for long."""
    await _ALIVE.fetch(driver)


# ---------------------------------------------------------------- since when something is kept

_SINCE = {
    "memory": Statement("SELECT ordinal, NULL FROM messages WHERE message_id = :id AND user_id = :user_id"),
    "fact": Statement("SELECT NULL, created_at FROM facts WHERE fact_id = :id AND user_id = :user_id"),
    "conversation": Statement("""
SELECT (SELECT min(ordinal) FROM messages WHERE conversation_id = :id), created_at
FROM conversations WHERE conversation_id = :id AND user_id = :user_id
"""),
    "everything": Statement("""
SELECT (SELECT min(ordinal) FROM messages WHERE user_id = :user_id),
       (SELECT min(created_at) FROM facts WHERE user_id = :user_id)
FROM users WHERE user_id = :user_id AND user_id = :id
"""),
    "account": Statement("SELECT NULL, created_at FROM users WHERE user_id = :user_id AND user_id = :id"),
}


async def kept_since(driver: Any, promise: Promise) -> Kept:
    """Of what is to be forgotten, while its rows are there."""
    scope = "conversation" if promise.scope == "document" else promise.scope
    rows = await _SINCE[scope].fetch(driver, id=promise.subject_id, user_id=promise.user_id)
    if not rows:
        return Kept()
    ordinal, at = rows[0]
    # a conversation's own time may be that of an import, long before it was kept: its messages tell better
    return Kept(ordinal, at if ordinal is None or scope != "conversation" else None)
