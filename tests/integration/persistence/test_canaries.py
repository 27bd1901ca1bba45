"""What was forgotten can be had no more: canaries of every kind in a real broker and a real database, sought in every
byte that they and the state folder keep, with every key that survives."""

from __future__ import annotations

import asyncio
import io
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio
from sqlalchemy import select

from libs.shared.contracts.accounts import (
    CREATE_KEY,
    DELETE_USER,
    FIND_MAPPED,
    MAP_USER,
    CreateKey,
    FindMapped,
    MapUser,
    UserRef,
)
from libs.shared.contracts.backups import TAKE_CUT, TakeCut
from libs.shared.contracts.base import Principal
from libs.shared.contracts.common import Role, Speaker
from libs.shared.contracts.conversations import (
    CHANGE_CONVERSATION,
    DELETE_CONVERSATION,
    ChangeConversation,
    ConversationRef,
)
from libs.shared.contracts.documents import FORGET_DOCUMENT, DocumentRef
from libs.shared.contracts.forgetting import Receipt
from libs.shared.contracts.memory import FORGET_EVERYTHING, FORGET_MEMORY, MemoryRef, UserMemory
from libs.shared.credentials import new_api_key
from libs.shared.receipts import verify
from services.persistence import forgetting, journal, restoring
from services.persistence.derived_ids import said_hash
from services.persistence.repositories import accounts, removal
from services.persistence.segment_store import Rewritten, SegmentStore
from services.persistence.settings import PersistenceSettings
from services.persistence.slot_file import SlotFile
from services.persistence.tables import MessageRow
from tests.support import remembering
from tests.support.broker import TestBroker
from tests.support.canary import OPENED, Canary, Scanner
from tests.support.database import Cluster, binaries, running_cluster
from tests.support.persistence import Client, RunningPersistence
from tests.support.remembering import Entry

BROKER, DATABASE, STATE = "broker", "database", "state"


@pytest.fixture(scope="module")
def own_cluster() -> Iterator[Cluster]:
    """A database server whose files hold nothing but what these tests kept."""
    with running_cluster() as running:
        yield running


@dataclass
class Household:
    """Persistence on real stores, and a user's memory in which every kind of thing is a canary."""

    client: Client
    persistence: RunningPersistence
    scanner: Scanner
    user_id: str = ""
    canaries: dict[str, Canary] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)
    unkept: Canary | None = None
    hashes: dict[str, set[bytes]] = field(default_factory=dict)

    def plant(self, name: str) -> str:
        self.canaries[name] = Canary.new(name)
        return self.canaries[name].text

    def entry(self, name: str) -> Entry:
        canary = self.canaries[name]
        return Entry(self.ids[name], canary.word, canary.vector)

    async def move_in(self) -> None:
        """A canary in everything that a user can leave behind."""
        client, user_id = self.client, await self.client.user()
        self.user_id = user_id
        said = [self.plant(name) for name in ("question", "answer", "elsewhere", "reply")]
        self.ids["question"], self.ids["answer"] = await remembering.say(
            client, self.persistence, user_id, "c1", *said[:2]
        )
        self.ids["elsewhere"], self.ids["reply"] = await remembering.say(
            client, self.persistence, user_id, "c2", *said[2:]
        )
        title = ChangeConversation(user_id=user_id, conversation_id="c1", title=self.plant("title"))
        await client.bus.request(CHANGE_CONVERSATION, title)
        for name, kept in (
            ("import", await remembering.import_turns(client, user_id, self.plant("importer"), self.plant("import"))),
            ("note", [await remembering.note(client, user_id, self.plant("note"))]),
            ("passage", await remembering.document(client, user_id, self.plant("name"), self.plant("passage"))),
        ):
            self.ids[name] = kept[0].id
            self.ids[f"{name} in"] = kept[0].conversation_id
        for name in ("question", "answer", "elsewhere", "reply", "import", "note", "passage"):
            await remembering.index(client, user_id, [self.entry(name)])
        await self.draw_facts()
        await self.let_a_program_speak()

    async def let_a_program_speak(self) -> None:
        """A key for a program whose name for the user is a canary too, which is kept nowhere."""
        owner, made = await self.client.user(role=Role.ADMIN), new_api_key()
        wanted = CreateKey(
            key_id="k1", user_id=owner, name="web", prefix=made.prefix, hash=made.hash, scopes=("on-behalf-of",)
        )
        await self.client.bus.request(CREATE_KEY, wanted)
        self.unkept = Canary.new("mapped")
        mapping = MapUser(key_id="k1", external=self.unkept.text, user_id=self.user_id, accepted=True)
        await self.client.bus.request(MAP_USER, mapping)

    async def speaks_for(self) -> str | None:
        assert self.unkept is not None
        found = FindMapped(key_id="k1", externals=(self.unkept.text,))
        return (await self.client.bus.request(FIND_MAPPED, found)).user_id

    async def known_by_hash(self) -> set[str]:
        """Which of the canaries that were said in conversations a resent history would find."""
        async with self.persistence.parts.database.transaction() as session:
            hashes = set(await session.scalars(select(MessageRow.said_hash).where(MessageRow.said_hash.is_not(None))))
        return {name for name in SAID if hashes & self.hashes[name]}

    async def note_hashes(self) -> None:
        """While the user's key is there."""
        async with self.persistence.parts.database.plainly() as driver:
            user = await accounts.keys_of(driver, self.persistence.parts.keys, self.user_id)
        for name in SAID:
            text = self.canaries[name].text
            self.hashes[name] = {hashed for who in Speaker if (hashed := said_hash(user, who, text))}

    async def draw_facts(self) -> None:
        """One from the question, one from the note, one that both tell."""
        sources = {"drawn": ["question"], "noted": ["note"], "shared": ["question", "elsewhere"]}
        for name, told_by in sources.items():
            fact = remembering.fact([self.ids[one] for one in told_by], self.plant(name), attribute=name)
            self.ids[name] = fact.id
            await remembering.facts(self.client, self.user_id, fact)

    def found(self) -> dict[str, set[str]]:
        """Canary → what of it can be had with keys. Nothing may lie about unsealed, forgotten or not."""
        assert self.unkept is not None
        findings = self.scanner.find([*self.canaries.values(), self.unkept])
        assert not [finding for finding in findings if finding.canary == self.unkept.name], "kept after all"
        bare = {finding for finding in findings if finding.where != OPENED}
        assert not bare, f"unsealed: {bare}"
        return {name: {f.form for f in findings if f.canary == name} for name in self.canaries}


@pytest_asyncio.fixture
async def household(own_cluster: Cluster, tmp_path: Path) -> AsyncIterator[Household]:
    (tmp_path / "broker").mkdir()
    async with TestBroker(tmp_path / "broker") as broker:
        persistence = RunningPersistence.on(own_cluster, tmp_path / "state", broker.connect)
        folder = persistence.settings.folder
        stores = {BROKER: broker.folder, DATABASE: own_cluster.folder / "data", STATE: folder.root}
        scanner = Scanner(stores, folder.installation_key, folder.slots)
        with scanner.ciphertexts.noting():
            await persistence.start()
            client = Client(await broker.connect(Principal.API), await broker.connect(Principal.COGNITION))
            house = Household(client, persistence, scanner)
            await house.move_in()
            yield house
            await persistence.stop()
    own_cluster.drop(persistence.settings.database_address())


SAID = {"question", "answer", "elsewhere", "reply"}
INDEXED = {"question", "answer", "elsewhere", "reply", "import", "note", "passage"}


def everything_of(names: set[str]) -> dict[str, set[str]]:
    """What is there to find of canaries before they are forgotten."""
    return {name: {"text", "terms", "vector"} if name in INDEXED else {"text"} for name in names}


async def forget_message(house: Household) -> Receipt:
    ref = MemoryRef(user_id=house.user_id, id=house.ids["question"])
    return await house.client.bus.request(FORGET_MEMORY, ref)


async def forget_import(house: Household) -> Receipt:
    ref = MemoryRef(user_id=house.user_id, id=house.ids["import"])
    return await house.client.bus.request(FORGET_MEMORY, ref)


async def forget_note(house: Household) -> Receipt:
    return await house.client.bus.request(FORGET_MEMORY, MemoryRef(user_id=house.user_id, id=house.ids["note"]))


async def forget_fact(house: Household) -> Receipt:
    return await house.client.bus.request(FORGET_MEMORY, MemoryRef(user_id=house.user_id, id=house.ids["shared"]))


async def forget_conversation(house: Household) -> Receipt:
    ref = ConversationRef(user_id=house.user_id, conversation_id="c1")
    return await house.client.bus.request(DELETE_CONVERSATION, ref)


async def forget_document(house: Household) -> Receipt:
    ref = DocumentRef(user_id=house.user_id, document_id=house.ids["passage in"])
    return await house.client.bus.request(FORGET_DOCUMENT, ref)


async def forget_everything(house: Household) -> Receipt:
    return await house.client.bus.request(FORGET_EVERYTHING, UserMemory(user_id=house.user_id))


async def forget_account(house: Household) -> Receipt:
    return await house.client.bus.request(DELETE_USER, UserRef(user_id=house.user_id))


Forget = Callable[[Household], Awaitable[Receipt]]
ALL = frozenset({*INDEXED, "title", "importer", "name", "drawn", "noted", "shared"})
WAYS: dict[Forget, frozenset[str]] = {
    forget_message: frozenset({"question", "drawn"}),
    forget_import: frozenset({"import", "importer"}),
    forget_note: frozenset({"note", "noted"}),
    forget_fact: frozenset({"shared"}),
    forget_conversation: frozenset({"question", "answer", "title", "drawn"}),
    forget_document: frozenset({"passage", "name"}),
    forget_everything: ALL,
    forget_account: ALL,
}
"""Ways to forget, and the canaries that each takes; all others have to be there afterwards."""


async def check_forgotten(house: Household, forget: Forget) -> None:
    """Everything is found and opened before; afterwards what was to go is nowhere, and the rest is where it was."""
    doomed = WAYS[forget]
    assert house.found() == everything_of(set(ALL)), "the canaries must be there to begin with"
    assert BROKER in in_stores(house, "question"), "and where they are looked for"
    await house.note_hashes()
    assert await house.known_by_hash() == SAID
    assert await house.speaks_for() == house.user_id
    assert DATABASE in in_stores(house, "question")

    receipt = await forget(house)

    assert verify(receipt)
    assert receipt.pending == ()
    found = house.found()
    assert {name: found[name] for name in doomed} == {name: set() for name in doomed}
    assert {name: found[name] for name in ALL - doomed} == everything_of(set(ALL - doomed))
    assert await house.known_by_hash() == SAID - doomed
    assert await house.speaks_for() == (None if forget is forget_account else house.user_id)
    if "question" in doomed:
        assert BROKER not in in_stores(house, "question"), "the stream has let go of it"


def in_stores(house: Household, name: str) -> set[str]:
    """Where ciphertexts that hold the canary still lie, opened or not."""
    return set().union(*house.scanner.stores_of(house.scanner.sealing(house.canaries[name])).values())


@pytest.mark.parametrize("forget", WAYS, ids=[way.__name__ for way in WAYS])
async def test_what_is_forgotten_can_be_had_no_more(household: Household, forget: Forget) -> None:
    await check_forgotten(household, forget)
    user = UserMemory(user_id=household.user_id)
    if forget not in (forget_everything, forget_account):
        await household.client.bus.request(FORGET_EVERYTHING, user)
        assert not any(household.found().values())


# ---------------------------------------------------------------- what a backup brings back


@dataclass
class Elsewhere:
    """What becomes of a backup: its rows in another database, its keys in another state folder, nothing served."""

    settings: PersistenceSettings
    scanner: Scanner
    canaries: list[Canary]

    @classmethod
    async def made(cls, house: Household, cluster: Cluster, state: Path) -> Elsewhere:
        """As ``mongars backup`` and ``mongars restore`` do: the cut's keys, and the database as of its snapshot."""
        settings = PersistenceSettings(state=state, database_url=await emptied(cluster))
        (state / "keys").mkdir(parents=True)
        original = house.persistence.settings.folder
        settings.folder.installation_key.write_bytes(original.installation_key.read_bytes())
        command = await house.persistence.connect(Principal.CLI)
        async with command.stream(TAKE_CUT, TakeCut(backup_id="one", place="/backups/one.backup")) as chunks:
            cut, keys = None, b""
            async for chunk in chunks:
                cut, keys = cut or chunk.cut, keys + chunk.keys
                if chunk.complete:
                    break
            assert cut is not None
            source, target = house.persistence.settings.database_address(), settings.database_address()
            await asyncio.to_thread(copy_database, source, target, cut.snapshot)
        restoring.write_keys(settings, io.BytesIO(keys))
        await command.drain(1)
        stores = {DATABASE: cluster.folder / "data", STATE: state}
        folder = settings.folder
        scanner = Scanner(stores, folder.installation_key, folder.slots, house.scanner.ciphertexts)
        return cls(settings, scanner, list(house.canaries.values()))

    async def take_over(self, house: Household) -> dict[str, Any]:
        """What was forgotten in the house since is forgotten here."""
        journal = self.settings.folder.forgettings
        journal.parent.mkdir(exist_ok=True)
        journal.write_bytes(house.persistence.settings.folder.forgettings.read_bytes())
        return await restoring.replay(self.settings)

    def found(self) -> dict[str, set[str]]:
        findings = self.scanner.find(self.canaries)
        assert not {finding for finding in findings if finding.where != OPENED}
        return {one.name: {f.form for f in findings if f.canary == one.name} for one in self.canaries}


async def emptied(cluster: Cluster) -> str:
    """A database without a table."""
    name = f"restored_{uuid4().hex}"
    connection = await asyncpg.connect(cluster.url("postgres").replace("+asyncpg", ""))
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    return cluster.url(name)


def copy_database(source: str, target: str, snapshot: str) -> None:
    dump, restore = (str(binaries() / program) for program in ("pg_dump", "pg_restore"))
    plain = [url.replace("+asyncpg", "") for url in (source, target)]
    dumped = subprocess.run(
        [dump, "--format=custom", f"--snapshot={snapshot}", plain[0]], capture_output=True, check=True, timeout=60
    )
    subprocess.run([restore, "--exit-on-error", "-d", plain[1]], input=dumped.stdout, check=True, timeout=60)


async def check_a_restored_backup_forgets(house: Household, cluster: Cluster, state: Path, forget: Forget) -> None:
    """The backup has everything; what was forgotten after it isn't there once it is restored, and the rest is."""
    elsewhere = await Elsewhere.made(house, cluster, state)
    doomed = WAYS[forget]
    receipt = await forget(house)
    assert receipt.backups == ("one",)
    assert house.found() == {name: everything_of(set(ALL))[name] if name not in doomed else set() for name in ALL}
    assert elsewhere.found() == everything_of(set(ALL)), "the backup holds it still"
    told = await elsewhere.take_over(house)
    found = elsewhere.found()
    assert {name: found[name] for name in doomed} == {name: set() for name in doomed}
    assert {name: found[name] for name in ALL - doomed} == everything_of(set(ALL - doomed))
    assert told["forgettings_replayed"] == 1
    assert (told["unreadable"], told["ledger_broken_at"]) == (0, None)
    assert (await restoring.replay(elsewhere.settings))["forgettings_replayed"] == 0, "once is enough"


@pytest.mark.parametrize(
    "forget",
    [
        forget_message,
        forget_account,
        *(pytest.param(way, marks=pytest.mark.soak) for way in (forget_fact, forget_conversation)),
    ],
)
async def test_what_was_forgotten_after_a_backup_does_not_come_back_with_it(
    household: Household, own_cluster: Cluster, tmp_path: Path, forget: Forget
) -> None:
    await check_a_restored_backup_forgets(household, own_cluster, tmp_path / "elsewhere", forget)


async def test_without_the_journal_a_backup_brings_back_what_was_forgotten(
    household: Household, own_cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A test of the test above."""
    monkeypatch.setattr(journal, "read", lambda *_: iter(()))
    with pytest.raises(AssertionError):
        await check_a_restored_backup_forgets(household, own_cluster, tmp_path / "elsewhere", forget_message)


# ---------------------------------------------------------------- the search itself


def test_a_canary_is_found_in_every_form_in_which_it_may_lie(tmp_path: Path) -> None:
    scanner = Scanner({STATE: tmp_path / "state"}, tmp_path / "key", tmp_path / "slots")
    (tmp_path / "state").mkdir()
    (tmp_path / "key").write_bytes(b"k" * 32)
    (tmp_path / "slots").write_bytes(b"")
    canary = Canary.new("one")
    for form, (name, kind) in canary.forms([]).items():
        (tmp_path / "state" / "file").write_bytes(b"before" + form + b"after")
        assert (name, kind) in {(f.canary, f.form) for f in scanner.find([canary])}
    (tmp_path / "state" / "file").write_bytes(b"nothing")
    assert scanner.find([canary]) == set()


# ---------------------------------------------------------------- tests of the tests

Mutation = Callable[[pytest.MonkeyPatch], None]


def keep_the_keys(patch: pytest.MonkeyPatch) -> None:
    async def destroy(_: SlotFile, slots: frozenset[int]) -> int:
        return len(slots)

    patch.setattr(SlotFile, "destroy", destroy)


def keep_the_segments(patch: pytest.MonkeyPatch) -> None:
    async def take_out(*_: Any) -> Rewritten:
        return Rewritten(frozenset(), 0, 0, 0)

    patch.setattr(SegmentStore, "take_out", take_out)


def keep_the_stream(patch: pytest.MonkeyPatch) -> None:
    async def erase(*_: Any) -> bool:
        return True

    patch.setattr(forgetting, "_erase", erase)


def keep_the_stream_and_the_keys(patch: pytest.MonkeyPatch) -> None:
    keep_the_stream(patch)
    keep_the_keys(patch)


def keep_the_facts(patch: pytest.MonkeyPatch) -> None:
    async def none(*_: Any) -> list[str]:
        return []

    patch.setattr(removal, "facts_without_source", none)


def keep_the_title(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(removal, "_titles", lambda rows: (len(rows), frozenset()))


MUTATIONS: list[tuple[Mutation, Forget]] = [
    (keep_the_keys, forget_note),
    (keep_the_segments, forget_import),
    (keep_the_stream, forget_message),
    (keep_the_stream_and_the_keys, forget_conversation),
    (keep_the_facts, forget_message),
    (keep_the_title, forget_conversation),
]


@pytest.mark.parametrize(("mutation", "forget"), MUTATIONS, ids=[mutation.__name__ for mutation, _ in MUTATIONS])
async def test_the_canary_sings_when_something_is_left(
    household: Household, monkeypatch: pytest.MonkeyPatch, mutation: Mutation, forget: Forget
) -> None:
    with monkeypatch.context() as patched:
        mutation(patched)
        with pytest.raises(AssertionError, match="assert"):
            await check_forgotten(household, forget)
