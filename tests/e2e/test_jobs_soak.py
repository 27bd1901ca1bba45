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
"""That go through the stream: what is said asks for one, and an import does only when it was cut short."""
TALKERS = 3
JOBS_A_ROUND = 2000
"""Each part is killed twice while the jobs come in, and once more for each further so many."""
A_FACT_EVERY = 20
"""Notes: one in so many states a fact."""
READY_S = 60.0
COMES_S = 300.0
"""Within so long the people have brought in what is due next."""
DONE_S = 300.0
"""Within so long another job is done, until all are: work makes way for a minute, and rests after a kill."""
ASK_AGAIN_S = 1.0
REPEATED_SOON = {
    "MONGARS_RATE_LIMIT_PER_MINUTE": "0",
    "MONGARS_HOUSEKEEPING_INTERVAL_S": "10",
    "MONGARS_INDEX_JOB_REST_S": "60",
}
"""What waits behind thousands is offered again, too, but not so often that the repetitions are most of the work."""

WATCH = """
CREATE TABLE ended (job_id varchar NOT NULL);
CREATE FUNCTION note_end() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
  $$ BEGIN INSERT INTO public.ended VALUES (NEW.job_id); RETURN NEW; END $$;
CREATE TRIGGER note_end AFTER INSERT OR UPDATE OF state ON jobs
  FOR EACH ROW WHEN (NEW.state = 'done') EXECUTE FUNCTION note_end();
CREATE TABLE streamed (job_id varchar NOT NULL);
CREATE FUNCTION note_event() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
  $$ BEGIN INSERT INTO public.streamed VALUES (OLD.payload->>'job_id'); RETURN OLD; END $$;
CREATE TRIGGER note_event AFTER DELETE ON outbox
  FOR EACH ROW WHEN (OLD.kind = 'index_messages') EXECUTE FUNCTION note_event();
"""
"""The database itself writes down each time that a job becomes done, and each message of one that the stream has."""

STREAMED = "SELECT count(DISTINCT job_id), count(*) FROM streamed JOIN jobs USING (job_id)"
UNDONE = "SELECT count(*) FROM jobs WHERE state <> 'done'"
UNEQUAL_ENDS = """
SELECT j.job_id, count(e.job_id) AS ends FROM jobs AS j LEFT JOIN ended AS e USING (job_id)
GROUP BY j.job_id HAVING count(e.job_id) <> 1 LIMIT 5
"""
UNEQUAL_MEMBERS = """
SELECT m.message_id FROM messages AS m JOIN conversations AS c USING (conversation_id)
WHERE c.remembered AND m.speaker = 'user' AND 1 <> (
  SELECT count(*) FROM index_members AS i
  WHERE i.user_id = m.user_id AND i.ordinal = m.ordinal AND i.embedder {which} ''
) LIMIT 5
"""
WITHOUT_ONE_VECTOR = UNEQUAL_MEMBERS.format(which="<>")
WITHOUT_THEIR_WORDS = UNEQUAL_MEMBERS.format(which="=")
FACTS_OF_STATEMENTS = "SELECT message_id, count(*) FROM fact_sources GROUP BY message_id"
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


def note(number: int) -> str:
    """What is said; one in ``A_FACT_EVERY`` draws a fact."""
    return f"I like tea number {number}." if number % A_FACT_EVERY == 0 else f"Note {number}: the tea is hot."


class Bringing:
    """People who talk until enough was said, of which each is a job, and one who brings in memories meanwhile."""

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs
        self._numbers = itertools.count()
        self._stop = Event()
        self.said = 0
        self.imported = 0

    def talk(self, person: Person) -> None:
        """What is said is indexed by a job from the stream. One that isn't answered may be kept or not."""
        while (number := next(self._numbers)) < self._jobs and self._until_answered(
            person, "/v1/chat/completions", person.request(note(number))
        ):
            self.said += 1

    def import_turns(self, person: Person) -> None:
        """Whoever imports does the job, too; one that was cut short is offered on the stream. Each is repeated until it
        is answered: a repeated one is kept once."""
        while self.said < self._jobs:
            number = self.imported
            turn = {
                "id": f"turn-{number}",
                "conversation_id": f"talk-{number // 50}",
                "speaker": "user",
                "text": f"Thing number {number}: the key of shed {number} hangs on hook {number % 97}.",
                "at": "2026-03-01T12:00:00Z",
            }
            if not self._until_answered(person, "/api/v1/memories/import", {"turns": [turn]}):
                return
            self.imported += 1

    def stop(self) -> None:
        self._stop.set()

    def _until_answered(self, person: Person, path: str, body: object) -> bool:
        while not self._stop.is_set():
            try:
                person.http.post(path, json=body).raise_for_status()
            except httpx.HTTPError:
                self._stop.wait(0.1)
            else:
                return True
        return False


@contextmanager
def bringing(people: list[Person], jobs: int) -> Iterator[Bringing]:
    """The last of ``people`` imports, the others talk."""
    work = Bringing(jobs)
    with ThreadPoolExecutor(len(people)) as pool:
        running = [pool.submit(work.talk, person) for person in people[:-1]]
        running.append(pool.submit(work.import_turns, people[-1]))
        try:
            yield work
            for one in running:
                one.result(timeout=COMES_S)
        finally:
            work.stop()


def undone(made: Installation) -> int:
    """Jobs that are left."""
    ((count,),) = query(made, UNDONE)
    return int(count)


def work_off(made: Installation, most: int) -> int:
    """Returns once so many jobs are left at most; how many."""
    left = undone(made)
    while left > most:
        assert made.wait_until(lambda before=left: undone(made) < before, DONE_S, ASK_AGAIN_S), f"undone: {left}"  # type: ignore[misc]
        left = undone(made)
    return left


def kill(made: Installation, part: str, so_far: str) -> None:
    """Returns once everything is ready again."""
    print(f"{part} killed, {so_far}: ready again after {made.kill_and_wait(part, READY_S):.1f} s", flush=True)


def bring_in(made: Installation, meet: Meet, jobs: int, kills: tuple[str, ...], later: tuple[str, ...] = ()) -> None:
    """Has so many jobs come in, while each of ``kills`` is killed at its time, and each of ``later`` while what is left
    is worked off; returns once all are done."""
    query(made, WATCH)
    people = [meet(made, f"person-{number}") for number in range(TALKERS + 1)]
    began = time.monotonic()
    with bringing(people, jobs) as work:
        for number, part in enumerate(kills):
            due = jobs * (number + 1) // (len(kills) + 1)
            assert made.wait_until(lambda d=due: work.said >= d, COMES_S), work.said  # type: ignore[misc]
            kill(made, part, f"{work.said} said, {work.imported} imported")
    print(f"{jobs} said and {work.imported} imported within {time.monotonic() - began:.0f} s", flush=True)
    began, left = time.monotonic(), undone(made)
    for number, part in enumerate(later):
        kill(made, part, f"{work_off(made, left * (len(later) - number) // (len(later) + 1))} of {left} left")
    work_off(made, 0)
    print(f"all {left} that were left done {time.monotonic() - began:.0f} s after the last came in", flush=True)


def each_effect_is_there_once(made: Installation, jobs: int) -> None:
    """Every job became done once, and every memory has its words, one vector, and what it states once."""
    ((streamed, messages),) = query(made, STREAMED)
    assert streamed >= jobs
    assert query(made, UNEQUAL_ENDS) == []
    assert query(made, WITHOUT_ONE_VECTOR) == []
    assert query(made, WITHOUT_THEIR_WORDS) == []
    assert query(made, MISCOUNTED) == []
    ((embedders,),) = query(made, "SELECT count(DISTINCT embedder) FROM index_members WHERE embedder <> ''")
    assert embedders == 1
    stated = [facts for _, facts in query(made, FACTS_OF_STATEMENTS)]
    assert len(stated) >= len(range(0, jobs, A_FACT_EVERY))
    assert set(stated) == {1}
    print(f"{streamed} jobs through the stream in {messages} messages, each done once; {len(stated)} facts, each once")


def test_ten_thousand_jobs_have_their_effect_once_through_kills(
    make_installation: Callable[..., Installation], meet: Meet
) -> None:
    made = make_installation(**REPEATED_SOON)
    made.up()
    bring_in(made, meet, JOBS, PARTS * max(2, JOBS // JOBS_A_ROUND), later=PARTS)
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
