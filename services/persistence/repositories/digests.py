"""Generations of digests, and digests, still sealed; always within one user.

What counts once a generation is in force: of each memory the newest digest among the generations from its base up to
itself.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.persistence.postgres import Statement

_LOCK = Statement("SELECT pg_advisory_xact_lock(hashtextextended('digests of ' || CAST(:user_id AS varchar), 0))")


async def lock(driver: Any, user_id: str) -> None:
    """Holds off other changes of the user's generations until the commit."""
    await _LOCK.fetch(driver, user_id=user_id)


@dataclass(frozen=True)
class SealedGeneration:
    """A generation's row."""

    generation_id: str
    number: int
    base: int
    recipe: str
    embedder: str | None
    commitment: str | None
    in_force: bool


_GENERATION = "SELECT generation_id, number, base, recipe, embedder, commitment, in_force FROM digest_generations "
_ALL = Statement(_GENERATION + "WHERE user_id = :user_id ORDER BY number")
_ONE = Statement(_GENERATION + "WHERE user_id = :user_id AND generation_id = :id")
_IN_FORCE = Statement(_GENERATION + "WHERE user_id = :user_id AND in_force")


async def all_of(driver: Any, user_id: str) -> list[SealedGeneration]:
    """Oldest first."""
    return [SealedGeneration(*row) for row in await _ALL.fetch(driver, user_id=user_id)]


async def one(driver: Any, user_id: str, generation_id: str) -> SealedGeneration | None:
    """None where it is gone, or another user's."""
    rows = await _ONE.fetch(driver, user_id=user_id, id=generation_id)
    return SealedGeneration(*rows[0]) if rows else None


async def in_force(driver: Any, user_id: str) -> SealedGeneration | None:
    """None where none is."""
    rows = await _IN_FORCE.fetch(driver, user_id=user_id)
    return SealedGeneration(*rows[0]) if rows else None


_BEGIN = Statement("""
INSERT INTO digest_generations (generation_id, user_id, number, base, recipe, embedder, in_force, created_at)
VALUES (:id, :user_id, :number, :base, :recipe, :embedder, false, :now)
""")
_DROP = Statement(
    "DELETE FROM digest_generations WHERE user_id = :user_id AND number = ANY(CAST(:numbers AS integer[]))"
)
_COMMIT = Statement("UPDATE digest_generations SET commitment = :commitment WHERE generation_id = :id")


async def begin(driver: Any, user_id: str, generation: SealedGeneration, now: datetime) -> None:
    """A new one, to be written."""
    await _BEGIN.fetch(
        driver,
        id=generation.generation_id,
        user_id=user_id,
        number=generation.number,
        base=generation.base,
        recipe=generation.recipe,
        embedder=generation.embedder,
        now=now,
    )


async def drop(driver: Any, user_id: str, numbers: Collection[int]) -> None:
    """Generations with their digests."""
    await _DROP.fetch(driver, user_id=user_id, numbers=list(numbers))


async def commit_to(driver: Any, generation_id: str, commitment: str) -> None:
    """Nothing more is written to it."""
    await _COMMIT.fetch(driver, id=generation_id, commitment=commitment)


# ---------------------------------------------------------------- what is to be digested

_WAITING = Statement("""
SELECT m.user_id, count(*) FROM messages AS m JOIN conversations AS c USING (conversation_id)
WHERE c.remembered AND NOT EXISTS (
  SELECT FROM digests AS d JOIN digest_generations AS g ON g.user_id = d.user_id AND g.number = d.number
  JOIN digest_generations AS f ON f.user_id = d.user_id AND f.in_force
  WHERE d.message_id = m.message_id AND g.recipe = :recipe AND d.number BETWEEN f.base AND f.number
)
GROUP BY m.user_id ORDER BY count(*) DESC, m.user_id LIMIT :most
""")
_UNDIGESTED = Statement("""
SELECT m.message_id, m.speaker, m.text, m.about, m.slot, m.at
FROM messages AS m JOIN conversations AS c USING (conversation_id)
WHERE m.user_id = :user_id AND c.remembered AND NOT EXISTS (
  SELECT FROM digests AS d WHERE d.message_id = m.message_id AND d.number BETWEEN :base AND :number
)
ORDER BY m.ordinal LIMIT :most
""")
# who forgets or edits takes these rows for himself: so what is kept is of a memory that is there, under its present key
_HOLD = Statement("""
SELECT m.message_id, m.slot FROM messages AS m JOIN conversations AS c USING (conversation_id)
JOIN unnest(CAST(:ids AS varchar[]), CAST(:versions AS bigint[])) AS read (id, version)
  ON read.id = m.message_id AND read.version = m.slot
WHERE m.user_id = :user_id AND c.remembered ORDER BY m.ordinal FOR SHARE OF m
""")


@dataclass(frozen=True)
class Undigested:
    """A memory without a digest, still sealed."""

    message_id: str
    speaker: str
    text: bytes
    about: bytes | None
    slot: int
    at: datetime


async def waiting(driver: Any, recipe: str, most: int) -> dict[str, int]:
    """User → how many memories nothing that is in force digests, most first."""
    return {row[0]: int(row[1]) for row in await _WAITING.fetch(driver, recipe=recipe, most=most)}


async def undigested(driver: Any, user_id: str, generation: SealedGeneration, most: int) -> list[Undigested]:
    """Oldest first."""
    values = {"base": generation.base, "number": generation.number, "most": most}
    return [Undigested(*row) for row in await _UNDIGESTED.fetch(driver, user_id=user_id, **values)]


async def hold(driver: Any, user_id: str, versions: dict[str, int]) -> set[str]:
    """The user's own memories among these that are still of the version that was read, and stay so until the commit."""
    rows = await _HOLD.fetch(driver, user_id=user_id, ids=list(versions), versions=list(versions.values()))
    return {row[0] for row in rows}


# ---------------------------------------------------------------- digests


@dataclass(frozen=True)
class SealedDigest:
    """A digest's row; ``version`` is the slot of the key that seals it."""

    message_id: str
    version: int
    content: bytes


_KEEP = Statement("""
INSERT INTO digests (message_id, number, user_id, version, content)
SELECT d.id, :number, CAST(:user_id AS varchar), d.version, d.content
FROM unnest(CAST(:ids AS varchar[]), CAST(:versions AS bigint[]), CAST(:contents AS bytea[]))
  AS d (id, version, content)
ON CONFLICT (message_id, number) DO UPDATE SET version = excluded.version, content = excluded.content
""")
_OF_GENERATION = Statement("""
SELECT message_id, version, content FROM digests WHERE user_id = :user_id AND number = :number ORDER BY message_id
""")
_COUNT = Statement("SELECT count(*) FROM digests WHERE user_id = :user_id AND number = :number")
_READ = Statement("""
SELECT DISTINCT ON (d.message_id) d.message_id, d.version, d.content FROM digests AS d
JOIN messages AS m ON m.message_id = d.message_id AND m.slot = d.version
WHERE d.user_id = :user_id AND d.message_id = ANY(CAST(:ids AS varchar[])) AND d.number BETWEEN :base AND :number
ORDER BY d.message_id, d.number DESC
""")
_REMOVE = Statement("""
DELETE FROM digests AS d USING messages AS m
WHERE m.message_id = d.message_id AND m.user_id = :user_id AND m.turn_id = ANY(CAST(:turns AS varchar[]))
""")


async def keep(driver: Any, user_id: str, number: int, rows: Sequence[SealedDigest]) -> None:
    """In a generation that is being written."""
    await _KEEP.fetch(
        driver,
        user_id=user_id,
        number=number,
        ids=[row.message_id for row in rows],
        versions=[row.version for row in rows],
        contents=[row.content for row in rows],
    )


async def of_generation(driver: Any, user_id: str, number: int) -> list[SealedDigest]:
    """What one night added."""
    return [SealedDigest(*row) for row in await _OF_GENERATION.fetch(driver, user_id=user_id, number=number)]


async def count(driver: Any, user_id: str, number: int) -> int:
    """Of one generation."""
    return int((await _COUNT.fetch(driver, user_id=user_id, number=number))[0][0])


async def read(
    driver: Any, user_id: str, message_ids: Sequence[str], generation: SealedGeneration
) -> list[SealedDigest]:
    """Of these memories what counts with the generation; none of a text that was changed since."""
    values = {"base": generation.base, "number": generation.number}
    rows = await _READ.fetch(driver, user_id=user_id, ids=list(message_ids), **values)
    return [SealedDigest(*row) for row in rows]


async def remove_of_turns(driver: Any, user_id: str, turn_ids: Sequence[str]) -> None:
    """Every digest that the keys of these turns seal: of what is forgotten or edited, and of what was said with it,
    which is sealed anew."""
    await _REMOVE.fetch(driver, user_id=user_id, turns=list(turn_ids))


# ---------------------------------------------------------------- in force

_OUT_OF_FORCE = Statement("UPDATE digest_generations SET in_force = false WHERE user_id = :user_id AND in_force")
_INTO_FORCE = Statement("""
UPDATE digest_generations SET in_force = true, change_id = :change_id
WHERE user_id = :user_id AND generation_id = :id AND commitment = :commitment RETURNING 1
""")
_SETTER = Statement(
    "SELECT generation_id, commitment, change_id FROM digest_generations WHERE user_id = :user_id AND in_force"
)


async def take_out_of_force(driver: Any, user_id: str) -> None:
    """None is in force then."""
    await _OUT_OF_FORCE.fetch(driver, user_id=user_id)


async def put_in_force(driver: Any, user_id: str, generation_id: str, commitment: str, change_id: str | None) -> bool:
    """Whether it was there, and is what was committed to."""
    values = {"id": generation_id, "commitment": commitment, "change_id": change_id}
    return bool(await _INTO_FORCE.fetch(driver, user_id=user_id, **values))


async def held(driver: Any, user_id: str) -> tuple[str, str, str | None] | None:
    """The generation in force, its commitment, and the change that put it there."""
    rows = await _SETTER.fetch(driver, user_id=user_id)
    return (rows[0][0], rows[0][1], rows[0][2]) if rows else None
