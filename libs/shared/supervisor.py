"""Asking a supervisord over its Unix socket: XML-RPC, as it speaks it."""

from __future__ import annotations

import http.client
import socket
import xmlrpc.client
from pathlib import Path
from typing import Any, cast


def called(socket_path: Path, method: str, *arguments: Any, timeout_s: float) -> Any:
    """Its answer. Blocks. Raises OSError, TimeoutError among them, HTTPException, xmlrpc.client.Fault."""
    transport = _UnixTransport(socket_path, timeout_s)
    with xmlrpc.client.ServerProxy("http://localhost", transport=transport) as proxy:
        return getattr(proxy, method)(*arguments)


class _UnixTransport(xmlrpc.client.Transport):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__()
        self._path = path
        self._timeout_s = timeout_s

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        connection = _UnixConnection(self._path, self._timeout_s)
        self._connection = (host, connection)  # where the base class looks for what it has to close
        return connection


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(cast(float, self.timeout))
        try:
            self.sock.connect(str(self._path))
        except OSError:
            self.close()
            raise
