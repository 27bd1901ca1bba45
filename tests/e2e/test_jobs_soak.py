"""Every background job has its effect once, whatever is killed while ten thousand of them are under way."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import asyncpg
import httpx
import pytest

from cli.database.choice import kept_password
from cli.installation import load
from tests.e2e.person import Meet, Person
from tests.e2e.test_kills import PARTS
from tests.support.installation import Installation

pytestmark = pytest.mark.soak

JOBS = int(os.environ.get("MONGARS_SOAK_JOBS", "10000"))
IMPORTERS = 3
ROUNDS = 2
"""How often each part is killed while the jobs come in."""
READY_S = 60.0
DONE_S = 900.0
"""Within so long after the last job came in, all are done."""
REPEATED_SOON = {
    "MONGARS_RATE_LIMIT_PER_MINUTE": "0",
    "MONGARS_HOUSEKEEPING_INTERVAL_S": "1",
    "MONGARS_INDEX_JOB_REST_S": "5",
}

WATCH = """
CREATE TABLE ended (job_id varchar NOT NULL);
CREATE FUNCTION note_end() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
  $$ BEGIN INSERT INTO public.ended VALUES (NEW.job_id); RETURN NEW; END $$;
CREATE TRIGGER note_end AFTER INSERT OR UPDATE OF state ON jobs
  FOR EACH ROW WHEN (NEW.state = 'done') EXECUTE FUNCTION note_end();
"""
"""The database itself writes down each time that a job becomes done."""

UNEQUAL_ENDS = """
SELECT job_id, (SELECT count(*) FROM ended AS e WHERE e.job_id = j.job_id) AS ends FROM jobs AS j
WHERE (SELECT count(*) FROM ended AS e WHERE e.job_id = j.job_id) <> 1 LIMIT 5
"""
WITHOUT_ONE_VECTOR = """
SELECT m.message_id FROM messages AS m JOIN conversations AS c USING (conversation_id)
WHERE c.remembered AND m.speaker = 'user' AND 1 <> (
  SELECT count(*) FROM index_members AS i WHERE i.user_id = m.user_id AND i.ordinal = m.ordinal AND i.embedder <> ''
) LIMIT 5
"""
MISCOUNTED = """
SELECT user_id, embedder, rows, members FROM (
  SELECT user_id, embedder, sum(count) AS rows, (
    SELECT count(*) FROM index_members AS i WHERE i.user_id = s.user_id AND i.embedder = s.embedder
  ) AS members FROM index_segments AS s GROUP BY user_id, embedder
) AS counted WHERE rows <> members
"""
"""Segments that hold a memory twice have more rows than there are memories in them."""


def query(made: Installation, statement: str) -> list[tuple[Any, ...]]:
    """Rows of the installation's own database."""

    async def ask() -> list[tuple[Any, ...]]:
        installed = load(made.state)
        connection = await asyncpg.connect(installed.database_url, password=kept_password(installed))
        try:
            if statement is WATCH:
                await connection.execute(statement)
                return []
            return [tuple(row) for row in await connection.fetch(statement)]
        finally:
            await connection.close()

    return asyncio.run(ask())


class Bringing:
    """People who bring in one memory at a time, each of which is a job, until enough are in."""

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs
        self._numbers = itertools.count()
        self._stop = Event()
        self.brought = 0

    def import_turns(self, person: Person) -> None:
        """Each is repeated until it is answered: a repeated one is kept once."""
        while (number := next(self._numbers)) < self._jobs and not self._stop.is_set():
            turn = {
                "id": f"turn-{number}",
                "conversation_id": f"talk-{number // 50}",
                "speaker": "user",
                "text": f"Thing number {number}: the key of shed {number} hangs on hook {number % 97}.",
                "at": "2026-03-01T12:00:00Z",
            }
            self._until_answered(person, "/api/v1/memories/import", {"turns": [turn]})

    def talk(self, person: Person) -> None:
        """What is said is indexed by a job from the queue. One that isn't answered may be kept or not."""
        while next(self._numbers) < self._jobs and not self._stop.is_set():
            self._until_answered(
                person, "/v1/chat/completions", person.request(f"Note {self.brought}: the tea is hot.")
            )

    def stop(self) -> None:
        self._stop.set()

    def _until_answered(self, person: Person, path: str, body: object) -> None:
        while not self._stop.is_set():
            try:
                person.http.post(path, json=body).raise_for_status()
            except httpx.HTTPError:
                self._stop.wait(0.1)
            else:
                self.brought += 1
                return


@contextmanager
def bringing(people: list[Person], jobs: int) -> Iterator[Bringing]:
    """The last of ``people`` talks, the others import."""
    work = Bringing(jobs)
    with ThreadPoolExecutor(len(people)) as pool:
        running = [pool.submit(work.import_turns, person) for person in people[:-1]]
        running.append(pool.submit(work.talk, people[-1]))
        try:
            yield work
            for one in running:
                one.result(timeout=DONE_S)
        finally:
            work.stop()


def bring_in(made: Installation, meet: Meet, jobs: int, kills: tuple[str, ...]) -> None:
    """Has so many jobs come in, while each of ``kills`` is killed at its time; returns once all are done."""
    query(made, WATCH)
    people = [meet(made, f"person-{number}") for number in range(IMPORTERS + 1)]
    began = time.monotonic()
    with bringing(people, jobs) as work:
        for number, part in enumerate(kills):
            due = jobs * (number + 1) // (len(kills) + 1)
            assert made.wait_until(lambda d=due: work.brought >= d, DONE_S), work.brought  # type: ignore[misc]
            print(f"{part}: ready again after {made.kill_and_wait(part, READY_S):.1f} s, {work.brought} brought in")
    print(f"{jobs} brought in within {time.monotonic() - began:.0f} s")
    undone = "SELECT count(*) FROM jobs WHERE state <> 'done'"
    began = time.monotonic()
    assert made.wait_until(lambda: query(made, undone) == [(0,)], DONE_S), f"undone: {query(made, undone)}"
    print(f"all done {time.monotonic() - began:.1f} s after the last came in")


def each_effect_is_there_once(made: Installation, jobs: int) -> None:
    """Every job became done once, and every memory has one vector."""
    ((count,),) = query(made, "SELECT count(*) FROM jobs")
    assert count >= jobs
    assert query(made, UNEQUAL_ENDS) == []
    assert query(made, WITHOUT_ONE_VECTOR) == []
    assert query(made, MISCOUNTED) == []
    ((embedders,),) = query(made, "SELECT count(DISTINCT embedder) FROM index_members WHERE embedder <> ''")
    assert embedders == 1
    print(f"{count} jobs, each done once; every memory has one vector")


def test_ten_thousand_jobs_have_their_effect_once_through_kills(
    make_installation: Callable[..., Installation], meet: Meet
) -> None:
    made = make_installation(**REPEATED_SOON)
    made.up()
    bring_in(made, meet, JOBS, PARTS * ROUNDS)
    each_effect_is_there_once(made, JOBS)


FEW = 120
TWICE = """
import sys
if "services.cognition" in sys.orig_argv:
    from services.cognition.searchable import Searchable
    write = Searchable._write
    async def twice(self, *args, **how):
        await write(self, *args, **how)
        await write(self, *args, **how)
    Searchable._write = twice
"""
"""Cognition hands everything over twice, as it does after a crash between the two."""
BLIND = """
if "services.persistence" in sys.orig_argv:
    from dataclasses import replace
    from services.persistence import additions, indexes
    rows = additions.vector_rows
    def blind(addition, owned):
        return rows(addition, {name: replace(one, has_vector=False) for name, one in owned.items()})
    indexes.vector_rows = blind
"""
"""Persistence adds vectors without looking whether they are there."""
LAX = """
import sys
if "services.cognition" in sys.orig_argv:
    from services.cognition.indexing import Indexer
    async def forget(self, delivery):
        pass
    Indexer.index = forget
"""
"""Cognition acknowledges a job and does nothing."""


def few_jobs(make: Callable[..., Installation], meet: Meet, folder: Path, change: str) -> Installation:
    """An installation whose services are changed so, after some jobs and a kill."""
    (folder / "sitecustomize.py").write_text(change)
    made = make(PYTHONPATH=str(folder), **REPEATED_SOON)
    made.up()
    bring_in(made, meet, FEW, ("cognition",))
    return made


def test_what_is_handed_over_twice_has_its_effect_once(
    make_installation: Callable[..., Installation], meet: Meet, tmp_path: Path
) -> None:
    each_effect_is_there_once(few_jobs(make_installation, meet, tmp_path, TWICE), FEW)


def test_vectors_that_are_added_unseen_would_be_noticed(
    make_installation: Callable[..., Installation], meet: Meet, tmp_path: Path
) -> None:
    made = few_jobs(make_installation, meet, tmp_path, TWICE + BLIND)
    with pytest.raises(AssertionError):
        each_effect_is_there_once(made, FEW)


def test_jobs_that_are_acknowledged_undone_would_be_noticed(
    make_installation: Callable[..., Installation], meet: Meet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.e2e.test_jobs_soak.DONE_S", 60.0)
    with pytest.raises(AssertionError, match="undone"):
        few_jobs(make_installation, meet, tmp_path, LAX)
