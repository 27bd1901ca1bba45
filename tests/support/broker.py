"""A real nats-server for a test: a free port, a store of its own, one key a principal."""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
import subprocess
import sysconfig
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from libs.shared.bus.bootstrap import ensure_streams
from libs.shared.bus.broker_config import INFERENCE_NODE, User, principals, render_config, users
from libs.shared.bus.nats import NatsBus
from libs.shared.bus.nkey_files import new_seed, read_public_key
from libs.shared.bus.permissions import SETUP, Permissions
from libs.shared.contracts.base import Principal

NODE = "node-a"
"""The inference node whose key every test broker knows."""
_READY_TIMEOUT_S = 10.0
_STOP_TIMEOUT_S = 30.0


def nats_server() -> str:
    """The broker's program. Raises FileNotFoundError: a test that needs what is missing fails."""
    found = shutil.which("nats-server", path=sysconfig.get_path("scripts")) or shutil.which("nats-server")
    if found is None:
        raise FileNotFoundError("nats-server is not installed; run make install")
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class TestBroker:
    """A broker in ``folder``. ``async with TestBroker(tmp_path) as broker: bus = await broker.connect(...)``."""

    __test__ = False

    folder: Path
    nodes: tuple[str, ...] = (NODE,)
    replaced: Mapping[str, Permissions] = field(default_factory=dict)
    """Permissions by key name that stand in for the computed ones."""
    port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = None
    _buses: list[NatsBus] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def seed_file(self, name: str, node: str | None = None) -> Path:
        """The seed of a principal, of ``setup``, or of an inference node."""
        if name == Principal.INFERENCE:
            name = f"{INFERENCE_NODE}{node or self.nodes[0]}"
        return self.folder / "keys" / f"{name}.nk"

    async def __aenter__(self) -> Self:
        self._write_keys()
        self.write_config()
        await self.start()
        try:
            await ensure_streams(self.url, seed_file=self.seed_file(SETUP))
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for bus in self._buses:
            await bus.drain(1.0)
        await self.stop()

    async def connect(self, principal: Principal, node: str | None = None) -> NatsBus:
        """A bus that is drained with the broker."""
        if principal is Principal.INFERENCE:
            node = node or self.nodes[0]
        bus = await NatsBus.connect(self.url, principal=principal, seed_file=self.seed_file(principal, node), node=node)
        self._buses.append(bus)
        return bus

    async def start(self) -> None:
        """Starts the process and waits until it takes connections."""
        with (self.folder / "broker.log").open("ab") as output:
            self._process = await asyncio.to_thread(
                subprocess.Popen, [nats_server(), "-c", str(self.folder / "nats.conf")], stdout=output, stderr=output
            )
        async with asyncio.timeout(_READY_TIMEOUT_S):
            while not await self._takes_connections():
                if self._process.poll() is not None:
                    raise RuntimeError((self.folder / "broker.log").read_text()[-4000:])
                await asyncio.sleep(0.02)

    async def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Ends the process, SIGKILL for a crash; its store stays."""
        if self._process is not None:
            async with asyncio.timeout(_STOP_TIMEOUT_S):
                while self._process.poll() is None:
                    # It keeps one signal at a time, and loses this one while it still has to read its file again.
                    self._process.send_signal(how)
                    with suppress(subprocess.TimeoutExpired):
                        await asyncio.to_thread(self._process.wait, 1)
            self._process = None

    def reload(self) -> None:
        """Has the broker read its configuration again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    def write_config(self) -> None:
        names = principals(self.nodes)
        known = users({name: read_public_key(self.folder / "keys" / f"{name}.nk") for name in names})
        given = [User(u.name, u.public_key, self.replaced.get(u.name, u.permissions)) for u in known]
        config = render_config(users=given, store=self.folder / "jetstream", port=self.port)
        (self.folder / "nats.conf").write_text(config)

    def _write_keys(self) -> None:
        (self.folder / "keys").mkdir(mode=0o700, exist_ok=True)
        for name in principals(self.nodes):
            path = self.folder / "keys" / f"{name}.nk"
            if not path.exists():
                path.write_text(new_seed())
                path.chmod(0o600)

    async def _takes_connections(self) -> bool:
        with suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            try:
                return (await reader.readline()).startswith(b"INFO")
            finally:
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()
        return False
