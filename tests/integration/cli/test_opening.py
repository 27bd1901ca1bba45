"""Opening and closing the entrance as the commands do, with a real supervisor that runs it."""

from __future__ import annotations

import asyncio
import os
import ssl
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cli.errors import CommandError
from cli.installation import Installation, Marker, Ports, load, write_marker
from cli.joining import asking, certificates, inviting, members
from cli.joining.protocol import ALPN, TLS_NAME
from cli.supervision import orphans
from cli.supervision.client import Supervisor
from cli.supervision.launching import launch
from cli.supervision.place import as_meant, supervisor_of
from cli.supervision.programs import ENTRANCE
from libs.shared.layout import FORMAT_VERSION, StateFolder
from tests.support.broker import free_port

_WITHIN_S = 60.0


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """Of an installation whose supervisor runs, and nothing else of it."""
    folder = StateFolder(tmp_path)
    folder.keys.mkdir()
    mark = uuid.uuid4().hex
    ports = Ports(http=free_port(), nats=free_port())
    marker = Marker(
        format=FORMAT_VERSION, installation_id=mark, product_version="1", created_at=datetime.now(UTC), ports=ports
    )
    launch(write_marker(folder, marker), (), dict(os.environ))
    yield tmp_path
    orphans.end(mark, patience_s=5)
    assert list(orphans.marked(mark)) == []


def opened(root: Path) -> str:
    """The address at which it listens from then on."""
    listen = f"127.0.0.1:{free_port()}"
    assert inviting.invite(load(root), listen, time.time()).addresses == (listen,)
    return listen


def answers(installation: Installation, address: str) -> bool:
    return asking.greeted([address], installation.folder.nodes_authority.read_text()) is not None


def runs(installation: Installation) -> bool:
    found = (supervisor_of(installation).processes() or {}).get(ENTRANCE)
    return found is not None and found.alive


class PowerCut(Exception):
    pass


def cut(*_: object) -> None:
    raise PowerCut


def test_a_closing_that_broke_off_is_finished_by_the_next(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = opened(root)
    assert answers(load(root), address)
    breaks_off(root, monkeypatch, Supervisor, "stop")
    assert runs(load(root))
    breaks_off(root, monkeypatch, inviting, "write_marker")
    closed = inviting.close(load(root))
    assert closed is not None
    assert asking.joined(closed.host, closed.port) == address
    assert (runs(load(root)), answers(load(root), address), load(root).marker.entrance) == (False, False, None)
    assert inviting.close(load(root)) is None
    assert told(root) == "closed"


def told(root: Path) -> str:
    """The entrance's state, as ``mongars status`` has it."""
    return as_meant(load(root), supervisor_of(load(root)).processes() or {})[ENTRANCE].state


def test_an_entrance_that_stopped_by_itself_is_told_to_be_stopped(root: Path) -> None:
    opened(root)
    supervisor_of(load(root)).stop(ENTRANCE)
    deadline = time.monotonic() + _WITHIN_S
    while runs(load(root)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert told(root) == "stopped"


def breaks_off(root: Path, monkeypatch: pytest.MonkeyPatch, where: object, name: str) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(where, name, cut)
        with pytest.raises(PowerCut):
            inviting.close(load(root))
    assert load(root).marker.entrance is not None, "it is not said to be closed"


def test_an_entrance_that_runs_is_closed_though_the_marker_has_none(root: Path) -> None:
    address = opened(root)
    installation = load(root)
    write_marker(installation.folder, installation.marker.model_copy(update={"entrance": None}))
    inviting.close(load(root))
    assert (runs(load(root)), answers(load(root), address)) == (False, False)


def test_an_opening_that_broke_off_is_finished_by_the_next(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: tuple[tuple[object, str], ...] = ((Supervisor, "add"), (inviting, "write_marker"))
    for where, name in steps:
        with monkeypatch.context() as patched:
            patched.setattr(where, name, cut)
            with pytest.raises(PowerCut):
                opened(root)
        assert load(root).marker.entrance is None, "the next start counts on no program that isn't there"
        assert not runs(load(root))
    assert answers(load(root), opened(root))


def test_an_opening_that_fails_leaves_it_as_it_was(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(supervisor: Supervisor, name: str) -> None:
        raise CommandError("no more programs")

    monkeypatch.setattr(Supervisor, "add", refuse)
    with pytest.raises(CommandError, match="no more programs"):
        opened(root)
    assert load(root).marker.entrance is None


async def test_a_certificate_that_an_invitation_renewed_is_shown_from_then_on(root: Path) -> None:
    address = await asyncio.to_thread(opened, root)
    folder = load(root).folder
    before = await shown(folder, address)
    assert before == on_disk(folder)
    with members.changing(folder):
        folder.entrance_certificate.unlink()
        assert certificates.renew(folder)
    assert on_disk(folder) != before
    async with asyncio.timeout(_WITHIN_S):
        while await shown(folder, address) != on_disk(folder):  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.1)


def on_disk(folder: StateFolder) -> bytes:
    first = folder.entrance_certificate.read_text().partition("-----END")[0]
    return ssl.PEM_cert_to_DER_cert(f"{first}-----END CERTIFICATE-----\n")


async def shown(folder: StateFolder, address: str) -> bytes:
    context = ssl.create_default_context(cadata=folder.nodes_authority.read_text())
    context.set_alpn_protocols([ALPN])
    host, port = asking.split(address)
    _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=TLS_NAME)
    found: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return found
