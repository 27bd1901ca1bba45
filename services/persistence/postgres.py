"""PostgreSQL through SQLAlchemy and asyncpg: transactions, refusals in our own words, the schema's version.

What every request or turn asks goes to asyncpg itself, out of the same pool: a statement costs a third of the
processor time that it takes as text through SQLAlchemy, and a tenth of what it takes as an expression.
"""

from __future__ import annotations

import errno
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import asyncpg
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError, DisconnectionError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from libs.shared.errors import InvalidRequest, Overloaded, ServiceError, StorageFull, Unavailable
from services.persistence.tables import SCHEMA_REVISION

_DISK_FULL = "53100"
_TOO_MANY_CONNECTIONS = "53300"
_TIMED_OUT = "57014"
_SERVER_TROUBLE = ("08", "28", "3D", "53", "57", "58", "XX", "40", "25006")
"""SQLSTATE classes in which the statement is not to blame: connection, access, resources, shutdown, files, deadlock."""
_CONNECT_TIMEOUT_S = 3.0
_POOL_TIMEOUT_S = 3.0
_PARAMETER = re.compile(r"(?<!:):([a-z_]+)")


class SchemaMismatch(Exception):
    """The database is not of this release: refused at start."""


class Statement:
    """SQL with ``:named`` parameters for asyncpg: translated once, prepared by each connection at its first use."""

    def __init__(self, sql: str) -> None:
        self._names = tuple(dict.fromkeys(_PARAMETER.findall(sql)))
        numbers = {name: f"${number}" for number, name in enumerate(self._names, start=1)}
        self.sql = _PARAMETER.sub(lambda found: numbers[found[1]], sql)

    async def fetch(self, driver: Any, **values: object) -> list[Any]:
        """Every row; a value for each parameter, and no other."""
        if len(values) != len(self._names):
            raise TypeError(f"parameters are {self._names}")
        rows: list[Any] = await driver.fetch(self.sql, *[values[name] for name in self._names])
        return rows


def refusal(error: Exception) -> ServiceError | None:
    """What a caller is told where the database or a value is to blame; None where the statement is."""
    if isinstance(error, PoolTimeout):
        return Overloaded("every database connection is busy", retry_after_s=1)
    if isinstance(error, OSError):
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        return StorageFull("the disk is full") if full else Unavailable("the database can't be reached")
    if isinstance(error, asyncpg.InterfaceError):
        return _refusal_of_driver(error)
    if isinstance(error, asyncpg.InternalClientError):
        # the server said good-bye on a connection that was just going to be used
        return Unavailable("the database can't be reached")
    if isinstance(error, asyncpg.PostgresError):
        return _refusal_of_state(str(error.sqlstate or ""))
    if not isinstance(error, DBAPIError):
        return None
    if isinstance(cause := getattr(error.orig, "__cause__", None), ValueError):
        return _refusal_of_driver(cause)
    state = str(getattr(error.orig, "sqlstate", None) or "")
    if error.connection_invalidated or (not state and isinstance(error, OperationalError | InterfaceError)):
        return Unavailable("the database can't be reached")
    return _refusal_of_state(state)


def _refusal_of_driver(error: BaseException) -> ServiceError:
    """asyncpg refuses a value by itself (a ValueError) before the server does (class 22)."""
    if isinstance(error, ValueError):
        return InvalidRequest("a value that the database can't hold")
    return Unavailable("the database can't be reached")


def _refusal_of_state(state: str) -> ServiceError | None:
    if state.startswith("22"):
        return InvalidRequest("a value that the database can't hold")
    if state == _DISK_FULL:
        return StorageFull("the database's disk is full")
    if state in (_TOO_MANY_CONNECTIONS, _TIMED_OUT):
        return Overloaded("the database is busy", retry_after_s=1)
    if state.startswith(_SERVER_TROUBLE):
        return Unavailable("the database is away")
    return None


_TROUBLES = (
    *(DBAPIError, PoolTimeout, OSError),
    *(asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError),
)


@contextmanager
def in_our_words() -> Iterator[None]:
    """Turns the database's troubles into refusals."""
    try:
        yield
    except _TROUBLES as error:
        told = refusal(error)
        if told is None:
            raise
        raise told from error


class Database:
    """A pool of connections. Nothing is opened before it is needed, and a lost connection is replaced."""

    def __init__(self, url: str, *, pool_size: int = 8, statement_timeout_s: float = 20.0) -> None:
        self.engine: AsyncEngine = create_async_engine(
            url,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=_POOL_TIMEOUT_S,
            connect_args={
                "timeout": _CONNECT_TIMEOUT_S,
                "command_timeout": statement_timeout_s + 5,
                "server_settings": {
                    "application_name": "mongars-persistence",
                    "statement_timeout": str(int(statement_timeout_s * 1000)),
                    "idle_in_transaction_session_timeout": "60000",
                },
            },
        )
        event.listen(self.engine.sync_engine, "checkout", _refuse_closed)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """One transaction, committed at the end of the block. Raises StorageFull, Unavailable, Overloaded."""
        with in_our_words():
            async with AsyncSession(self.engine, expire_on_commit=False) as session, session.begin():
                yield session

    @asynccontextmanager
    async def plainly(self) -> AsyncIterator[Any]:
        """An asyncpg connection for statements that each stand alone. Raises as ``transaction``."""
        with in_our_words():
            async with self.engine.connect() as connection:
                yield (await connection.get_raw_connection()).driver_connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Any]:
        """An asyncpg connection in one transaction, committed at the end of the block. Raises as ``transaction``."""
        async with self.plainly() as driver, driver.transaction():
            yield driver

    async def schema_revision(self) -> str | None:
        """The migration that the database stands at; None when it was never migrated."""
        async with self.transaction() as session:
            if await session.scalar(text("SELECT to_regclass('alembic_version')")) is None:
                return None
            revision: str | None = await session.scalar(text("SELECT version_num FROM alembic_version"))
            return revision

    async def close(self) -> None:
        """Closes every connection."""
        await self.engine.dispose()


def judge_schema(revision: str | None) -> None:
    """Raises SchemaMismatch, saying what to do, unless the database is of this release."""
    if revision == SCHEMA_REVISION:
        return
    if revision is None or revision < SCHEMA_REVISION:
        raise SchemaMismatch(f"the database is at schema {revision}, this release needs {SCHEMA_REVISION}: migrate it")
    raise SchemaMismatch(
        f"the database is at schema {revision}, newer than this release's {SCHEMA_REVISION}: install the newer release"
    )


def _refuse_closed(_connection: Any, record: Any, _proxy: Any) -> None:
    # asyncpg sees the end of a socket at once, so this finds a restarted server without a round trip.
    if record.driver_connection.is_closed():
        raise DisconnectionError("the connection was closed")
