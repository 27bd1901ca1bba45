"""Asking an installation's entrance, from the machine that joins; nothing secret is said before it is known."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable, Iterator
from queue import Empty, Queue
from threading import Thread
from time import monotonic

from pydantic import BaseModel, ValidationError

from cli.errors import CommandError, Exit
from cli.joining.code import JoinCode, believed
from cli.joining.protocol import ALPN, LONGEST_LINE, PREFERRED_PORT, TLS_NAME, Enrol, Greeting, Hello, Refusal, Welcome

_CONNECT_S = 4.0
_ANSWER_S = 20.0
_ALL_S = 12.0
"""Of looking for it at all of its addresses."""


def found(code: JoinCode) -> tuple[str, Greeting]:
    """The address of the code where the installation answers first, and what it says.

    Its certificate is not checked yet, but the authority in the returned greeting has the fingerprint of the code, and
    is one certificate and nothing else: from then on it is believed alone. Raises CommandError.
    """
    problems = []
    for address, answer in _greetings(code.addresses, None):
        if isinstance(answer, Exception):
            problems.append(f"{address}: {_said(answer)}")
            continue
        try:
            return address, answer.model_copy(update={"authority": believed(answer.authority, code.fingerprint)})
        except ValueError:
            problems.append(f"{address}: another installation answers there, or one that pretends to be it")
    raise CommandError(
        "the installation was not found:\n    " + "\n    ".join(problems or ["the code names no address"]),
        "see that this machine reaches it, and that no firewall is between (mongars nodes invite --listen there)",
    )


def greeted(addresses: Iterable[str], authority: str) -> tuple[str, Greeting] | None:
    """The address where the installation of that authority (PEM) answers first; None when none does."""
    for address, answer in _greetings(addresses, authority):
        if not isinstance(answer, Exception):
            return address, answer
    return None


def enrolled(address: str, authority: str, asked: Enrol) -> Welcome:
    """Raises CommandError with the installation's reason."""
    try:
        line = _line(address, asked, _checking(authority))
    except OSError as error:
        raise CommandError(f"the installation could not be asked: {_said(error)}", _half_joined(asked)) from None
    try:
        return Welcome.model_validate_json(line)
    except ValidationError:
        pass
    try:
        refusal = Refusal.model_validate_json(line)
    except ValidationError:
        raise CommandError("the installation gave no answer that this version reads", _half_joined(asked)) from None
    raise CommandError(f"the installation refused: {refusal.detail}", code=Exit.REFUSED)


def _half_joined(asked: Enrol) -> str:
    name = asked.node_id
    return (
        f"ask for another code; where mongars nodes members, there, tells of {name} as joined, "
        f"first run there: mongars nodes remove {name}"
    )


def whole(address: str) -> str:
    """As a person wrote it, with its port. Raises CommandError."""
    try:
        return joined(*split(address))
    except ValueError as error:
        raise CommandError(str(error), "HOST, HOST:PORT or [IPV6]:PORT", code=Exit.USAGE) from None


def split(address: str) -> tuple[str, int]:
    """Host and port of ``host``, ``host:port`` or ``[v6]:port``. Raises ValueError."""
    host, port = address, PREFERRED_PORT
    if address.startswith("["):
        host, _, rest = address[1:].partition("]")
        port = int(rest.removeprefix(":")) if rest else port
    elif address.count(":") == 1:
        host, _, rest = address.partition(":")
        port = int(rest)
    if not host or not 0 < port < 65536:
        raise ValueError(f"{address!r} is no address")
    return host, port


def joined(host: str, port: int) -> str:
    """As ``split`` takes it apart."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _greetings(addresses: Iterable[str], authority: str | None) -> Iterator[tuple[str, Greeting | Exception]]:
    """Of all at the same time, since most addresses of a machine lead nowhere; as they come, and none after ``_ALL_S``.

    In threads that the command doesn't wait for: looking up a name has no time limit of its own.
    """
    answers: Queue[tuple[str, Greeting | Exception]] = Queue()

    def ask(address: str) -> None:
        context = _unchecked() if authority is None else _checking(authority)
        try:
            answers.put((address, Greeting.model_validate_json(_line(address, Hello(), context))))
        except (OSError, ValueError) as error:
            answers.put((address, error))

    waiting = list(dict.fromkeys(addresses))
    for address in waiting:
        Thread(target=ask, args=(address,), daemon=True).start()
    until = monotonic() + _ALL_S
    while waiting:
        try:
            address, answer = answers.get(timeout=max(0.0, until - monotonic()))
        except Empty:
            yield from ((address, TimeoutError()) for address in waiting)
            return
        waiting.remove(address)
        yield address, answer


def _line(address: str, asked: BaseModel, context: ssl.SSLContext) -> bytes:
    context.set_alpn_protocols([ALPN])
    try:
        where = split(address)
    except ValueError as error:
        raise OSError(str(error)) from None
    with (
        socket.create_connection(where, timeout=_CONNECT_S) as plain,
        context.wrap_socket(plain, server_hostname=TLS_NAME) as connection,
    ):
        if connection.selected_alpn_protocol() != ALPN:
            raise OSError("something else answers there")
        connection.settimeout(_ANSWER_S)
        connection.sendall(asked.model_dump_json().encode() + b"\n")
        return connection.makefile("rb").readline(LONGEST_LINE)


def _unchecked() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # only asked for what is compared with the code's fingerprint
    return context


def _checking(authority: str) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=authority)


def _said(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return "it can't prove to be the installation that invited"
    if isinstance(error, TimeoutError):
        return "no answer"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
