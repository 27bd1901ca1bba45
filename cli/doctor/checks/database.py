"""Judging the database: its folder, who may read it, and whether this version can."""

from __future__ import annotations

from collections.abc import Iterator

from cli.doctor.facts import Database, Facts
from cli.doctor.findings import Finding

_NEWER_SCHEMA = ("Can't locate revision identified by", "newer than this release")


def judge(facts: Facts) -> Iterator[Finding]:
    """Where the folder is not well nothing is said of what follows from it."""
    database = facts.database
    if database is None:
        return
    folder = list(_folder(database))
    yield from folder
    if not folder:
        yield from _reached(database)
        yield from _schema(database, facts.parts.start_failure if facts.parts else "")


def _folder(database: Database) -> Iterator[Finding]:
    name = "database/data"
    if database.folder == "missing":
        yield Finding("database-missing", f"the folder {name} is missing", name)
    elif database.folder == "foreign":
        remedy = f"run: chown -R {database.owner}: {name} (in the state folder), then mongars up"
        yield Finding("database-owner", f"{name} does not belong to the user {database.owner}", name, remedy)
    elif database.written_by is not None and database.written_by != database.programs:
        what = f"{name} was written by PostgreSQL {database.written_by}; the one installed is {database.programs}"
        yield Finding("database-other-major", what, name)
    elif database.folder == "damaged":
        yield Finding("database-damaged", f"PostgreSQL can't read {name}", name)


def _reached(database: Database) -> Iterator[Finding]:
    if database.reached == "password":
        yield Finding("database-password", "the database refuses the user or the password that is kept")
    elif database.reached == "refused":
        yield Finding("database-refused", f"the database refuses the connection (SQLSTATE {database.reason})")
    elif database.reached == "away" and database.folder == "external":
        yield Finding("database-unreachable", f"the external database can't be reached ({database.reason})")


def _schema(database: Database, start_failure: str) -> Iterator[Finding]:
    known = database.revisions
    if database.revision is not None and known:
        if database.revision not in known:
            what = f"the database is at schema {database.revision}; this version knows up to {known[-1]}"
            yield Finding("schema-newer", what)
        elif database.revision != known[-1]:
            yield Finding("schema-older", f"the database is at schema {database.revision}, this version at {known[-1]}")
    elif database.recorded is not None and known and database.recorded not in known:
        what = f"the database was last at schema {database.recorded}; this version knows up to {known[-1]}"
        yield Finding("schema-newer", what)
    elif any(words in start_failure for words in _NEWER_SCHEMA):
        yield Finding("schema-newer", "the last start found the database at a schema that this version doesn't know")
