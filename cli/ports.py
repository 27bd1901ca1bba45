"""Loopback ports: choosing free ones, and saying who holds a taken one."""

from __future__ import annotations

import socket

from cli.errors import CommandError

HTTP_PREFERRED = 8080
NATS_PREFERRED = 4222
_FOLLOWING = 20
"""Tried before the kernel is asked, whose choice an outgoing connection may hold when we come back."""


def is_free(port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: a port in TIME_WAIT is free
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def choose(preferred: int, *, taken: frozenset[int] = frozenset()) -> int:
    """``preferred`` or the first free one of those that follow it; far from there only when all are taken."""
    for port in range(preferred, preferred + _FOLLOWING):
        if port not in taken and is_free(port):
            return port
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port not in taken:
            return port


def require_free(port: int, purpose: str, remedy: str) -> None:
    """Raises CommandError that names the port and, where it can be seen, the process that holds it."""
    if not is_free(port):
        raise CommandError(f"port {port}, which {purpose} needs, is taken{_said(port)}", remedy)


def _said(port: int) -> str:
    found = holder(port)
    return f" by {found}" if found else ""


def holder(port: int) -> str:
    """The process that listens there, by name and number; empty where it can't be seen."""
    import psutil  # only for this message

    try:
        listening = (c for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN)
        pid = next((c.pid for c in listening if c.laddr and c.laddr.port == port and c.pid), None)
        return f"{psutil.Process(pid).name()} (process {pid})" if pid else ""
    except psutil.Error:
        return ""


def listens(pid: int, port: int) -> bool:
    """Whether that process listens there; taken for granted where it can't be seen."""
    import psutil

    try:
        sockets = psutil.Process(pid).net_connections("tcp")
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True
    return any(one.status == psutil.CONN_LISTEN and one.laddr.port == port for one in sockets)
