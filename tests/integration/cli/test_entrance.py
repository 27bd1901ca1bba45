"""The entrance before a real broker: who comes in, who doesn't, and how one is put out again."""

from __future__ import annotations

import asyncio
import hashlib
import re
import socket
import ssl
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from cli.errors import CommandError
from cli.installation import Entrance as Opening
from cli.joining import asking, certificates, invitations, members, node, removing
from cli.joining.__main__ import as_needed
from cli.joining.code import JoinCode, believed, fingerprint_of
from cli.joining.enrolling import enrol
from cli.joining.entrance import Entrance
from cli.joining.protocol import TLS_NAME, Enrol, Greeting, Refusal, Welcome
from cli.joining.removing import Admit, take_away
from cli.joining.strangers import MOST_OF_ONE, Strangers
from cli.version import product_version
from libs.shared.bus.broker_config import JOINED_NODE, principals, render_config, users
from libs.shared.bus.connection import node_protocol
from libs.shared.bus.nats import NatsBus
from libs.shared.bus.nkey_files import new_seed, public_key, read_public_key
from libs.shared.contracts.base import Empty, Principal
from libs.shared.contracts.inference import SET_DRAINING, SetDraining
from libs.shared.contracts.scheduling import Drained
from libs.shared.contracts.sessions import LIMITS
from libs.shared.contracts.telemetry import HEALTH, Health
from libs.shared.durable import write_private
from libs.shared.errors import Forbidden, Unavailable
from libs.shared.layout import StateFolder
from tests.support.broker import TestBroker, free_port

_WITHIN_S = 10.0
VERSION = product_version()


class Door:
    """An entrance on a port of its own, and what an installation does for it."""

    def __init__(self, folder: Path, broker: TestBroker) -> None:
        self.folder = StateFolder(folder)
        for needed in (self.folder.keys, self.folder.run):
            needed.mkdir(parents=True, exist_ok=True)
        self.broker = broker
        self.port = free_port()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def authority(self) -> str:
        return self.folder.nodes_authority.read_text()

    def invite(self) -> JoinCode:
        made = invitations.make(self.folder, time.time())
        fingerprint = fingerprint_of(self.authority)
        return JoinCode(addresses=(self.address,), fingerprint=fingerprint, invitation=made.name, secret=made.secret)

    def invited(self, asked: Enrol) -> bool:
        return invitations.is_open(self.folder, asked.invitation, asked.secret, time.time())

    async def enrol(self, asked: Enrol) -> Welcome | Refusal:
        return enrol(
            self.folder,
            asked,
            now=time.time(),
            version=VERSION,
            own_node=self.broker.nodes[0],
            own_keys=self._own().values(),
            admit=self.admit,
        )

    def admit(self, witness: str | None = None, besides: tuple[str, ...] = ()) -> None:
        joined = {f"{JOINED_NODE}{m.node_id}": m.public_key for m in members.read(self.folder)}
        kept = {f"{JOINED_NODE}kept-{number}": key for number, key in enumerate(besides)}
        known = users(joined | kept | self._own())
        store = self.broker.folder / "jetstream"
        config = render_config(users=known, store=store, port=self.broker.port, witness=witness)
        (self.broker.folder / "nats.conf").write_text(config)
        self.broker.reload()

    def remove(self, node_id: str, admit: Admit | None = None) -> bool:
        return take_away(
            self.folder, node_id, now=datetime.now(UTC), nats_url=self.broker.url, admit=admit or self.admit
        )

    def _own(self) -> dict[str, str]:
        keys = self.broker.folder / "keys"
        return {name: read_public_key(keys / f"{name}.nk") for name in principals(self.broker.nodes)}

    async def connect(
        self, seed: Path, node: str, ca_file: Path | None = None, addresses: Sequence[str] | None = None
    ) -> NatsBus:
        return await NatsBus.connect(
            ",".join(f"tls://{address}" for address in addresses or [self.address]),
            principal=Principal.INFERENCE,
            seed_file=seed,
            ca_file=ca_file or self.folder.nodes_authority,
            node=node,
            tls_name=TLS_NAME,
        )


@asynccontextmanager
async def opened(folder: Path, broker: TestBroker, version: str = VERSION) -> AsyncIterator[Door]:
    door = Door(folder, broker)
    certificates.renew(door.folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(door.folder.entrance_certificate, door.folder.entrance_key)
    greeting = Greeting(authority=door.authority, version=version)
    entrance = Entrance(context, broker.port, greeting, door.enrol, invited=door.invited)
    server = await entrance.listen("127.0.0.1", door.port)
    try:
        yield door
    finally:
        await server.close()


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    (tmp_path / "broker").mkdir()
    async with TestBroker(tmp_path / "broker") as broker, opened(tmp_path / "main", broker) as made:
        yield made


async def joined(door: Door, seed_file: Path, node_id: str = "pi-4", **changed: str) -> Welcome:
    """What ``mongars join`` does, up to the welcome."""
    seed = new_seed()
    write_private(seed_file, seed.encode())
    code = door.invite()
    address, greeting = await asyncio.to_thread(asking.found, code)
    fields = {"invitation": code.invitation, "secret": code.secret, "node_id": node_id, "version": VERSION}
    question = Enrol.model_validate({**fields, "public_key": public_key(seed), **changed})
    return await asyncio.to_thread(asking.enrolled, address, greeting.authority, question)


async def until_connected(door: Door, seed: Path, node: str) -> NatsBus:
    """The broker reads its file again a moment after it was told to."""
    async with asyncio.timeout(_WITHIN_S):
        while True:
            try:
                return await door.connect(seed, node)
            except (Forbidden, Unavailable):
                await asyncio.sleep(0.05)


async def is_refused(door: Door, seed: Path, node_id: str) -> bool:
    """False when it is let in; the broker's last words may be lost with the connection, and are asked for again."""
    async with asyncio.timeout(6 * _WITHIN_S):
        while True:
            try:
                await (await door.connect(seed, node_id)).close()
                return False
            except Forbidden:
                return True
            except Unavailable:
                await asyncio.sleep(0.05)


async def test_a_joined_machine_serves_its_own_subjects_through_the_entrance_until_its_key_is_taken_away(
    door: Door, tmp_path: Path
) -> None:
    seed = tmp_path / "node.nk"
    assert await joined(door, seed) == Welcome(node_id="pi-4")
    bus = await until_connected(door, seed, "pi-4")

    async def drain(request: SetDraining) -> Drained:
        return Drained(node_id="pi-4", draining=request.draining)

    await bus.serve(SET_DRAINING, drain, node="pi-4")
    with pytest.raises(Forbidden):
        await bus.serve(SET_DRAINING, drain, node=door.broker.nodes[0])

    async def health(_: Empty) -> Health:
        raise AssertionError("the installation's own node answers for the service")

    with pytest.raises(Forbidden):
        await bus.serve(HEALTH[Principal.INFERENCE], health)
    scheduler = await door.broker.connect(Principal.SCHEDULER)
    answer = await scheduler.request(SET_DRAINING, SetDraining(draining=True), node="pi-4")
    assert answer == Drained(node_id="pi-4", draining=True)

    home = await door.broker.connect(Principal.INFERENCE)
    await home.serve(SET_DRAINING, drain, node=door.broker.nodes[0])
    gateway = await door.broker.connect(Principal.API)
    await gateway.bucket(LIMITS).put("before", b"1")
    assert await asyncio.to_thread(door.remove, "pi-4")
    assert await is_refused(door, seed, "pi-4")
    async with asyncio.timeout(_WITHIN_S):
        await bus.wait_closed()
    assert await scheduler.request(SET_DRAINING, SetDraining(draining=True), node=door.broker.nodes[0])
    assert (scheduler.connected, home.connected) == (True, True), "nobody else was cut off"
    assert await gateway.bucket(LIMITS).get("before") == b"1"
    await gateway.bucket(LIMITS).put("after", b"2")
    assert "witness" not in (door.broker.folder / "nats.conf").read_text()
    await bus.close()


async def test_a_removal_that_the_broker_did_not_take_is_said_and_can_be_done_again(
    door: Door, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removing, "_SEEN_S", 1.0)
    seed = tmp_path / "node.nk"
    await joined(door, seed)
    bus = await until_connected(door, seed, "pi-4")

    def full_disk(witness: str | None) -> None:
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        await asyncio.to_thread(door.remove, "pi-4", full_disk)
    with pytest.raises(CommandError, match="not seen to refuse"):
        await asyncio.to_thread(door.remove, "pi-4", lambda witness: None)
    key = read_public_key(seed)
    with pytest.raises(CommandError, match="not seen to refuse"):
        await asyncio.to_thread(door.remove, "pi-4", lambda witness: door.admit(witness, besides=(key,)))
    assert bus.connected, "so far it was only written down"
    for _ in range(2):
        assert await asyncio.to_thread(door.remove, "pi-4")
    assert await is_refused(door, seed, "pi-4")
    await bus.close()


async def test_the_witness_is_known_to_the_broker_for_that_moment_alone_whatever_happens(
    door: Door, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await joined(door, tmp_path / "node.nk")
    known: list[bool] = []

    async def interrupted(*_: object, **__: object) -> bool:
        known.append("# witness" in (door.broker.folder / "nats.conf").read_text())
        raise KeyboardInterrupt

    def remove() -> None:
        with pytest.raises(KeyboardInterrupt):
            door.remove("pi-4")

    monkeypatch.setattr("libs.shared.bus.witness.sees_nobody", interrupted)
    await asyncio.to_thread(remove)
    assert known == [True]
    assert "# witness" not in (door.broker.folder / "nats.conf").read_text()


async def test_a_removed_key_never_comes_back_and_its_name_may(door: Door, tmp_path: Path) -> None:
    seed = tmp_path / "node.nk"
    await joined(door, seed)
    key = read_public_key(seed)
    await asyncio.to_thread(door.remove, "pi-4")
    with pytest.raises(CommandError, match="no new key"):
        await joined(door, tmp_path / "other.nk", public_key=key)
    assert await joined(door, tmp_path / "third.nk") == Welcome(node_id="pi-4")
    with pytest.raises(CommandError, match="no machine joined as pi-5") as refused:
        await asyncio.to_thread(door.remove, "pi-5")
    assert refused.value.remedy == "joined are: pi-4"


async def test_a_stranger_s_key_is_refused_as_the_broker_refuses_it(door: Door, tmp_path: Path) -> None:
    seed = tmp_path / "stranger.nk"
    write_private(seed, new_seed().encode())
    assert await is_refused(door, seed, "pi-4")


async def test_a_node_speaks_to_no_other_installation_that_stands_at_the_address(door: Door, tmp_path: Path) -> None:
    other = StateFolder(tmp_path / "other")
    other.keys.mkdir(parents=True)
    certificates.renew(other)
    seed = tmp_path / "node.nk"
    await joined(door, seed)
    async with asyncio.timeout(_WITHIN_S):
        with pytest.raises(Unavailable):
            await door.connect(seed, "pi-4", other.nodes_authority)


async def test_a_code_with_another_fingerprint_is_not_spent_on_whoever_answers(door: Door, tmp_path: Path) -> None:
    code = door.invite()
    wrong = code.model_copy(update={"fingerprint": "00" * 32})
    with pytest.raises(CommandError, match="another installation answers there"):
        await asyncio.to_thread(asking.found, wrong)
    assert invitations.is_open(door.folder, code.invitation, code.secret, time.time())


def padded_authority(folder: Path) -> StateFolder:
    """One whose base64 ends in padding, at which a lenient decoder stops reading whatever comes behind it."""
    for number in range(64):
        made = StateFolder(folder / str(number))
        made.keys.mkdir(parents=True)
        certificates.renew(made)
        if len(ssl.PEM_cert_to_DER_cert(made.nodes_authority.read_text())) % 3:
            return made
    raise AssertionError("64 certificates, and each a multiple of three bytes long")


@pytest.mark.parametrize("order", ["behind", "before"])
async def test_an_authority_smuggled_in_beside_the_real_one_is_not_told_the_secret(tmp_path: Path, order: str) -> None:
    """Somebody in between shows the authority that the code names with one of its own, under which it then speaks."""
    real = padded_authority(tmp_path / "real").nodes_authority.read_text()
    attacker = StateFolder(tmp_path / "attacker")
    attacker.keys.mkdir(parents=True)
    certificates.renew(attacker)
    own = attacker.nodes_authority.read_text()
    both = real + own if order == "behind" else own + real
    lenient = hashlib.sha256(ssl.PEM_cert_to_DER_cert(real + own)).hexdigest()
    assert lenient == fingerprint_of(real), "the attack is one: a lenient decoder sees the real certificate alone"
    told: list[Enrol] = []

    async def listening_in(asked: Enrol) -> Welcome:
        told.append(asked)
        return Welcome(node_id=asked.node_id)

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(attacker.entrance_certificate, attacker.entrance_key)
    port = free_port()
    greeting = Greeting(authority=both, version=VERSION)
    entrance = Entrance(context, free_port(), greeting, listening_in, invited=lambda asked: True)
    server = await entrance.listen("127.0.0.1", port)
    code = JoinCode(
        addresses=(f"127.0.0.1:{port}",), fingerprint=fingerprint_of(real), invitation="0" * 16, secret="precious"
    )
    with pytest.raises(CommandError, match="pretends to be it"):
        await asyncio.to_thread(join_with, code, StateFolder(tmp_path / "node"))
    assert not told
    await server.close()


def join_with(code: JoinCode, folder: StateFolder) -> None:
    folder.root.mkdir()
    node.make(folder, code, "attic", {})


async def test_a_node_keeps_the_one_certificate_that_was_compared(door: Door, tmp_path: Path) -> None:
    code = door.invite()
    chatty = f"\n{door.authority}\n\n"
    _, greeting = await asyncio.to_thread(asking.found, code)
    assert greeting.authority == door.authority == believed(chatty, code.fingerprint)
    for text in (door.authority * 2, f"words\n{door.authority}", door.authority.replace("M", "*", 1), ""):
        with pytest.raises(ValueError, match="not one certificate"):
            believed(text, code.fingerprint)


async def test_a_code_is_good_once_also_over_the_wire(door: Door, tmp_path: Path) -> None:
    code = door.invite()
    used = {"invitation": code.invitation, "secret": code.secret}
    await joined(door, tmp_path / "first.nk", **used)
    with pytest.raises(CommandError, match="used already"):
        await joined(door, tmp_path / "second.nk", "pi-5", **used)
    assert [member.node_id for member in members.read(door.folder)] == ["pi-4"]


async def test_another_version_is_refused_with_both_versions(door: Door, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=rf"runs monGARS {re.escape(VERSION)}, and this machine 0\.9"):
        await joined(door, tmp_path / "node.nk", version="0.9")
    assert members.read(door.folder) == ()


async def test_a_node_that_stayed_behind_while_its_installation_was_upgraded_is_kept_out(tmp_path: Path) -> None:
    (tmp_path / "broker").mkdir()
    async with TestBroker(tmp_path / "broker") as broker, opened(tmp_path / "main", broker, "99.0") as door:
        with pytest.raises(Unavailable):
            await door.connect(broker.seed_file(Principal.INFERENCE), broker.nodes[0])
    async with TestBroker(tmp_path / "broker") as broker, opened(tmp_path / "main", broker) as door:
        await (await door.connect(broker.seed_file(Principal.INFERENCE), broker.nodes[0])).close()


async def test_who_guesses_is_made_to_wait(door: Door, tmp_path: Path) -> None:
    for _ in range(10):
        with pytest.raises(CommandError, match="used already"):
            await joined(door, tmp_path / "node.nk", secret="guessed")
    with pytest.raises(CommandError, match="too many failures"):
        await joined(door, tmp_path / "node.nk")


@pytest.mark.parametrize(
    "line", [b"\n", b"{}\n", b"GET / HTTP/1.1\r\n\r\n", b"x" * 100_000 + b"\n", b'{"ask": "enrol"}\n']
)
async def test_noise_is_answered_briefly_or_not_at_all_and_the_entrance_stays(door: Door, line: bytes) -> None:
    context = ssl.create_default_context(cadata=door.authority)
    context.set_alpn_protocols(["mongars-join/1"])
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port, ssl=context, server_hostname=TLS_NAME)
    writer.write(line)
    async with asyncio.timeout(_WITHIN_S):
        answer = await reader.read()
    assert answer == b"" or Refusal.model_validate_json(answer).refused == "malformed"
    writer.close()
    assert await asyncio.to_thread(asking.greeted, [door.address], door.authority) is not None


async def test_who_holds_many_connections_keeps_nobody_else_out(door: Door) -> None:
    """Of one address, without a word: the next one from there is turned away, one from elsewhere is answered."""
    mute = [await elsewhere(door) for _ in range(MOST_OF_ONE)]
    (reader, writer) = await elsewhere(door)
    async with asyncio.timeout(_WITHIN_S):
        assert await ended(reader)
    writer.close()
    assert await asyncio.to_thread(asking.greeted, [door.address], door.authority) is not None
    for waiting, its_writer in mute:
        async with asyncio.timeout(6 * _WITHIN_S):
            assert await ended(waiting), "they are put out before long"
        its_writer.close()
    async with asyncio.timeout(6 * _WITHIN_S):
        while await turned_away(door):
            continue


async def test_who_has_shown_a_good_code_is_not_put_out_for_strangers(
    door: Door, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrolling, go_on = asyncio.Event(), asyncio.Event()
    enrol_now = Door.enrol

    async def slowly(self: Door, asked: Enrol) -> Welcome | Refusal:
        enrolling.set()
        await go_on.wait()
        return await enrol_now(self, asked)

    monkeypatch.setattr(Door, "enrol", slowly)
    monkeypatch.setattr("cli.joining.entrance.Strangers", partial(Strangers, most=1))
    async with opened(tmp_path / "busy", door.broker) as busy, asyncio.timeout(6 * _WITHIN_S):
        waiting = asyncio.create_task(joined(busy, tmp_path / "node.nk"))
        await enrolling.wait()
        (first, its_writer), (_, writer) = await elsewhere(busy), await elsewhere(busy)
        assert await ended(first), "there is room for one stranger"
        go_on.set()
        assert await waiting == Welcome(node_id="pi-4")
        its_writer.close()
        writer.close()


async def elsewhere(door: Door) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", door.port, local_addr=("127.0.0.2", 0))


async def turned_away(door: Door) -> bool:
    reader, writer = await elsewhere(door)
    try:
        async with asyncio.timeout(0.2):
            return await ended(reader)
    except TimeoutError:
        return False
    finally:
        writer.close()


async def ended(reader: asyncio.StreamReader) -> bool:
    try:
        return await reader.read() == b""
    except ConnectionResetError:
        return True


async def test_who_calls_itself_a_node_and_shows_no_key_is_put_out(door: Door) -> None:
    context = ssl.create_default_context(cadata=door.authority)
    context.set_alpn_protocols([node_protocol(VERSION)])
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port, ssl=context, server_hostname=TLS_NAME)
    async with asyncio.timeout(6 * _WITHIN_S):
        said = await reader.read()
    assert said.startswith(b"INFO "), "it was the broker that it came to"
    assert b"Authentication Timeout" in said
    writer.close()


@pytest.mark.parametrize("real_first", [True, False])
async def test_a_node_finds_its_installation_at_any_of_its_addresses(
    door: Door, tmp_path: Path, real_first: bool
) -> None:
    seed = tmp_path / "node.nk"
    await joined(door, seed)
    await (await until_connected(door, seed, "pi-4")).close()
    async with opened(tmp_path / "other", door.broker) as other:
        addresses = [door.address, f"127.0.0.1:{free_port()}", other.address]
        bus = await door.connect(seed, "pi-4", addresses=addresses if real_first else addresses[::-1])
        assert bus.connected
        await bus.close()


async def test_an_installation_is_found_though_other_addresses_never_answer(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "_CONNECT_S", 600.0)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        silent = f"127.0.0.1:{mute.getsockname()[1]}"
        code = door.invite().model_copy(update={"addresses": (silent, door.address)})
        assert (await asyncio.to_thread(asking.found, code))[0] == door.address
        monkeypatch.setattr(asking, "_ALL_S", 0.5)
        with pytest.raises(CommandError, match=f"{silent}: no answer"):
            await asyncio.to_thread(asking.found, code.model_copy(update={"addresses": (silent,)}))


async def test_the_port_is_open_only_while_somebody_is_invited_or_has_joined(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    folder.keys.mkdir()
    certificates.renew(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder.entrance_certificate, folder.entrance_key)
    greeting = Greeting(authority=folder.nodes_authority.read_text(), version=VERSION)
    entrance = Entrance(context, free_port(), greeting, nobody_enrols, invited=lambda asked: False)
    where = Opening(host="127.0.0.1", port=free_port())
    listening = await as_needed(folder, where, entrance, None)
    assert listening is None
    made = invitations.make(folder, time.time())
    listening = await as_needed(folder, where, entrance, listening)
    address = asking.joined(where.host, where.port)
    assert await asyncio.to_thread(asking.greeted, [address], greeting.authority) is not None
    invitations.consume(folder, made.name)
    assert await as_needed(folder, where, entrance, listening) is None
    assert await asyncio.to_thread(asking.greeted, [address], greeting.authority) is None
    member = members.Member(node_id="pi-4", public_key=public_key(new_seed()), joined_at=datetime.now(UTC))
    members.add(folder, member)
    listening = await as_needed(folder, where, entrance, None)
    assert listening is not None
    for ago, hears_of_it in ((timedelta(minutes=14), True), (timedelta(minutes=16), False)):
        folder.joined_nodes.unlink()
        members.add(folder, member)
        members.remove(folder, "pi-4", datetime.now(UTC) - ago)
        listening = await as_needed(folder, where, entrance, listening)
        assert (listening is not None) is hears_of_it


async def nobody_enrols(asked: Enrol) -> Welcome:
    raise AssertionError("nobody asked to")


async def test_nothing_is_said_without_tls(door: Door) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    writer.write(b"CONNECT {}\r\nPING\r\n")
    async with asyncio.timeout(_WITHIN_S):
        answer = await reader.read()
    assert b"INFO" not in answer
    assert b"PONG" not in answer
    writer.close()
